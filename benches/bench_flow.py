"""TV-L1 per pair, 320 x 240. The peer is OpenCV at its default parameters."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from toolkit.flow import PARAMETER_SETS, OpenCvFlow
from toolkit.preprocess import grey_frame
from toolkit.synth import SyntheticVideo


@pytest.fixture(scope="module")
def pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two successive grey frames of a walking mouse."""
    video = SyntheticVideo(seed=3, duration_s=20.0)
    walk = int(np.flatnonzero(video.labels == 7)[20])
    frames = [grey_frame(frame) for index, frame in enumerate(video.frames()) if walk <= index <= walk + 1]
    return frames[0], frames[1]


@pytest.mark.benchmark(group="TV-L1 per pair, 320 x 240, one thread")
@pytest.mark.parametrize("parameters", ["paper", "fast"])
def bench_opencv(
    benchmark: BenchmarkFixture, pair: tuple[NDArray[np.uint8], NDArray[np.uint8]], parameters: str
) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        estimator = OpenCvFlow(PARAMETER_SETS[parameters])
        benchmark.pedantic(estimator.flow, args=pair, rounds=5, warmup_rounds=1)
    finally:
        cv2.setNumThreads(threads)
