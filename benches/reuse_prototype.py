"""Exact reuse between overlapping windows of R(2+1)D, built and measured: the evidence of docs/decisions/0012.

``python -m benches.reuse_prototype [STRIDE]`` runs stem and first stage on new frames only, keeps what they gave in
rings in host memory, runs the rest of the network as it is, proves the logits to be the whole network's, and times the
two graphs in turn by OpenVINO.

In front of the first step in time, a layer's output has three parts along a window's T positions: n at the left and n
at the right, which zero padding has reached after n temporal convolutions, and a middle, which is the same in every
window. Each window computes both ends anew, and of the middle only the frames that no window has seen before.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from toolkit.engine.openvino import OpenVinoBackend, import_openvino
from toolkit.preprocess import rgb_input
from toolkit.train.export import export_onnx
from toolkit.train.networks import ARCHITECTURES, build_network

FRAMES = 16
WINDOWS = 30
Ends = tuple[torch.Tensor | None, torch.Tensor]
"""The left part, None if there is none, and the new frames of the middle followed by the right part."""


class Incremental(nn.Module):
    """Newest frames (S, C, H, W) and kept frames in; logits and the frames to keep out. All time-major."""

    def __init__(self, network: Any, stride: int) -> None:
        super().__init__()
        self.network = network
        self.stride = stride

    def forward(self, newest: torch.Tensor, *kept: torch.Tensor) -> tuple[torch.Tensor, ...]:
        waiting, fresh = list(kept), []

        def take() -> torch.Tensor:
            return waiting.pop(0).transpose(0, 1).unsqueeze(0)

        def keep(ends: Ends) -> None:
            fresh.append(ends[1][0, :, : self.stride].transpose(0, 1).contiguous())

        def temporal(layer: Any, ends: Ends) -> Ends:
            keep(ends)
            left, right = _join(ends, take(), take())
            return (
                functional.conv3d(functional.pad(left, (0, 0, 0, 0, 1, 0)), layer.weight),
                functional.conv3d(functional.pad(right, (0, 0, 0, 0, 0, 1)), layer.weight),
            )

        def split(layers: Any, ends: Ends) -> Ends:
            return temporal(layers[3], _each(layers[:3], ends))

        stem = self.network.stem
        ends = _each(stem[4:], split(stem, (None, newest.transpose(0, 1).unsqueeze(0))))
        for block in self.network.layer1:
            keep(ends)
            shortcut = _join(ends, take(), take())
            ends = _each(block.conv1[1:], split(block.conv1[0], ends))
            ends = _each(block.conv2[1:], split(block.conv2[0], ends))
            left, right = (torch.relu(a + b) for a, b in zip(ends, shortcut, strict=True))
            ends = (left, right)
        keep(ends)
        x = torch.cat([left, take(), right], dim=2)
        x = self.network.layer4(self.network.layer3(self.network.layer2(x)))
        return (self.network.fc(self.network.avgpool(x).flatten(1)), *fresh)


def _each(layers: nn.Module, ends: Ends) -> Ends:
    return (None if ends[0] is None else layers(ends[0])), layers(ends[1])


def _join(ends: Ends, after_left: torch.Tensor, before_right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    left = after_left if ends[0] is None else torch.cat([ends[0], after_left], dim=2)
    return left, torch.cat([before_right, ends[1]], dim=2)


class Ring:
    """The middle of one layer's output, as the windows so far computed it: contiguous, moved seldom."""

    def __init__(self, padded: int, shape: tuple[int, int, int], stride: int, *, whole: bool) -> None:
        self.length = FRAMES - 2 * padded
        self._stride = stride
        self._whole = whole
        self._frames = np.zeros((4 * FRAMES, *shape), dtype=np.float32)
        self._start = 0

    def views(self) -> list[NDArray[np.float32]]:
        """Return what the next window reads: the two frames behind its left part and before its right, or all."""
        middle = self._frames[self._start : self._start + self.length]
        return [middle[self._stride :]] if self._whole else [middle[self._stride : self._stride + 2], middle[-2:]]

    def push(self, fresh: NDArray[np.float32]) -> None:
        """Admit the newest frames."""
        end = self._start + self.length
        if end + self._stride > len(self._frames):
            self._frames[: self.length] = self._frames[self._start : end]
            self._start, end = 0, self.length
        self._frames[end : end + self._stride] = fresh
        self._start += self._stride


