"""What a machine can keep up with, by hand-derived cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from toolkit.cage.pace import HOLD_S, Costs, Demand, Pace, forecast
from toolkit.cage.stages import ADMIT, INFER, Stages

# A camera of 20 frames per second: 50 ms each; at most 45 of them are to be worked.
DEMAND = Demand(interval_s=0.050, stride=1, max_stride=8, queue_frames=40, frames_after=7)


@pytest.mark.parametrize(
    ("frame_ms", "window_ms", "regime", "stride", "coverage"),
    [
        (10, 35, "every window", 1, 1.0),
        # 10 + 36 is too near to 50; 10 + 36 / 2 = 28 is not.
        (10, 36, "stride", 2, 1.0),
        (10, 280, "stride", 8, 1.0),
        # 20 + 216 / 8 = 47: with no room, but enough.
        (20, 216, "stride", 8, 1.0),
        # 20 + 300 / 8 = 57.5 at best; with a tenth more, 63.25, no smaller stride: 300 / 7 + 20 = 62.86 is one.
        (20, 300, "bursts", 7, 50 / (20 + 300 / 7)),
        # 100 + 8 / 8 = 101 at best: every window costs only 108.
        (100, 8, "bursts", 1, 50 / 108),
    ],
)
def test_regimes(frame_ms: float, window_ms: float, regime: str, stride: int, coverage: float) -> None:
    found = forecast(Costs(frame_ms / 1e3, window_ms / 1e3), DEMAND)
    assert (found.regime, found.stride) == (regime, stride)
    assert found.coverage == pytest.approx(coverage)


def test_latency() -> None:
    """Seven frames more, and its own work; in bursts a full queue and these frames, each as slow as work is."""
    assert forecast(Costs(0.010, 0.030), DEMAND).latency_s == pytest.approx(7 * 0.050 + 0.040)
    assert forecast(Costs(0.100, 0.008), DEMAND).latency_s == pytest.approx((40 + 8) * 0.108)


def test_a_configured_stride_is_the_least() -> None:
    costs = Costs(0.010, 0.035)
    assert forecast(costs, replace(DEMAND, stride=4)).stride == 4
    # Beyond the largest stride, there is none.
    assert forecast(costs, replace(DEMAND, stride=12)).stride == 12
    assert forecast(Costs(0.010, 0.2), replace(DEMAND, max_stride=1)).regime == "bursts"


class Worker:
    """Notes frames whose costs are given to a pace."""

    def __init__(self, pace: Pace) -> None:
        self.pace, self.stages = pace, Stages()

    def work(self, frames: int, frame_ms: int, window_ms: int, admitted: bool = True) -> None:
        for _ in range(frames):
            admit, infer = self.stages[ADMIT], self.stages[INFER]
            if admitted:
                admit.count += 1
                infer.count += 1
                infer.spent_ns += window_ms * 1_000_000
            self.pace.note((frame_ms + (window_ms if admitted else 0)) * 1_000_000, self.stages)


def test_it_grows_at_once_and_shrinks_after_a_while() -> None:
    worker = Worker(Pace(DEMAND))
    worker.work(100, 10, 80)
    assert worker.pace.costs.frame_s == pytest.approx(0.010)
    assert worker.pace.costs.window_s == pytest.approx(0.080)
    assert not worker.pace.adjust(0.2, 100.0)
    assert worker.pace.adjust(0.25, 100.0)
    # 10 + 80 / 3 = 36.7
    assert worker.pace.stride == 3
    worker.work(400, 10, 20)
    assert not worker.pace.adjust(0.0, 100.0 + HOLD_S - 0.1)
    assert worker.pace.adjust(0.0, 100.0 + HOLD_S)
    assert worker.pace.stride == 1


def test_between_two_limits_it_stays() -> None:
    """10 + 34 ms of 50 is under 0.9 of them and over 0.8: a stride of 1 is kept, and a stride of 2 is kept."""
    worker = Worker(Pace(DEMAND))
    worker.work(100, 10, 34)
    assert not worker.pace.adjust(1.0, 0.0)
    worker.work(400, 10, 80)
    worker.pace.adjust(1.0, 0.0)
    worker.work(400, 10, 34)
    assert worker.pace.adjust(0.0, 1000.0)
    assert worker.pace.stride == 2
    assert not worker.pace.adjust(0.0, 2000.0)


def test_frames_that_a_faster_camera_delivers_between_are_part_of_the_next() -> None:
    worker = Worker(Pace(DEMAND))
    for _ in range(100):
        worker.work(1, 10, 20)
        worker.work(1, 4, 0, admitted=False)
    assert worker.pace.costs.frame_s == pytest.approx(0.014, abs=1e-4)


def test_other_engines_are_measured_anew() -> None:
    worker = Worker(Pace(DEMAND))
    worker.work(100, 10, 30)
    worker.pace.forget()
    assert not worker.pace.adjust(1.0, 0.0)
    worker.work(3, 10, 130)
    assert worker.pace.costs.window_s == pytest.approx(0.130)
