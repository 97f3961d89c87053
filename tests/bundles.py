"""Small bundles for tests: two streams over 64 x 48 frames, networks that cost nothing or are hand-made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.bundle import FlowSpec, Manifest, Provenance, onnx_name
from toolkit.clips import ClipGeometry
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.flow import PARAMETER_SETS, FlowEncoding, FlowParameters
from toolkit.fusion import fusion_for
from toolkit.preprocess import WorkingGeometry, flow_input, rgb_input


def manifest_fields(**changes: Any) -> dict[str, Any]:
    """Return what `write_manifest_and_golden` takes: two streams, 64 x 48 at 30 frames per second, crops of 16."""
    fields: dict[str, Any] = {
        "name": "test",
        "architecture": "none",
        "ethogram": MOUSE_HOME_CAGE,
        "geometry": WorkingGeometry(width=64, height=48),
        "clip": ClipGeometry(),
        "inputs": (rgb_input(20, 16), flow_input(20, 16)),
        "flow": FlowSpec(parameters=PARAMETER_SETS["fast"], implementation="opencv-5.0.0", encoding=FlowEncoding()),
        "fusion": fusion_for(("rgb", "flow")),
        "provenance": Provenance(
            created_utc="2026-11-23T00:00:00Z",
            dataset_sha256="0" * 64,
            videos=2,
            git_revision=None,
            seeds={"rgb": 0, "flow": 0},
            versions={},
            runs={},
        ),
    }
    return {**fields, **changes}


def manifest(**changes: Any) -> Manifest:
    """Return a manifest whose files are only named."""
    fields = manifest_fields(**changes)
    names = [onnx_name(spec.stream, precision) for spec in fields["inputs"] for precision in ("fp32", "fp16")]
    return Manifest(**fields, files=dict.fromkeys([*names, "golden.npz"], "0" * 64))


class RecordingBackend:
    """A network that costs nothing: keeps a copy of what it is given and returns fixed logits."""

    def __init__(self, classes: int = 8) -> None:
        self.clips: list[NDArray[np.float32]] = []
        self._logits = np.zeros((1, classes), dtype=np.float32)

    @property
    def identity(self) -> str:
        return "recording"

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        self.clips.append(clips.copy())
        return self._logits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class DifferenceFlow:
    """A flow that tells which pair it saw: x = the difference of the images' means in px, y = the mean of the first."""

    parameters: FlowParameters = PARAMETER_SETS["fast"]
    implementation = "difference"

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        flow = np.empty((*previous.shape, 2), dtype=np.float32)
        flow[..., 0] = current.mean() - previous.mean()
        flow[..., 1] = previous.mean() / 16
        return flow
