"""The fixed-lag filter against Viterbi's algorithm done by trying every course."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolkit.bouts import DecisionFilter, FixedLagViterbi


def chain(
    seed: int, behaviours: int, frames: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return random transitions, a prior and each frame's probabilities."""
    random = np.random.default_rng(seed)
    transitions = random.dirichlet(np.ones(behaviours), behaviours) + 3 * np.eye(behaviours)
    transitions /= transitions.sum(axis=1, keepdims=True)
    return transitions, random.dirichlet(5 * np.ones(behaviours)), random.dirichlet(np.ones(behaviours), frames)


def log_probability(
    course: tuple[int, ...], transitions: NDArray[np.float64], prior: NDArray[np.float64], seen: NDArray[np.float64]
) -> float:
    """Return ln P(course, frames) up to a constant, by the definition: first state, steps, evidence."""
    total = float(np.log(prior[course[0]]))
    total += sum(float(np.log(transitions[before, after])) for before, after in itertools.pairwise(course))
    return total + sum(float(np.log(seen[t, state] / prior[state])) for t, state in enumerate(course))


def best_course(
    transitions: NDArray[np.float64], prior: NDArray[np.float64], seen: NDArray[np.float64]
) -> tuple[int, ...]:
    courses = itertools.product(range(len(prior)), repeat=len(seen))
    return max(courses, key=lambda course: log_probability(course, transitions, prior, seen))


def push_all(decide: DecisionFilter, seen: NDArray[np.float64]) -> list[list[int]]:
    return [decide.push(10 * t, int(row.argmax()), row) for t, row in enumerate(seen)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3), st.integers(1, 7), st.integers(0, 3))
def test_with_a_lag_of_the_whole_segment_it_is_the_best_of_all_courses(
    seed: int, behaviours: int, frames: int, more: int
) -> None:
    transitions, prior, seen = chain(seed, behaviours, frames)
    decide = FixedLagViterbi(transitions, prior, frames - 1 + more)
    pushed = push_all(decide, seen)
    assert all(labels == [] for labels in pushed[:-1])
    assert (*pushed[-1], *decide.end()) == best_course(transitions, prior, seen)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.integers(0, 5))
def test_a_frame_is_decided_by_the_best_course_up_to_the_lag_after_it(seed: int, frames: int, lag: int) -> None:
    transitions, prior, seen = chain(seed, 3, frames)
    decide = FixedLagViterbi(transitions, prior, lag)
    decided = [label for labels in push_all(decide, seen) for label in labels]
    assert len(decided) == max(0, frames - lag)
    decided += decide.end()
    # What is known when frame t is decided: the frames up to t + lag, as far as there are any.
    expected = [best_course(transitions, prior, seen[: t + lag + 1])[t] for t in range(frames)]
    assert decided == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_a_segment_that_goes_on_keeps_its_first_label(seed: int, label: int) -> None:
    transitions, prior, seen = chain(seed, 3, 5)
    decide = FixedLagViterbi(transitions, prior, 10)
    decide.begin_with(label)
    push_all(decide, seen)
    courses = [(label, *rest) for rest in itertools.product(range(3), repeat=4)]
    # The first frame's evidence is the same for all of them.
    best = max(courses, key=lambda course: log_probability(course, transitions, prior, seen))
    assert tuple(decide.end()) == best


def test_a_frame_alone_keeps_its_raw_label() -> None:
    transitions, _, _ = chain(0, 3, 1)
    decide = FixedLagViterbi(transitions, np.array([0.98, 0.01, 0.01]), 5)
    assert decide.push(0, 1, np.array([0.3, 0.5, 0.2])) == []
    assert decide.end() == [1]
    assert decide.end() == []


def test_a_flicker_is_smoothed_and_a_change_is_not() -> None:
    stays = 0.9
    transitions = np.array([[stays, 1 - stays], [1 - stays, stays]])
    decide = FixedLagViterbi(transitions, np.array([0.5, 0.5]), 20)
    # In and out costs 2 ln 9 = 4.39 nats; a frame of 0.9 to 0.1 brings ln 9 = 2.20: one is too few, three are enough.
    for frames, expected in ((1, [0] * 8 + [0] + [0] * 8), (3, [0] * 8 + [1] * 3 + [0] * 8)):
        raw = [0] * 8 + [1] * frames + [0] * 8
        push_all(decide, np.where(np.array(raw)[:, None] == np.arange(2), 0.9, 0.1))
        assert decide.end() == expected


def test_probabilities_of_zero() -> None:
    transitions = np.array([[0.99, 0.01], [0.01, 0.99]])
    decide = FixedLagViterbi(transitions, np.array([0.5, 0.5]), 3)
    seen = np.array([[1.0, 0.0]] + [[0.0, 1.0]] * 10)
    decided = [label for labels in push_all(decide, seen) for label in labels] + decide.end()
    assert decided == [0] + [1] * 10


@pytest.mark.parametrize("lag", [0, 4])
def test_a_long_segment_is_decided_as_its_end_alone(lag: int) -> None:
    transitions, prior, seen = chain(3, 3, 20_000)
    long = FixedLagViterbi(transitions, prior, lag)
    pushed = push_all(long, seen)
    assert sum(map(len, pushed)) == 20_000 - lag
    # Its end is decided as it is by one that saw the last thousand frames alone: what was long ago has been forgotten.
    short = FixedLagViterbi(transitions, prior, lag)
    recent = push_all(short, seen[-1000:])
    assert pushed[-500:] == recent[-500:]
    assert long.end() == short.end()
