"""Hysteresis by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.bouts import Hysteresis

INTERVAL_NS = 100_000_000
A, B, C = 0, 1, 2
ROW = np.ones(3)


def decided(labels: list[int], shortest_s: float, **by_behaviour_s: float) -> list[int]:
    """Frames 100 ms apart; `by_behaviour_s` names behaviours a, b, c."""
    own = {"abc".index(name): round(seconds * 1e9) for name, seconds in by_behaviour_s.items()}
    hysteresis = Hysteresis(round(shortest_s * 1e9), own, INTERVAL_NS)
    final = [label for t, raw in enumerate(labels) for label in hysteresis.push(t * INTERVAL_NS, raw, ROW)]
    return final + hysteresis.end()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # One frame of B is too short for 0.2 s; two are taken, from the first on.
        ([A, A, B, A, A], [A, A, A, A, A]),
        ([A, A, B, B, A, A], [A, A, B, B, A, A]),
        # B and C are too short, each for itself: neither makes up for the other.
        ([A, B, C, B, C, A], [A, A, A, A, A, A]),
        # What is too short belongs to what is before it, not to what comes after.
        ([A, A, B, C, C], [A, A, A, C, C]),
        # A segment's first frame has nothing before it.
        ([B, A, A], [B, A, A]),
        # What its end cuts short stays with what is in force.
        ([A, A, B], [A, A, A]),
        ([], []),
    ],
)
def test_by_hand(raw: list[int], expected: list[int]) -> None:
    assert decided(raw, 0.2) == expected


def test_by_behaviour() -> None:
    # B needs three frames, A one, C two.
    assert decided([A, B, B, A, B, B, B, C, A], 0.2, a=0.0, b=0.3) == [A, A, A, A, B, B, B, B, A]


def test_zero_leaves_labels_alone_and_waits_for_nothing() -> None:
    hysteresis = Hysteresis(0, {}, INTERVAL_NS)
    assert [hysteresis.push(t, label, ROW) for t, label in enumerate([A, B, C, A])] == [[A], [B], [C], [A]]


def test_a_nominal_interval_that_was_rounded_down_is_not_a_frame_short() -> None:
    interval_ns = round(1e9 / 30)
    hysteresis = Hysteresis(100_000_000, {}, interval_ns)
    pushed = [hysteresis.push(t * interval_ns, label, ROW) for t, label in enumerate([A, B, B, B])]
    assert pushed == [[A], [], [], [B, B, B]]


def test_a_segment_that_goes_on_keeps_its_first_label() -> None:
    hysteresis = Hysteresis(200_000_000, {}, INTERVAL_NS)
    hysteresis.begin_with(A)
    # The raw label is B from the first frame on; the frame that is given to A does not count for it.
    assert [hysteresis.push(t * INTERVAL_NS, B, ROW) for t in range(3)] == [[A], [], [B, B]]
    assert hysteresis.end() == []
    assert hysteresis.push(0, C, ROW) == [C]


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 5))
def test_no_bout_but_the_first_and_the_last_is_too_short(labels: list[int], shortest: int) -> None:
    final = decided([min(label, C) for label in labels], shortest / 10)
    assert len(final) == len(labels)
    runs = [len(list(run)) for _, run in itertools.groupby(final)]
    assert all(run >= shortest for run in runs[1:])
