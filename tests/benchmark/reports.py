"""Hand-made benchmarks: every duration chosen, nothing measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.benchmark.report import BenchReport, Machine, Setup, StrideRun, Window
from toolkit.benchmark.statistics import statistics_of

MACHINE = Machine(model="board", architecture="aarch64", cores=6, memory_gib=7.4, gpu="Orin", power_mode="pmode:0000")


def setup(**changes: Any) -> Setup:
    """Return what a benchmark was of."""
    fields: dict[str, Any] = {
        "machine": MACHINE,
        "bundle": "mouse",
        "bundle_sha256": "a" * 64,
        "architecture": "i3d",
        "engines": {"rgb": "tensorrt-10.3.0/Orin/fp16", "optical flow": "toolkit-tvl1-1/paper"},
        "source": "golden sample",
        "width": 320,
        "height": 240,
        "fps": 30.0,
        "network_fps": 30.0,
        "clip_wait_s": 7 / 30,
        "strides": (1,),
    }
    return Setup(**{**fields, **changes})


def run(stages: Mapping[str, Sequence[Sequence[float]]], stride: int = 1, **readings: Sequence[float]) -> StrideRun:
    """Return a run of one window for each list of durations, ms; a frame's work is the sum of the stages' means."""
    count = len(next(iter(stages.values())))
    windows = tuple(_window(number, {s: v[number] for s, v in stages.items()}, readings) for number in range(count))
    busy_ms = float(np.mean([1000 / (30 * window.realtime_factor) for window in windows]))
    return StrideRun(
        stride=stride,
        frames=30 * count,
        rows=30 * count // stride,
        elapsed_s=float(count),
        busy_share=0.03 * busy_ms,
        capture_share=0.0,
        realtime_factor=1 / (0.03 * busy_ms),
        cages=int(0.8 / (0.03 * busy_ms)),
        stages={stage: statistics_of([d for window in values for d in window]) for stage, values in stages.items()},
        windows=windows,
    )


def report(*runs: StrideRun, **changes: Any) -> BenchReport:
    """Return a benchmark of these runs; `changes` are of its own fields."""
    fields: dict[str, Any] = {
        "created_utc": "2026-11-25T00:00:00+00:00",
        "setup": setup(strides=tuple(r.stride for r in runs)),
        "versions": {"toolkit": "0.1.0"},
        "open_s": 1.0,
        "warm_up_frames": 32,
        "headroom": 0.2,
        "log_flush_s": 2.0,
        "peak_host_mib": 500.0,
        "peak_device_mib": 900.0,
        "runs": runs,
    }
    return BenchReport(**{**fields, **changes})


def noisy(
    seed: int, median_ms: float, *, spread: float = 0.1, windows: int = 10, samples: int = 30
) -> list[list[float]]:
    """Return durations of windows that scatter about a median, with a long tail and a spread between windows too."""
    rng = np.random.default_rng(seed)
    levels = median_ms * np.exp(rng.normal(0, spread / 2, windows))
    return [(level * np.exp(rng.gamma(1.0, spread, samples) - 0.69 * spread)).tolist() for level in levels]


def _window(number: int, durations: Mapping[str, Sequence[float]], readings: Mapping[str, Sequence[float]]) -> Window:
    return Window(
        start_s=float(number),
        stop_s=number + 1.0,
        frames=30,
        realtime_factor=1000 / (30 * sum(float(np.mean(values)) for values in durations.values())),
        stages={stage: statistics_of(values) for stage, values in durations.items()},
        readings={name: values[number] for name, values in readings.items()},
    )
