"""Preprocessing per frame and clip assembly per window, against what one would write first."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from toolkit.clips import ClipRing
from toolkit.flow import FlowEncoding
from toolkit.preprocess import StreamInput, flow_input, rgb_input

FRAME = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
FLOW = np.random.default_rng(0).normal(0, 2, (240, 320, 2)).astype(np.float32)
SIZES = [(255, 224), (128, 112), (64, 56)]


def naive_network_frame(spec: StreamInput, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale in float first, then resize, crop and transpose into a new array."""
    scaled = image.astype(np.float32) * np.float32(spec.scale) + np.float32(spec.offset)
    resized = cv2.resize(scaled, (spec.resize, spec.resize))
    margin = (spec.resize - spec.crop) // 2
    cropped = resized[margin : margin + spec.crop, margin : margin + spec.crop]
    return np.ascontiguousarray(cropped.transpose(2, 0, 1))


@pytest.mark.benchmark(group="RGB frame to network input, 320 x 240")
@pytest.mark.parametrize(("resize", "crop"), SIZES)
def bench_rgb(benchmark: BenchmarkFixture, resize: int, crop: int) -> None:
    spec, out = rgb_input(resize, crop), np.empty((3, crop, crop), np.float32)
    benchmark(spec.network_frame, FRAME, out)


@pytest.mark.benchmark(group="RGB frame to network input, 320 x 240")
@pytest.mark.parametrize(("resize", "crop"), SIZES)
def bench_rgb_naive(benchmark: BenchmarkFixture, resize: int, crop: int) -> None:
    benchmark(naive_network_frame, rgb_input(resize, crop), FRAME)


@pytest.mark.benchmark(group="flow field to network input, 320 x 240")
@pytest.mark.parametrize(("resize", "crop"), SIZES)
def bench_flow_field(benchmark: BenchmarkFixture, resize: int, crop: int) -> None:
    spec, out, encoding = flow_input(resize, crop), np.empty((2, crop, crop), np.float32), FlowEncoding()
    benchmark(lambda: spec.network_frame(encoding.quantise(FLOW), out))


@pytest.mark.benchmark(group="clip per window, I3D RGB")
def bench_clip_ring(benchmark: BenchmarkFixture) -> None:
    ring = ClipRing(16, (3, 224, 224))

    def admit_and_read() -> NDArray[np.float32]:
        ring.slot[...] = frame
        ring.advance()
        return ring.clip

    frame = np.zeros((3, 224, 224), np.float32)
    benchmark(admit_and_read)


@pytest.mark.benchmark(group="clip per window, I3D RGB")
def bench_clip_stacked(benchmark: BenchmarkFixture) -> None:
    """Peer: keep the last 16 frames and stack them for every window."""
    frames = deque([np.zeros((3, 224, 224), np.float32)] * 16, maxlen=16)

    def admit_and_stack() -> NDArray[np.float32]:
        frames.append(frame)
        return np.stack(frames, axis=1)[np.newaxis]

    frame = np.zeros((3, 224, 224), np.float32)
    benchmark(admit_and_stack)
