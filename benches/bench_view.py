"""What it costs to judge whether a frame can show a behaviour, on good frames and on a covered view."""

from __future__ import annotations

from itertools import count, cycle, islice

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from toolkit.frames import NS_PER_S
from toolkit.synth import FaultKind, SyntheticVideo, ViewFault
from toolkit.view import ViewMonitor, ViewTable

FRAMES = 60


@pytest.mark.benchmark(group="view, one frame judged, one thread")
@pytest.mark.parametrize("fault", [None, "obstruct"])
@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1280, 720)])
def bench_view(benchmark: BenchmarkFixture, size: tuple[int, int], fault: FaultKind | None) -> None:
    faults = [] if fault is None else [ViewFault(fault, 0.5, 20.0)]
    images = list(islice(SyntheticVideo(3, 20.0, size=size, faults=faults).frames(), FRAMES))
    monitor = ViewMonitor(ViewTable())
    frames = zip(cycle(images), count(), strict=False)

    def judge() -> None:
        image, index = next(frames)
        monitor.judge(image, index * NS_PER_S // 30)

    benchmark.pedantic(judge, rounds=600, warmup_rounds=FRAMES)
    benchmark.extra_info["ms_per_frame"] = round(1000 * benchmark.stats.stats.median, 3)
