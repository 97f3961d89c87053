"""Deciding a frame at a time: the same live and recorded, every labelled frame once, nothing carried over a gap."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolkit.bouts import (
    NO_LABEL,
    Bout,
    BoutRules,
    DecidedBouts,
    DecisionFilter,
    FixedLagViterbi,
    Hysteresis,
    MovingAverage,
    bouts_from_labels,
    decided_labels,
    smooth_probabilities,
)
from toolkit.errors import InputError

INTERVAL_NS = 100_000_000
K = 3
LAG = 4
STEPS = np.full((K, K), 0.1) + 0.7 * np.eye(K)
PRIOR = np.full(K, 1 / K)

MAKE: dict[str, Callable[[], DecisionFilter | None]] = {
    "off": lambda: None,
    "viterbi": lambda: FixedLagViterbi(STEPS, PRIOR, LAG),
    "hysteresis": lambda: Hysteresis(round(0.35e9), {1: round(0.15e9)}, INTERVAL_NS),
    "average": lambda: MovingAverage(2, Hysteresis(0, {}, INTERVAL_NS)),
    "both": lambda: MovingAverage(1, Hysteresis(round(0.25e9), {}, INTERVAL_NS)),
}
MOST_WAITING = {"off": 0, "viterbi": LAG, "hysteresis": 3, "average": 2, "both": 3}

every_filter = pytest.mark.parametrize("name", list(MAKE))
FRAMES = st.lists(
    st.tuples(
        # Mostly even, else jittered up to and over the limit of a gap.
        st.one_of(st.just(INTERVAL_NS), st.just(INTERVAL_NS), st.integers(1, 3 * INTERVAL_NS)),
        st.integers(0, 9),
        st.integers(0, 2**32 - 1),
    ),
    max_size=40,
)


def recording(
    frames: list[tuple[int, int, int]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return times, raw labels (one in ten is none) and probabilities."""
    times = np.cumsum([step for step, _, _ in frames], dtype=np.int64)
    rows = [np.random.default_rng(seed).dirichlet(np.ones(K)) for _, _, seed in frames]
    seen = np.array(rows).reshape(-1, K)
    uncertain = np.array([coin == 0 for _, coin, _ in frames], dtype=bool)
    return times, np.where(uncertain, NO_LABEL, seen.argmax(axis=1)), seen


def segments(times: NDArray[np.int64], raw: NDArray[np.int64]) -> list[slice]:
    """Return the runs of labelled frames without a gap, by their definition."""
    found: list[slice] = []
    for t in range(len(times)):
        if raw[t] < 0:
            continue
        goes_on = t > 0 and raw[t - 1] >= 0 and times[t] - times[t - 1] <= 1.5 * INTERVAL_NS
        found = [*found[:-1], slice(found[-1].start, t + 1)] if goes_on else [*found, slice(t, t + 1)]
    return found


