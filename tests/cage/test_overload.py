"""A daemon that is too slow: what it leaves out, what it says of it, and that nothing is mixed up on the way."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.cage.virtual import FPS, Cost, World, assert_covered_once, assert_no_clip_crosses_a_gap, segments, watched
from toolkit.behaviour_log import Quality, Reason
from toolkit.bouts import BoutRules
from toolkit.cage.pace import Costs, Demand, forecast
from toolkit.cage.recording import Recorder
from toolkit.frames import NS_PER_S
from toolkit.report.logged_bouts import bouts_of_rows, own_probability

INTERVAL_S = 1 / FPS
AFTER = 7
QUEUE = 64


def always(seconds: float) -> Cost:
    return lambda _: seconds


def steps(*pieces: tuple[float, float]) -> Cost:
    """Return a cost that changes: each piece until when, and how much."""
    return lambda now_s: next((cost for until_s, cost in pieces if now_s < until_s), pieces[-1][1])


def test_a_machine_that_keeps_up(tmp_path: Path) -> None:
    """25 ms of work in 33 ms: every frame in a row, and each within its clip's time and that work."""
    world = World(20, flow_s=always(0.010), window_s=always(0.015))
    summary, log = watched(world, tmp_path)
    assert log.source_index.tolist() == list(range(600))
    assert (summary.frames_dropped, summary.windows_skipped) == (0, 0)
    assert set(log.unobserved_s()) <= {Reason.END_OF_SOURCE}
    assert_covered_once(log)
    assert_no_clip_crosses_a_gap(world, log)
    assert summary.latency_p99_s == pytest.approx(AFTER * INTERVAL_S + 0.025, rel=0.06)


