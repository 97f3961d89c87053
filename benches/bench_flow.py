"""TV-L1 per pair and per batch: every implementation that is here. The peer is OpenCV at its default parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from toolkit.flow import PARAMETER_SETS, FlowEstimator, FlowParameters, OpenCvFlow
from toolkit.flow.cpu import flow_batch
from toolkit.flow.select import estimator_factory, why_absent
from toolkit.preprocess import grey_frame
from toolkit.synth import SyntheticVideo
from toolkit.synth.render import Renderer

SIZES = [(320, 240), (640, 480)]
BATCH_PAIRS = 8
IMPLEMENTATIONS = [name for name in ("opencv", "cpu", "cuda") if why_absent(name) is None]


@lru_cache
def walking_frames(size: tuple[int, int], count: int) -> NDArray[np.uint8]:
    """Return (count, H, W) successive grey frames of a walking mouse."""
    video = SyntheticVideo(seed=3, duration_s=20.0, size=size)
    walk = int(np.flatnonzero(video.labels == 7)[20])
    renderer = Renderer(video.appearance, size, 3)
    return np.stack([grey_frame(renderer.render(video.state(walk + i))) for i in range(count)])


@pytest.fixture(autouse=True)
def one_opencv_thread() -> object:
    """Let OpenCV run on one thread, as the others do."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@lru_cache
def opencv_s(name: str, size: tuple[int, int]) -> float:
    """Return the median seconds of OpenCV for a pair, in this run."""
    return _median_s(OpenCvFlow(PARAMETER_SETS[name]).flow, size)


def _median_s(flow: Callable[..., object], size: tuple[int, int]) -> float:
    frames, seconds = walking_frames(size, 2), []
    for _ in range(_rounds("opencv", size)):
        started = time.perf_counter()
        flow(frames[0], frames[1])
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def _rounds(implementation: str, size: tuple[int, int]) -> int:
    # OpenCV takes some 6 s for a large pair.
    if implementation == "cuda":
        return 100
    return 1 if implementation == "opencv" and size != SIZES[0] else 3


def _opened(implementation: str, parameters: FlowParameters, size: tuple[int, int]) -> tuple[FlowEstimator, float]:
    """Return an estimator and what its construction and first pair cost, s."""
    frames = walking_frames(size, 2)
    started = time.perf_counter()
    estimator = estimator_factory(implementation)(parameters)  # type: ignore[arg-type]
    estimator.flow(frames[0], frames[1])
    return estimator, time.perf_counter() - started


@pytest.mark.benchmark(group="TV-L1 per pair, one thread")
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("parameters", ["paper", "fast"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def bench_pair(benchmark: BenchmarkFixture, implementation: str, parameters: str, size: tuple[int, int]) -> None:
    estimator, first_s = _opened(implementation, PARAMETER_SETS[parameters], size)
    frames = walking_frames(size, 2)
    benchmark.pedantic(estimator.flow, args=(frames[0], frames[1]), rounds=_rounds(implementation, size))
    benchmark.extra_info["first_call_s"] = round(first_s, 4)
    _compare(benchmark, parameters, size)


@pytest.mark.benchmark(group="TV-L1, batches of pairs, 320 x 240, paper parameters")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.skipif("cpu" not in IMPLEMENTATIONS, reason="fast CPU flow was not built")
def bench_batch_cpu(benchmark: BenchmarkFixture, threads: int) -> None:
    _bench_batch(benchmark, lambda frames: flow_batch(frames, PARAMETER_SETS["paper"], threads=threads))


@pytest.mark.benchmark(group="TV-L1, batches of pairs, 320 x 240, paper parameters")
@pytest.mark.parametrize("batch", [BATCH_PAIRS, 32, 128])
@pytest.mark.skipif("cuda" not in IMPLEMENTATIONS, reason="no usable GPU")
def bench_batch_cuda(benchmark: BenchmarkFixture, batch: int) -> None:
    from toolkit.flow.cuda import CudaFlow

    with CudaFlow(PARAMETER_SETS["paper"], batch=batch) as estimator:
        _bench_batch(benchmark, estimator.flow_batch, pairs=batch)


def _bench_batch(
    benchmark: BenchmarkFixture, batch: Callable[[NDArray[np.uint8]], object], pairs: int = BATCH_PAIRS
) -> None:
    frames = walking_frames(SIZES[0], pairs + 1)
    benchmark.pedantic(batch, args=(frames,), rounds=3, warmup_rounds=1)
    median = benchmark.stats.stats.median
    benchmark.extra_info["pairs_per_s"] = round(pairs / median, 1)
    _compare(benchmark, "paper", SIZES[0], pairs)


def _compare(benchmark: BenchmarkFixture, parameters: str, size: tuple[int, int], pairs: int = 1) -> None:
    # A Jetson's own OpenCV has no optical flow.
    if "opencv" in IMPLEMENTATIONS:
        times = opencv_s(parameters, size) * pairs / benchmark.stats.stats.median
        benchmark.extra_info["times_opencv"] = round(times, 2)
