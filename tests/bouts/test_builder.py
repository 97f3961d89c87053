from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from toolkit.bouts import Bout, BoutBuilder, BoutRules, bouts_from_labels, smooth_probabilities
from toolkit.errors import ConfigError, InputError

INTERVAL_NS = 100_000_000
A, B, C = 0, 1, 2


def make_bouts(labels: list[int], rules: BoutRules, *, steps: list[int] | None = None) -> list[Bout]:
    """Frames 100 ms apart (or `steps` intervals), each sure of its label."""
    times = np.cumsum([0, *(steps or [1] * (len(labels) - 1))]) * INTERVAL_NS
    return bouts_from_labels(times, np.array(labels, np.int16), np.ones(len(labels)), rules, INTERVAL_NS)


def spans(bouts: list[Bout]) -> list[tuple[int, float, float]]:
    return [(bout.behaviour, bout.start_ns / INTERVAL_NS, bout.stop_ns / INTERVAL_NS) for bout in bouts]


def test_zero_rules_give_raw_runs() -> None:
    assert spans(make_bouts([A, A, B, A], BoutRules())) == [(A, 0, 2), (B, 2, 3), (A, 3, 4)]


def test_no_label_and_a_gap_end_a_bout_where_observation_ended() -> None:
    assert spans(make_bouts([A, A, -1, A], BoutRules())) == [(A, 0, 2), (A, 3, 4)]
    assert spans(make_bouts([A, A, A], BoutRules(), steps=[1, 5])) == [(A, 0, 2), (A, 6, 7)]


def test_a_step_of_one_and_a_half_intervals_is_no_gap() -> None:
    times = np.array([0, 150_000_000, 300_000_001])
    bouts = bouts_from_labels(times, np.array([A, A, A]), np.ones(3), BoutRules(), INTERVAL_NS)
    assert [(bout.start_ns, bout.stop_ns) for bout in bouts] == [(0, 250_000_000), (300_000_001, 400_000_001)]


@pytest.mark.parametrize(("gap_s", "stitched"), [(0.19, False), (0.2, True)])
def test_stitches_a_behaviour_that_returns_within_the_gap(gap_s: float, stitched: bool) -> None:
    bouts = make_bouts([A, A, B, C, A, B], BoutRules(stitch_gap_s=gap_s))
    if stitched:
        assert spans(bouts) == [(A, 0, 5), (B, 5, 6)]
        assert bouts[0].frames == 5
    else:
        assert spans(bouts) == [(A, 0, 2), (B, 2, 3), (C, 3, 4), (A, 4, 5), (B, 5, 6)]


def test_stitches_again_and_again() -> None:
    assert spans(make_bouts([A, B, A, B, A, C, C], BoutRules(stitch_gap_s=0.1))) == [(A, 0, 5), (C, 5, 7)]


def test_never_stitches_over_unobserved_time() -> None:
    rules = BoutRules(stitch_gap_s=10)
    assert spans(make_bouts([A, -1, A], rules)) == [(A, 0, 1), (A, 2, 3)]
    assert spans(make_bouts([A, A], rules, steps=[3])) == [(A, 0, 1), (A, 3, 4)]


def test_stitches_before_it_drops_short_bouts() -> None:
    # Neither half of A lasts 0.3 s, both together do; B is taken by A, C is too short to stay.
    assert spans(make_bouts([A, A, B, A, C], BoutRules(stitch_gap_s=0.1, min_bout_s=0.3))) == [(A, 0, 4)]


def test_shortest_bout_by_name() -> None:
    rules = BoutRules(min_bout_s={"b": 0.2})
    labels = np.array([A, B, A, B, B])
    times = np.arange(5) * INTERVAL_NS
    bouts = bouts_from_labels(times, labels, np.ones(5), rules, INTERVAL_NS, behaviours=("a", "b"))
    assert spans(bouts) == [(A, 0, 1), (A, 2, 3), (B, 3, 5)]
    with pytest.raises(ConfigError, match="min_bout_s names b: this ethogram has rest, walk"):
        BoutBuilder(rules, INTERVAL_NS, behaviours=("rest", "walk"))


