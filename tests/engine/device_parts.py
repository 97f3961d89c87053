"""The device form of a bundle's networks and the host form of the same, and frames for both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import manifest
from tests.engine.fake_tensorrt import logits_of, plan_bytes
from tests.engine.tiny import FunctionBackend
from toolkit.bundle import Manifest
from toolkit.clips import ClipGeometry
from toolkit.engine.cuda import DeviceNetworks
from toolkit.engine.host import HostNetworks
from toolkit.engine.plan import PlanFile
from toolkit.flow import PARAMETER_SETS, FlowParameters
from toolkit.flow.cpu import CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.frames import NS_PER_S, Frame
from toolkit.fusion import fusion_for
from toolkit.preprocess import Stream, StreamInput, flow_input, rgb_input

FAST = PARAMETER_SETS["fast"]
INPUTS: dict[Stream, StreamInput] = {"rgb": rgb_input(20, 16), "flow": flow_input(20, 16)}
BOTH: tuple[Stream, ...] = ("rgb", "flow")
CLASSES = 8

needs_extension = pytest.mark.skipif(CpuFlow.available() is not None, reason="the CPU extension was not built")


def spec_of(*streams: Stream, **changes: Any) -> Manifest:
    """A bundle's manifest with these streams: clips of 6 frames, crops of 16 px from frames of 64 x 48."""
    inputs = tuple(INPUTS[stream] for stream in streams)
    fields = {"inputs": inputs, "fusion": fusion_for(streams), "clip": ClipGeometry(before=3, after=2)}
    return manifest(**{**fields, **changes})


def device_networks(spec: Manifest, folder: Path, parameters: FlowParameters = FAST) -> DeviceNetworks:
    """The device form of networks whose logits are `logits_of` their clips."""
    plans = {}
    for stream in spec.inputs:
        path = folder / f"{stream.stream}.plan"
        shape = (spec.clip.frames, stream.channels, stream.crop, stream.crop)
        path.write_bytes(plan_bytes(stream.stream, shape, CLASSES))
        plans[stream.stream] = PlanFile(path, "fp16")
    return DeviceNetworks(spec, plans, CudaFlow(parameters) if "flow" in spec.streams else None)


def host_networks(spec: Manifest, parameters: FlowParameters = FAST) -> HostNetworks:
    """The host form of the same."""

    def network(clips: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits_of(np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4)), CLASSES)

    estimator = CpuFlow(parameters) if "flow" in spec.streams else None
    return HostNetworks(spec, estimator, {stream: FunctionBackend(network) for stream in spec.streams})


def images(count: int, *, size: tuple[int, int] = (48, 64), seed: int = 0) -> list[NDArray[np.uint8]]:
    """Frames of smooth coloured waves that move, with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    shifts = np.cumsum(rng.normal(0, 0.8, (count, 2)), axis=0)
    waves = [
        [128 + 60 * np.sin((x - u) / 4 + c) + 40 * np.cos((y - v) / 5 - (x - u) / 11) for c in range(3)]
        for u, v in shifts
    ]
    noisy = np.stack(waves).transpose(0, 2, 3, 1) + rng.normal(0, 2, (count, *size, 3))
    return list(noisy.clip(0, 255).astype(np.uint8))


def segments(lengths: Sequence[int], size: tuple[int, int] = (48, 64)) -> list[Frame]:
    """Segments of these lengths, half a second apart."""
    frames: list[Frame] = []
    start_ns = 0
    for length, image in zip(lengths, (images(n, size=size, seed=n) for n in lengths), strict=True):
        frames += [Frame(len(frames) + i, start_ns + i * NS_PER_S // 30, image[i]) for i in range(length)]
        start_ns += length * NS_PER_S // 30 + NS_PER_S // 2
    return frames
