"""Which filter a `[decision]` table and a bundle make."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from toolkit.bouts import (
    BundleDecision,
    ChosenDecision,
    DecisionTable,
    Transitions,
    decided_labels,
    decision_filter,
)
from toolkit.errors import ConfigError

INTERVAL_NS = 100_000_000
NAMES = ("rest", "walk")
TRANSITIONS = Transitions(
    interval_ns=INTERVAL_NS // 2, matrix=((0.99, 0.01), (0.01, 0.99)), prior=(0.5, 0.5), changes=9, seconds=60
)
CHOSEN = ChosenDecision(smoothing_s=0.2, min_bout_s=0.0, uncertain_below=None, frames=100)
BUNDLE = BundleDecision(chosen=CHOSEN, transitions=TRANSITIONS)


def decided(labels: list[int], bundle: BundleDecision | None = BUNDLE, **table: object) -> list[int]:
    """Frames 100 ms apart, 0.9 sure of their raw labels."""
    decide = decision_filter(DecisionTable.model_validate(table), bundle, NAMES, INTERVAL_NS)
    seen = np.where(np.array(labels)[:, None] == np.arange(2), 0.9, 0.1)
    return decided_labels(seen, np.arange(len(labels)) * INTERVAL_NS, decide, INTERVAL_NS).tolist()


FLICKER = [0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1]
WITHOUT = [0] * 8 + [1] * 5


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, FLICKER),
        ({"filter": "off"}, FLICKER),
        ({"filter": "hysteresis"}, WITHOUT),
        ({"filter": "hysteresis", "min_bout_s": {"walk": 0.1}}, FLICKER),
        ({"filter": "hysteresis", "min_bout_s": 0.6}, [0] * 13),
        ({"filter": "viterbi"}, WITHOUT),
        ({"filter": "viterbi", "lag_s": 5}, WITHOUT),
        # Three frames' average: the lone frame of walk is outvoted.
        ({"filter": "bundle"}, WITHOUT),
    ],
)
def test_every_filter(table: dict[str, object], expected: list[int]) -> None:
    assert decided(FLICKER, **table) == expected


def test_the_bundle_s_shortest_bout_counts_too() -> None:
    bundle = BundleDecision(chosen=CHOSEN.model_copy(update={"smoothing_s": 0.0, "min_bout_s": 0.6}))
    assert decided(FLICKER, bundle, filter="bundle") == [0] * 13


@pytest.mark.parametrize(
    ("table", "bundle", "said"),
    [
        ({"filter": "bundle"}, BundleDecision(transitions=TRANSITIONS), "none. Export it again with --crossval"),
        ({"filter": "bundle"}, None, "none. Export it again with --crossval"),
        (
            {"filter": "viterbi"},
            BundleDecision(without_transitions="clips have no transitions"),
            r'none \(clips have no transitions\)\. Set filter to "hysteresis"',
        ),
        ({"filter": "viterbi"}, None, "exported before bundles had them"),
        ({"filter": "hysteresis", "min_bout_s": {"wlak": 1}}, BUNDLE, "min_bout_s names wlak"),
    ],
)
def test_what_the_bundle_does_not_bring_is_said(
    table: dict[str, object], bundle: BundleDecision | None, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        decided(FLICKER, bundle, **table)


@pytest.mark.parametrize(
    "table",
    [{"filter": "kalman"}, {"lag_s": 6}, {"lag_s": -1}, {"min_bout_s": -1}, {"min_bout_s": {"rest": -1}}, {"lag": 1}],
)
def test_other_values_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DecisionTable.model_validate(table)


def test_what_a_bundle_brings_in_words() -> None:
    assert BUNDLE.lines() == [
        "chosen by cross-validation: smoothing 0.2 s, shortest bout 0 s, no threshold of certainty",
        "transitions between behaviours: 9 changes of behaviour in 60 s of video",
    ]
    assert BundleDecision(without_transitions="clips have no transitions").lines() == [
        "chosen by cross-validation: nothing",
        "transitions between behaviours: none (clips have no transitions)",
    ]