def test_mean_probability_is_of_the_frames_with_the_label() -> None:
    times = np.arange(3) * INTERVAL_NS
    probabilities = np.array([0.5, 0.9, 1.0])
    bouts = bouts_from_labels(times, np.array([A, B, A]), probabilities, BoutRules(stitch_gap_s=1), INTERVAL_NS)
    assert bouts == [Bout(A, 0, 3 * INTERVAL_NS, 3, 0.75)]


def test_a_bout_is_returned_as_soon_as_nothing_can_change_it() -> None:
    builder = BoutBuilder(BoutRules(stitch_gap_s=0.2), INTERVAL_NS)
    returned = [len(builder.push(i * INTERVAL_NS, label, 1.0)) for i, label in enumerate([A, B, B, B, B])]
    # A ends at frame 1; frame 3 is the last that could have continued it.
    assert returned == [0, 0, 0, 1, 0]
    assert spans(builder.end()) == [(B, 1, 5)]


def test_the_builder_is_as_new_after_its_end() -> None:
    builder = BoutBuilder(BoutRules(stitch_gap_s=5), INTERVAL_NS)
    builder.push(5 * INTERVAL_NS, A, 1.0)
    assert spans(builder.end()) == [(A, 5, 6)]
    builder.push(0, A, 1.0)
    assert spans(builder.end()) == [(A, 0, 1)]
    assert builder.end() == []


def test_refuses_what_it_cannot_place() -> None:
    builder = BoutBuilder(BoutRules(), INTERVAL_NS)
    builder.push(5, A, 1.0)
    with pytest.raises(InputError, match="must increase"):
        builder.push(5, A, 1.0)
    with pytest.raises(InputError, match="must increase"):
        make_bouts([A, A], BoutRules(), steps=[-1])
    with pytest.raises(InputError, match="found 2 times, 1 labels and 2 prob"):
        bouts_from_labels(np.arange(2), np.zeros(1, np.int16), np.ones(2), BoutRules(), INTERVAL_NS)
    with pytest.raises(ValidationError):
        BoutRules(min_bout_s=-1)
    with pytest.raises(ValidationError):
        BoutRules(min_bout_s={"rest": float("nan")})
    with pytest.raises(ValidationError):
        BoutRules(stitch_gap=1)  # type: ignore[call-arg]


# Steps in ns: jittered, at the limit, over it. A frame's time is the sum of the steps before it.
FRAMES = st.lists(
    st.tuples(
        st.one_of(st.just(INTERVAL_NS), st.integers(1, 3 * INTERVAL_NS)),
        st.integers(-1, 3),
        st.floats(0, 1),
    ),
    max_size=60,
)
RULES = st.builds(
    BoutRules,
    min_bout_s=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    stitch_gap_s=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
)


