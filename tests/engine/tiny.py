"""Networks, frames and backends small enough to export and run in a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.bundle import Bundle, FlowSpec, Provenance, load_bundle
from toolkit.clips import ClipGeometry
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.files import sha256_of_file
from toolkit.flow import PARAMETER_SETS, FlowEncoding, OpenCvFlow
from toolkit.fusion import fusion_for
from toolkit.preprocess import StreamInput, WorkingGeometry, flow_input, rgb_input

CLIP = ClipGeometry(before=2, after=1)
GEOMETRY = WorkingGeometry(width=64, height=48)
INPUTS: tuple[StreamInput, ...] = (rgb_input(24, 16), flow_input(24, 16))
BEHAVIOURS = (3, 5, 7)


def tiny_network(channels: int, seed: int = 0) -> Any:
    """Return a torch module, (N, channels, T, H, W) to (N, 8), with well-spread logits."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(channels, 6, 3, padding=1)
            self.classifier = nn.Linear(6, 8)

        def forward(self, clips: torch.Tensor) -> Any:
            return self.classifier(torch.relu(self.conv(clips)).mean((2, 3, 4)) * 4)

    torch.manual_seed(seed)
    return Tiny().eval()


def moving_frames(count: int, shift_px: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return (count, 96, 128, 3) frames of a texture that moves `shift_px` to the left per frame."""
    coarse = np.random.default_rng(seed).integers(0, 255, (24, 60, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (240, 96), interpolation=cv2.INTER_CUBIC)
    return np.stack([texture[:, shift_px * index : shift_px * index + 128] for index in range(count)])


def tiny_manifest() -> dict[str, Any]:
    """Return `Manifest`'s keyword arguments for two tiny networks."""
    parameters = PARAMETER_SETS["fast"]
    return {
        "name": "tiny",
        "architecture": "tiny",
        "ethogram": MOUSE_HOME_CAGE,
        "geometry": GEOMETRY,
        "clip": CLIP,
        "inputs": INPUTS,
        "flow": FlowSpec(
            parameters=parameters, implementation=OpenCvFlow(parameters).implementation, encoding=FlowEncoding()
        ),
        "fusion": fusion_for(("rgb", "flow")),
        "provenance": Provenance(
            created_utc="2026-01-01T00:00:00+00:00",
            dataset_sha256="0" * 64,
            videos=3,
            git_revision=None,
            seeds={"rgb": 0, "flow": 1},
            versions={},
            runs={"rgb": "run-rgb", "flow": "run-flow"},
        ),
    }


def write_tiny_bundle(path: Path, **changes: Any) -> Bundle:
    """Export the tiny networks; `changes` replace arguments of `write_bundle`."""
    from toolkit.train.export import GoldenFrames, write_bundle

    golden = [
        GoldenFrames(behaviour, moving_frames(CLIP.frames + 1, shift_px=index + 1, seed=index))
        for index, behaviour in enumerate(BEHAVIOURS)
    ]
    arguments: dict[str, Any] = {
        "networks": {"rgb": tiny_network(3), "flow": tiny_network(2)},
        "manifest": tiny_manifest(),
        "golden": golden,
        "estimator": OpenCvFlow(PARAMETER_SETS["fast"]),
    }
    return write_bundle(path, **(arguments | changes))


def write_other_graph(path: Path) -> Path:
    """Write a whole graph that is none of a bundle's, and return its path."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["result"])],
        "other",
        [value("image", TensorProto.FLOAT, [1, 3])],
        [value("result", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def resealed(bundle: Bundle, change: Callable[[dict[str, Any]], None] | None = None) -> Bundle:
    """Return the bundle after its manifest was changed and its hashes made to fit its files again."""
    path = bundle.path / "manifest.json"
    content = json.loads(path.read_text())
    if change is not None:
        change(content)
    content["files"] = {name: sha256_of_file(bundle.path / name) for name in content["files"]}
    path.write_text(json.dumps(content))
    return load_bundle(bundle.path)


class FunctionBackend:
    """A `Backend` that is a function of the clips."""

    def __init__(self, function: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self._function = function

    @property
    def identity(self) -> str:
        """Name in messages."""
        return "function-1/cpu/fp32"

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the function to (N, C, T, H, W) clips."""
        return self._function(clips)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
