"""Frames are dated by their source's own times: jitter, drift and jumps of a simulated source against the truth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolkit.cage.cameras import SensorClock
from toolkit.errors import CameraError
from toolkit.frames import NS_PER_S, is_consecutive

FPS = 30
MS = 1_000_000
LEARNT = 10 * FPS
"""Frames after which the clock has seen a whole window."""


def dated(source_ns: NDArray[np.int64], arrival_ns: NDArray[np.int64]) -> list[int | None]:
    clock = SensorClock("test")
    return [clock.date(int(source), int(arrival)) for source, arrival in zip(source_ns, arrival_ns, strict=True)]


def taken(seconds: float) -> NDArray[np.int64]:
    """Return when frames are taken, ns of our clock."""
    return (np.arange(round(seconds * FPS)) * NS_PER_S // FPS + 5 * NS_PER_S).astype(np.int64)


def arriving(taken_ns: NDArray[np.int64], delay_ns: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Return when frames arrive that are so long under way: one after the other, as on a connection."""
    return np.maximum.accumulate(taken_ns + delay_ns) + np.arange(len(taken_ns))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    drift_ppm=st.floats(-200, 200),
    jitter_ms=st.floats(0, 80),
    begin_s=st.integers(-1000, 100_000),
    stalls=st.lists(st.tuples(st.integers(5, 38), st.floats(0.1, 2)), max_size=3),
)
def test_jitter_and_drift(
    seed: int, drift_ppm: float, jitter_ms: float, begin_s: int, stalls: list[tuple[int, float]]
) -> None:
    """At most 7 ms off, most of it the jitter that no frame of the window escaped; and no gap where there is none."""
    true_ns = taken(40)
    floor_ns = 20 * MS
    jitter_ns = (np.random.default_rng(seed).uniform(0, jitter_ms, len(true_ns)) * MS).astype(np.int64)
    arrival_ns = arriving(true_ns, floor_ns + jitter_ns)
    for at_s, long_s in stalls:
        # Nothing arrives for a while, and then all that was sent meanwhile.
        until_ns = (5 + at_s) * NS_PER_S + round(long_s * NS_PER_S)
        held = (true_ns >= (5 + at_s) * NS_PER_S) & (arrival_ns < until_ns)
        arrival_ns[held] = until_ns
    arrival_ns = np.maximum.accumulate(arrival_ns) + np.arange(len(true_ns))
    source_ns = (true_ns * (1 + drift_ppm * 1e-6)).astype(np.int64) + begin_s * NS_PER_S
    times = dated(source_ns, arrival_ns)
    known = [(time, index) for index, time in enumerate(times) if time is not None]
    assert len(known) >= len(true_ns) - FPS
    for (before, _), (after, index) in pairwise(known):
        assert before < after <= arrival_ns[index]
        assert is_consecutive(before, after, FPS)
    off_ns = np.array([time - true_ns[index] - floor_ns for time, index in known if index >= LEARNT])
    assert off_ns.min() > -3 * MS
    assert off_ns.max() < 7 * MS


def test_a_network_that_is_slow_for_a_while() -> None:
    """Twenty seconds in which every frame comes 0.3 s late move the dates by the rise of ten seconds, 5 ms, no more."""
    true_ns = taken(40)
    late_ns = np.zeros(len(true_ns), np.int64)
    late_ns[5 * FPS : 25 * FPS] = 300 * MS
    times = dated(true_ns, arriving(true_ns, 20 * MS + late_ns))
    off_ms = (np.array(times[1:], dtype=np.int64) - true_ns[1:]) / MS - 20
    assert np.abs(off_ms).max() < 5.3
    assert np.abs(off_ms[26 * FPS :]).max() < 0.1


@pytest.mark.parametrize("drift_ppm", [-200, 200])
def test_drift_does_not_add_up(drift_ppm: int) -> None:
    """In ten minutes two crystals part by 120 ms; the dates stay within the 2 ms that a window's drift makes."""
    true_ns = taken(600)
    times = dated((true_ns * (1 + drift_ppm * 1e-6)).astype(np.int64), true_ns + 20 * MS)
    off_ms = (np.array(times[1:], dtype=np.int64) - true_ns[1:]) / MS - 20
    assert np.abs(off_ms).max() < 2.1


def test_a_steady_source_is_dated_to_the_nanosecond() -> None:
    """Ten frames of 33.3 ms that each took 20 ms: the first one only tells where to begin."""
    true_ns = taken(1 / 3)
    times = dated(true_ns - 7 * NS_PER_S, true_ns + 20 * MS)
    assert times == [None, *(true_ns[1:] + 20 * MS).tolist()]


def test_a_source_that_begins_anew_is_dated_on() -> None:
    """Its times fall back to 0 while frames go on."""
    true_ns = taken(4)
    source_ns = true_ns.copy()
    source_ns[60:] -= source_ns[60]
    times = dated(source_ns, true_ns + 20 * MS)
    assert times[1:] == (true_ns[1:] + 20 * MS).tolist()


def test_a_source_whose_clock_leaps_is_dated_on() -> None:
    true_ns = taken(4)
    source_ns = true_ns.copy()
    source_ns[60:] += 3 * NS_PER_S
    times = dated(source_ns, true_ns + 20 * MS)
    assert times[1:] == (true_ns[1:] + 20 * MS).tolist()


def test_a_source_whose_clock_stood_still_is_believed_again_after_a_window() -> None:
    """Two seconds too early for ten seconds, since it could be the network; then it is one gap, and right."""
    source_ns = taken(20)
    true_ns = source_ns.copy()
    true_ns[60:] += 2 * NS_PER_S
    times = dated(source_ns, true_ns + 20 * MS)
    pairs = zip(times[1:], true_ns[1:].tolist(), strict=True)
    off_ms = [(time - true) / MS - 20 for time, true in pairs if time is not None]
    # Frame 60 comes after the standstill; by frame 300 the last of those before it is ten seconds old.
    assert off_ms[58] == 0
    assert off_ms[59:298] == pytest.approx([-2000] * 239, abs=12)
    assert off_ms[300:] == pytest.approx([0] * 299, abs=0.1)


def test_what_was_stored_while_the_source_was_opened_is_not_dated() -> None:
    """One second of frames comes at once: only what comes later can be told."""
    true_ns = taken(2)
    arrival_ns = np.maximum(true_ns, true_ns[30] + np.arange(len(true_ns)) * 2 * MS // 10) + 20 * MS
    times = dated(true_ns, arrival_ns)
    first = next(index for index, time in enumerate(times) if time is not None)
    assert 29 <= first <= 33
    assert times[40:] == (true_ns[40:] + 20 * MS).tolist()


def test_a_source_that_runs_ahead_is_refused() -> None:
    true_ns = taken(30)
    with pytest.raises(CameraError, match=r"(?s)sent \d+\.\d s of pictures within .*Expected a live source"):
        dated(true_ns, true_ns[0] + np.arange(len(true_ns)) * MS)