@every_filter
@settings(deadline=None, max_examples=50)
@given(frames=FRAMES, cuts=st.lists(st.integers(0, 40), max_size=5))
def test_live_bouts_are_those_of_the_recorded_labels(
    name: str, frames: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    times, raw, seen = recording(frames)
    labels = decided_labels(seen, times, MAKE[name](), INTERVAL_NS, labels=raw)
    live = DecidedBouts(MAKE[name](), INTERVAL_NS)
    bouts: list[Bout] = []
    for t, (when, label) in enumerate(zip(times.tolist(), raw.tolist(), strict=True)):
        if t in cuts:
            # Whatever is asked in between changes nothing: a flush may come at any moment.
            live.so_far()
        bouts += live.push(when, label, seen[t])
    bouts += live.end()
    own = np.where(labels >= 0, seen[np.arange(len(labels)), labels.clip(0)], 0.0)
    recorded = bouts_from_labels(times, labels, own, BoutRules(), INTERVAL_NS)
    assert [(b.behaviour, b.start_ns, b.stop_ns, b.frames) for b in bouts] == [
        (b.behaviour, b.start_ns, b.stop_ns, b.frames) for b in recorded
    ]
    assert [b.mean_probability for b in bouts] == pytest.approx([b.mean_probability for b in recorded])


@every_filter
@settings(deadline=None, max_examples=50)
@given(frames=FRAMES)
def test_every_labelled_frame_is_decided_once_and_segments_know_nothing_of_each_other(
    name: str, frames: list[tuple[int, int, int]]
) -> None:
    times, raw, seen = recording(frames)
    labels = decided_labels(seen, times, MAKE[name](), INTERVAL_NS, labels=raw)
    assert labels.shape == raw.shape
    assert ((labels < 0) == (raw < 0)).all()
    for part in segments(times, raw):
        alone = decided_labels(seen[part], times[part], MAKE[name](), INTERVAL_NS, labels=raw[part])
        assert labels[part].tolist() == alone.tolist()


@every_filter
@settings(deadline=None, max_examples=50)
@given(frames=FRAMES)
def test_a_filter_waits_for_a_bounded_number_of_frames(name: str, frames: list[tuple[int, int, int]]) -> None:
    decide = MAKE[name]()
    if decide is None:
        return
    _, _, seen = recording(frames)
    decided = 0
    for t, row in enumerate(seen):
        decided += len(decide.push(t * INTERVAL_NS, int(row.argmax()), row))
        assert t + 1 - decided <= MOST_WAITING[name]
    assert decided + len(decide.end()) == len(seen)
    assert decide.end() == []


@settings(deadline=None, max_examples=50)
@given(frames=FRAMES, reach=st.integers(0, 4))
def test_the_live_average_is_the_recorded_one(frames: list[tuple[int, int, int]], reach: int) -> None:
    times, raw, seen = recording(frames)
    decide = MovingAverage(reach, Hysteresis(0, {}, INTERVAL_NS))
    labels = decided_labels(seen, times, decide, INTERVAL_NS, labels=raw)
    for part in segments(times, raw):
        smooth = smooth_probabilities(seen[part], times[part], 2 * reach * INTERVAL_NS / 1e9, INTERVAL_NS)
        # Decided by the largest mean, but for what rounding may have made equal.
        chosen = smooth[np.arange(len(smooth)), labels[part]]
        np.testing.assert_allclose(chosen, smooth.max(axis=1), atol=1e-6)


@every_filter
def test_what_is_stored_on_the_way_is_never_to_be_taken_back(name: str) -> None:
    """As the log stores: bouts by their start, the one that goes on again and again."""
    random = np.random.default_rng(5)
    live = DecidedBouts(MAKE[name](), INTERVAL_NS)
    stored: dict[int, Bout] = {}
    final: list[Bout] = []
    for t in range(400):
        label = NO_LABEL if t % 37 == 36 else int(random.integers(K))
        row = random.dirichlet(np.ones(K)) + 0.5 * np.eye(K)[label]
        ended = live.push(t * INTERVAL_NS, label, row / 1.5)
        final += ended
        for bout in [*ended, *live.so_far()]:
            stored[bout.start_ns] = bout
        if label >= 0:
            # Up to the newest frame there is exactly one bout for every labelled frame.
            covered = sum(bout.frames for bout in stored.values())
            assert covered == t + 1 - (t + 1) // 37
    final += live.end()
    stored.update({bout.start_ns: bout for bout in final})
    assert list(stored.values()) == final


@every_filter
def test_a_stream_that_is_only_cut_goes_on_with_its_label(name: str) -> None:
    live = DecidedBouts(MAKE[name](), INTERVAL_NS)
    row = np.array([0.9, 0.05, 0.05])
    assert [live.push(t * INTERVAL_NS, 0, row) for t in range(10)] == [[]] * 10
    assert live.continues_with(0)
    assert not live.continues_with(NO_LABEL)
    (before,) = live.end(continues=True)
    assert (before.behaviour, before.frames) == (0, 10)
    assert live.push(10 * INTERVAL_NS, 0, row) == []
    (after,) = live.end()
    assert (after.behaviour, after.frames) == (0, 1)
    assert not live.continues_with(0)


def test_a_filter_makes_the_cut_keep_a_label_that_a_frame_would_change() -> None:
    live = DecidedBouts(MAKE["hysteresis"](), INTERVAL_NS)
    for t in range(5):
        live.push(t * INTERVAL_NS, 0, np.ones(K))
    assert live.continues_with(2)
    live.end(continues=True)
    bouts = [bout for t in range(5, 12) for bout in live.push(t * INTERVAL_NS, 2, np.ones(K))] + live.end()
    assert [(bout.behaviour, bout.frames) for bout in bouts] == [(0, 1), (2, 6)]


def test_refuses_what_it_cannot_place() -> None:
    seen = np.full((2, K), 1 / K)
    with pytest.raises(InputError, match="must increase"):
        decided_labels(seen, np.array([5, 5]), None, INTERVAL_NS)
    with pytest.raises(InputError, match="found 1 times, 2 labels and 2 rows"):
        decided_labels(seen, np.array([5]), None, INTERVAL_NS)
    assert decided_labels(seen[:0], np.array([], dtype=np.int64), MAKE["viterbi"](), INTERVAL_NS).shape == (0,)


@every_filter
def test_a_long_stream_is_held_in_no_more_memory_than_a_short_one(name: str) -> None:
    random = np.random.default_rng(1)
    live = DecidedBouts(MAKE[name](), INTERVAL_NS)
    sizes = []
    for t in range(4000):
        row = random.dirichlet(np.ones(K))
        live.push(t * INTERVAL_NS, int(row.argmax()), row)
        if t >= 100:
            sizes.append(len(pickle.dumps(live)))
    # Numbers grow by a byte or two; what waits for a decision varies from frame to frame.
    assert max(sizes[2000:]) <= max(sizes[:2000]) + 100