def make_rings(network: Any, stride: int, side: int) -> list[Ring]:
    """Return a ring for every kept output, in the order in which `Incremental` takes them."""
    stem, half = network.stem, side // 2
    rings = [Ring(0, (stem[0].out_channels, half, half), stride, whole=False)]
    padded = 1
    for block in network.layer1:
        width = block.conv1[0][3].out_channels
        middles = [block.conv1[0][0].out_channels, block.conv2[0][0].out_channels]
        rings.append(Ring(padded, (width, half, half), stride, whole=False))
        rings += [Ring(padded + i, (middle, half, half), stride, whole=False) for i, middle in enumerate(middles)]
        padded += 2
    return [*rings, Ring(padded, (width, half, half), stride, whole=True)]


class Stepper:
    """Runs the incremental graph by OpenVINO, with its rings."""

    def __init__(self, path: Path, rings: list[Ring]) -> None:
        self._openvino = import_openvino()
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
        self._request = self._openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
        self._rings = rings

    def step(self, newest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (K,) logits of the window that ends with these (S, C, H, W) frames."""
        feeds = [newest, *(view for ring in self._rings for view in ring.views())]
        for index, feed in enumerate(feeds):
            self._request.set_input_tensor(index, self._openvino.Tensor(feed, shared_memory=True))
        self._request.infer()
        for index, ring in enumerate(self._rings, start=1):
            ring.push(self._request.get_output_tensor(index).data)
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data[0].copy()
        return logits


def export_incremental(network: nn.Module, stride: int, side: int, rings: list[Ring], path: Path) -> None:
    """Write the incremental graph."""
    newest = torch.zeros(stride, 3, side, side)
    kept = [torch.from_numpy(view.copy()) for ring in rings for view in ring.views()]
    torch.onnx.export(
        Incremental(network, stride).eval(), (newest, *kept), str(path), dynamo=True, opset_version=20, verbose=False
    )


def main(stride: int) -> None:
    warnings.simplefilter("ignore")
    side = ARCHITECTURES["r2plus1d-18"].crop
    video = np.random.default_rng(0).normal(size=(FRAMES + WINDOWS * stride, 3, side, side)).astype(np.float32)
    for name in ("r2plus1d-18", "r2plus1d-34"):
        torch.manual_seed(0)
        network = build_network(name, channels=3, classes=8).eval()
        rings = make_rings(network, stride, side)
        if min(ring.length for ring in rings) < stride:
            print(f"{name}: nothing of the first stage's end is left to keep at stride {stride}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            whole_graph, step_graph = Path(folder, "whole.onnx"), Path(folder, "step.onnx")
            export_onnx(network, rgb_input(ARCHITECTURES[name].resize, side), FRAMES, whole_graph)
            export_incremental(network, stride, side, rings, step_graph)
            stepper = Stepper(step_graph, rings)
            errors, whole_s, step_s = [], [], []
            with OpenVinoBackend(whole_graph) as whole:
                for index in range(WINDOWS + 1):
                    end = FRAMES + index * stride
                    started_s = _clocks_s()
                    found = stepper.step(video[end - stride : end])
                    between_s = _clocks_s()
                    expected = whole.infer(video[np.newaxis, end - FRAMES : end].transpose(0, 2, 1, 3, 4))[0]
                    step_s.append(between_s - started_s)
                    whole_s.append(_clocks_s() - between_s)
                    errors.append(float(np.abs(found - expected).max()))
        # Rings begin empty: the first windows are wrong, which shows that the comparison can fail.
        filled = -(-FRAMES // stride)
        wall, cpu = np.median(whole_s[filled:], axis=0) / np.median(step_s[filled:], axis=0)
        print(
            f"{name}, stride {stride}: {wall:.2f} times the whole graph by wall clock, {cpu:.2f} by processor time; "
            f"largest logit error {max(errors[filled:]):.1g} in {len(errors) - filled} windows "
            f"({max(errors[:filled]):.1g} while the rings fill), logits up to {np.abs(expected).max():.2g}",
            flush=True,
        )


def _clocks_s() -> NDArray[np.float64]:
    return np.array([time.perf_counter(), time.process_time()])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