def arrays(frames: list[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    times = np.cumsum([step for step, _, _ in frames], dtype=np.int64)
    labels = np.array([label for _, label, _ in frames], dtype=np.int16)
    return times, labels, np.array([probability for _, _, probability in frames], dtype=np.float64)


@given(FRAMES, RULES)
def test_recorded_bouts_are_the_live_ones(frames: list[tuple[int, int, float]], rules: BoutRules) -> None:
    times, labels, probabilities = arrays(frames)
    builder = BoutBuilder(rules, INTERVAL_NS)
    live = []
    for time_ns, label, probability in zip(times.tolist(), labels.tolist(), probabilities.tolist(), strict=True):
        live += builder.push(time_ns, label, probability)
    live += builder.end()
    recorded = bouts_from_labels(times, labels, probabilities, rules, INTERVAL_NS)
    key = [(b.behaviour, b.start_ns, b.stop_ns, b.frames) for b in live]
    assert key == [(b.behaviour, b.start_ns, b.stop_ns, b.frames) for b in recorded]
    assert [b.mean_probability for b in live] == pytest.approx([b.mean_probability for b in recorded])


@given(FRAMES, RULES)
def test_bouts_are_ordered_disjoint_and_as_long_as_the_rules_say(
    frames: list[tuple[int, int, float]], rules: BoutRules
) -> None:
    times, labels, probabilities = arrays(frames)
    bouts = bouts_from_labels(times, labels, probabilities, rules, INTERVAL_NS)
    for before, after in itertools.pairwise(bouts):
        assert before.stop_ns <= after.start_ns
    for bout in bouts:
        inside = (times >= bout.start_ns) & (times < bout.stop_ns)
        assert isinstance(rules.min_bout_s, float)
        assert bout.stop_ns - bout.start_ns >= rules.min_bout_s * 1e9
        assert inside.sum() == bout.frames
        assert labels[inside][0] == bout.behaviour
        # A bout crosses neither unlabelled frames nor a gap.
        assert (labels[inside] >= 0).all()
        assert (np.diff(times[inside]) <= 1.5 * INTERVAL_NS).all()


@given(FRAMES)
def test_zero_rules_cover_exactly_the_labelled_frames(frames: list[tuple[int, int, float]]) -> None:
    times, labels, probabilities = arrays(frames)
    covering = np.full(len(times), -1)
    for bout in bouts_from_labels(times, labels, probabilities, BoutRules(), INTERVAL_NS):
        covering[(times >= bout.start_ns) & (times < bout.stop_ns)] = bout.behaviour
    assert covering.tolist() == labels.tolist()


@given(FRAMES, st.sampled_from([0.1, 0.25, 1.0]))
def test_no_stitch_is_left_undone(frames: list[tuple[int, int, float]], gap_s: float) -> None:
    times, labels, probabilities = arrays(frames)
    bouts = bouts_from_labels(times, labels, probabilities, BoutRules(stitch_gap_s=gap_s), INTERVAL_NS)
    for position, bout in enumerate(bouts):
        for earlier in bouts[:position]:
            between = (times >= earlier.stop_ns) & (times < bout.start_ns)
            path = times[(times >= earlier.start_ns) & (times <= bout.start_ns)]
            observed = (labels[between] >= 0).all() and (np.diff(path) <= 1.5 * INTERVAL_NS).all()
            if earlier.behaviour == bout.behaviour and observed:
                assert bout.start_ns - earlier.stop_ns > gap_s * 1e9


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 8))
def test_smoothing_is_a_moving_average_that_shrinks_at_the_ends(seed: int, frames: int, reach: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), frames)
    times = np.arange(frames) * INTERVAL_NS
    smoothed = smooth_probabilities(probabilities, times, 2 * reach * INTERVAL_NS / 1e9, INTERVAL_NS)
    window = np.ones(2 * reach + 1)
    full = [np.convolve(column, window)[reach : reach + frames] for column in (*probabilities.T, np.ones(frames))]
    np.testing.assert_allclose(smoothed.T, np.array(full[:3]) / full[3], atol=1e-6)
    np.testing.assert_allclose(smoothed.sum(axis=1), 1, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_smoothing_never_reaches_over_a_gap(seed: int, lengths: list[int]) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), sum(lengths))
    times = np.concatenate([np.arange(n) * INTERVAL_NS + run * 10**12 for run, n in enumerate(lengths)])
    together = smooth_probabilities(probabilities, times, 0.5, INTERVAL_NS)
    runs = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    alone = [smooth_probabilities(probabilities[run], times[run], 0.5, INTERVAL_NS) for run in runs]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)


def test_smoothing_by_hand() -> None:
    probabilities = np.array([[0.0], [1.0], [0.0], [0.0], [1.0]])
    times = np.array([0, 1, 2, 4, 5]) * INTERVAL_NS
    smoothed = smooth_probabilities(probabilities, times, 0.2, INTERVAL_NS)
    np.testing.assert_allclose(smoothed[:, 0], [1 / 2, 1 / 3, 1 / 2, 1 / 2, 1 / 2], atol=1e-7)
    for unsmoothed in (0.0, 0.199):
        np.testing.assert_array_equal(
            smooth_probabilities(probabilities, times, unsmoothed, INTERVAL_NS), probabilities
        )
    assert smooth_probabilities(probabilities[:0], times[:0], 1.0, INTERVAL_NS).shape == (0, 1)