def test_networks_that_are_too_slow(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """10 ms for a frame and 50 ms for a window: of 33.3 ms, every third window takes 10 + 50 / 3 = 26.7 ms."""
    world = World(60, flow_s=always(0.010), window_s=always(0.050))
    with caplog.at_level(logging.INFO, logger="toolkit.cage"):
        summary, log = watched(world, tmp_path)
    assert summary.frames_dropped == 0
    assert Reason.OVERLOAD not in log.unobserved_s()
    assert_covered_once(log)
    assert_no_clip_crosses_a_gap(world, log)
    places = np.diff(log.source_index)
    grown = int(np.argmax(places == 3))
    # It grows once, before a second has been lost, and the rows before it are of every frame.
    assert grown < 60
    assert set(places[:grown].tolist()) == {1}
    assert set(places[grown:].tolist()) == {3}
    # Each row stands for the time to the next one: frames that are passed over are observed.
    assert np.abs(log.duration_ns[:-1] - places * NS_PER_S / FPS).max() < 10
    assert log.duration_ns[-1] == pytest.approx(3 * NS_PER_S / FPS, abs=10) or log.unobserved
    assert summary.windows_skipped == 2 * int((places == 3).sum()) + 2
    assert len(log.bouts) == 1
    assert len(bouts_of_rows(log, log.label, own_probability(log, log.label), BoutRules(min_bout_s=0.5))) == 1
    told = [message for message in caplog.messages if "stride-changed" in message]
    assert told == ["cage=a1 event=stride-changed stride=3 frame_ms=10 window_ms=50"]
    assert summary.latency_p99_s is not None
    assert summary.latency_p99_s < QUEUE / FPS
    assert any("windows skipped by a larger stride" in line for line in summary.lines())


def test_a_recording_is_told_what_a_row_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(Recorder, "row", lambda self, time_ns, interval_ns, behaviour: told.append(interval_ns))
    world = World(20, flow_s=always(0.010), window_s=always(0.050))
    table = {"mode": "bouts", "folder": tmp_path / "video", "behaviours": ["rest"], "min_free_gb": 0.0}
    _, log = watched(world, tmp_path, recording=table)
    places = np.diff(log.source_index)
    assert set(places.tolist()) == {1, 3}
    assert told[:-1] == [round(place * NS_PER_S / FPS) for place in places.tolist()]


def test_flow_that_is_too_slow(tmp_path: Path) -> None:
    """60 ms for a frame: by no stride can all be seen, and every second window (65 ms) costs little more than none."""
    world = World(120, flow_s=always(0.060), window_s=always(0.010))
    summary, log = watched(world, tmp_path)
    expected = forecast(Costs(0.060, 0.010), Demand(INTERVAL_S, 1, 8, QUEUE, AFTER))
    assert (expected.regime, expected.stride) == ("bursts", 2)
    assert_covered_once(log)
    assert_no_clip_crosses_a_gap(world, log)
    bursts = [len(segment) for segment in segments(world.taken)]
    assert len(bursts) > 5
    assert min(bursts[:-1]) >= QUEUE
    assert world.deepest == QUEUE
    observed = log.observed_s / (log.observed_s + log.unobserved_s()[Reason.OVERLOAD])
    assert observed == pytest.approx(expected.coverage, abs=0.04)
    assert log.unobserved_s()[Reason.OVERLOAD] == pytest.approx(summary.frames_dropped / FPS, abs=1e-3)
    assert summary.latency_p99_s is not None
    assert QUEUE * 0.060 < summary.latency_p99_s < expected.latency_s * 1.06
    # The ends of a burst repeat frames, and say so.
    ends = np.flatnonzero(np.diff(log.source_index) > 8)
    assert len(ends) == len(bursts) - 1
    assert (log.quality[ends] & Quality.PADDED).all()
    assert (log.quality[ends + 1] & Quality.PADDED).all()


def test_it_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Slow networks, slow flow, and neither: at the end every frame is classified again, in time."""
    flow_s = steps((20, 0.008), (60, 0.008), (120, 0.070), (200, 0.008))
    window_s = steps((20, 0.010), (60, 0.060), (120, 0.060), (200, 0.010))
    world = World(200, flow_s, window_s)
    with caplog.at_level(logging.INFO, logger="toolkit.cage"):
        _, log = watched(world, tmp_path)
    assert_covered_once(log)
    assert_no_clip_crosses_a_gap(world, log)
    seconds = (log.time_ns - log.time_ns[0]) / NS_PER_S
    places = np.diff(log.source_index)
    assert set(places[(seconds[:-1] > 1) & (seconds[:-1] < 19)].tolist()) == {1}
    assert set(places[(seconds[:-1] > 25) & (seconds[:-1] < 59)].tolist()) == {3}
    assert Reason.OVERLOAD in log.unobserved_s()
    assert all(60 < (gap.start_ns - log.time_ns[0]) / NS_PER_S < 125 for gap in log.unobserved[:-1])
    assert set(places[seconds[:-1] > 145].tolist()) == {1}
    assert [m.split()[1] for m in caplog.messages if "overload" in m] == ["event=overloaded", "event=overload-over"]


def test_a_stride_does_not_flutter(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Costs that vary by a third around what one stride just keeps up with: few changes, not one with every frame."""
    noise = np.random.default_rng(5).uniform(0.7, 1.3, 50_000)
    world = World(600, flow_s=always(0.010), window_s=lambda now_s: 0.040 * noise[int(now_s * 60)])
    with caplog.at_level(logging.INFO, logger="toolkit.cage"):
        _, log = watched(world, tmp_path)
    assert_covered_once(log)
    assert Reason.OVERLOAD not in log.unobserved_s()
    assert 1 <= sum("stride-changed" in message for message in caplog.messages) <= 6


pieces = st.lists(
    st.tuples(st.floats(0.5, 12), st.floats(0, 0.15), st.floats(0, 0.3)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25, deadline=None)
@given(pieces, st.integers(1, 3), st.integers(1, 8), st.integers(17, 64))
@example([(5.0, 0.0, 0.3), (5.0, 0.15, 0.0), (5.0, 0.0, 0.0)], 1, 8, 17)
@example([(0.5, 0.149, 0.299)], 3, 1, 17)
def test_whatever_work_costs(
    changes: list[tuple[float, float, float]], stride: int, max_stride: int, queue_frames: int
) -> None:
    """Time counts once, no clip crosses a gap, and neither memory nor latency grows."""
    ends = np.cumsum([length for length, _, _ in changes]).tolist()
    flow_s = steps(*((end, flow) for end, (_, flow, _) in zip(ends, changes, strict=True)))
    window_s = steps(*((end, window) for end, (_, _, window) in zip(ends, changes, strict=True)))
    world = World(min(ends[-1], 30.0), flow_s, window_s)
    with tempfile.TemporaryDirectory() as folder:
        summary, log = watched(
            world,
            Path(folder),
            cage={"stride": stride, "max_stride": max_stride},
            camera={"queue_frames": queue_frames},
        )
    assert_covered_once(log)
    assert_no_clip_crosses_a_gap(world, log)
    assert world.deepest <= queue_frames
    assert len(world.taken) == summary.frames_captured - summary.frames_dropped
    assert all(len(burst) >= queue_frames for burst in segments(world.taken)[:-1])
    strides = np.diff(log.source_index)[np.diff(log.source_index) > 0]
    assert strides.size == 0 or strides.min() >= stride
    if summary.latency_p99_s is not None:
        slowest_s = max(flow + window / stride for _, flow, window in changes)
        longest_s = (queue_frames + AFTER + 1) * max(slowest_s, INTERVAL_S) + max(window for _, _, window in changes)
        assert summary.latency_p99_s < 1.06 * longest_s
