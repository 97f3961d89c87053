"""What is drawn: by label, least certain first, never twice, and so that the time it stands for adds up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.sampling.parts import DAY_NS, FPS, source
from toolkit.errors import InputError
from toolkit.ethogram import ethogram_from_names
from toolkit.sampling import DrawOptions, draw
from toolkit.sampling.draw import Draw
from toolkit.scoring import cohen_kappa


def bouts(rows: int, seed: int, share: tuple[float, ...] = (0.05, 0.1, 0.15, 0.7)) -> np.ndarray:
    """Return rows of bouts of a few seconds of the first four behaviours."""
    random = np.random.default_rng(seed)
    labels: list[int] = []
    while len(labels) < rows:
        labels += [int(random.choice(len(share), p=share))] * int(random.integers(5, 60))
    return np.array(labels[:rows], dtype=np.int16)


def frames(sample: Draw) -> list[tuple[str, int, int]]:
    return [(one.source.cage, one.span.start_frame, one.span.stop_frame) for one in sample.clips]


def test_clips_never_overlap_and_are_of_the_wanted_length() -> None:
    one, two = source(bouts(6000, 0), days=3), source(bouts(6000, 1), cage="a2")
    sample = draw([one, two], DrawOptions(clips=200, seconds=1.5))
    assert len(sample.clips) == 200
    for cage in ("a1", "a2"):
        mine = sorted(place for place in frames(sample) if place[0] == cage)
        assert {stop - start for _, start, stop in mine} == {15}
        assert all(before[2] <= after[1] for before, after in pairwise(mine))
    for clip in sample.clips:
        assert clip.span.centre_frame == clip.span.start_frame + 7
        assert clip.span.centre_ns - clip.span.start_ns == 7 * 10**9 // FPS


def test_the_seed_says_which() -> None:
    one = source(bouts(6000, 0))
    assert frames(draw([one], DrawOptions(40))) == frames(draw([one], DrawOptions(40)))
    assert frames(draw([one], DrawOptions(40))) != frames(draw([one], DrawOptions(40, seed=1)))


def test_no_clip_reaches_over_a_hole_or_out_of_what_was_filmed() -> None:
    runs = np.zeros(3000, dtype=np.int64)
    runs[1000:1500] = -1
    runs[2000:] = 1
    sample = draw([source(np.zeros(3000, dtype=np.int16), runs=runs)], DrawOptions(1000))
    for _, start, stop in frames(sample):
        assert len(set(runs[start:stop].tolist())) == 1
        assert runs[start] >= 0
    (seen,) = sample.seen
    assert (seen.observed_s, seen.filmed_s) == pytest.approx((300.0, 250.0))
    assert seen.drawable_s == pytest.approx(2.0 * len(sample.clips))


def test_every_frame_can_be_the_scored_one_with_the_same_chance() -> None:
    """Of 200 rows and cells of 20 each of the middle 180 is a centre once in 20 draws."""
    counts = np.zeros(200)
    seeds = 2000
    for seed in range(seeds):
        for clip in draw([source(np.zeros(200, dtype=np.int16))], DrawOptions(20, seed=seed)).clips:
            counts[clip.span.centre_frame] += 1
    possible = np.flatnonzero(counts)
    assert (possible[0], possible[-1]) == (10, 189)
    # Binomial: 100 expected, a standard deviation of 9.7.
    assert np.all(np.abs(counts[10:190] - seeds / 20) < 5 * 9.7)


def test_as_many_of_each_behaviour_or_in_proportion_to_its_time() -> None:
    one = source(bouts(40_000, 2))

    def counts(by: str) -> list[int]:
        options = DrawOptions(40, by=by)  # type: ignore[arg-type]
        return np.bincount([clip.label for clip in draw([one], options).clips], minlength=4).tolist()

    assert counts("behaviour") == [10, 10, 10, 10]
    by_time = counts("time")
    assert sum(by_time) == 40
    assert by_time[3] > 20 > by_time[2] > by_time[0] >= 1
    # A rare one gives what it has, and the others the rest.
    rare = np.full(4000, 3, dtype=np.int16)
    rare[100:140] = 0
    drawn = np.bincount([clip.label for clip in draw([source(rare)], DrawOptions(40)).clips])
    assert drawn.tolist() == [2, 0, 0, 38]


def test_the_least_certain_come_first_from_each_day_in_turn() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.3, 1, 9000).astype(np.float32)
    one = source(np.zeros(9000, dtype=np.int16), confidence, days=3)
    everything = draw([one], DrawOptions(9999)).clips
    sample = draw([one], DrawOptions(20, low_share=0.6)).clips
    low = [clip for clip in sample if clip.stratum == "a1/drink/low"]
    assert (len(low), len(sample)) == (12, 20)
    for day in range(3):
        mine = sorted(clip.confidence for clip in everything if clip.span.centre_ns // DAY_NS % 3 == (20_000 + day) % 3)
        drawn = sorted(clip.confidence for clip in low if clip.span.centre_ns // DAY_NS % 3 == (20_000 + day) % 3)
        assert drawn == mine[:4]
    assert {clip.stands_for_s for clip in low} == {2.0}
    # The others stand for all that is left, evenly over the days.
    others = [clip for clip in sample if clip.stratum == "a1/drink/chance"]
    assert sum(clip.stands_for_s for clip in others) == pytest.approx(2.0 * (len(everything) - 12))
    assert np.bincount([clip.span.centre_ns // DAY_NS - 20_000 for clip in others]).min() >= 2


def test_rows_without_a_label_are_drawn_too() -> None:
    label = np.zeros(400, dtype=np.int16)
    label[100:300] = -1
    drawn = draw([source(label)], DrawOptions(8)).clips
    assert sorted({clip.stratum.split("/")[1] for clip in drawn}) == ["drink", "no-label"]


def test_what_clips_stand_for_gives_the_kappa_of_the_whole_time() -> None:
    """The scorer differs where the machine is unsure, and the unsure are drawn first: only the weights put it right."""
    random = np.random.default_rng(3)
    rows = 60_000
    machine = bouts(rows, 3)
    confidence = np.repeat(random.uniform(0.3, 1, rows // 20), 20).astype(np.float32)
    truth = np.where(random.random(rows) < confidence, machine, random.integers(0, 4, rows)).astype(np.int16)
    one = source(machine, confidence)

    def table(weighted: bool, seed: int) -> np.ndarray:
        found = np.zeros((4, 4))
        for clip in draw([one], DrawOptions(60, low_share=0.5, seed=seed)).clips:
            found[truth[clip.span.centre_frame], clip.label] += clip.stands_for_s if weighted else 1.0
        return found

    whole = np.bincount(truth * 4 + machine, minlength=16).reshape(4, 4)
    estimates = np.array([table(True, seed) for seed in range(200)])
    # The table itself is unbiased, so its mean over many draws is the whole time's, to its standard error.
    mean, error = estimates.mean(axis=0), estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    assert np.all(np.abs(mean - whole / FPS) < 4.5 * error + 3.0)
    assert abs(cohen_kappa(mean) - cohen_kappa(whole)) < 0.02
    raw = np.mean([cohen_kappa(table(False, seed)) for seed in range(20)])
    assert raw < cohen_kappa(whole) - 0.05


def test_a_time_can_be_named() -> None:
    one = source(np.zeros(9000, dtype=np.int16), days=3)
    options = DrawOptions(9999, from_ns=(20_001 * DAY_NS), to_ns=20_001 * DAY_NS + 60 * 10**9)
    drawn = draw([one], options).clips
    assert len(drawn) == 29
    assert {clip.span.centre_ns // DAY_NS for clip in drawn} == {20_001}


def test_what_cannot_be_drawn_is_said() -> None:
    one = source(bouts(6000, 0))
    with pytest.raises(InputError, match="--clips 3: expected at least 4, one of each label of each cage"):
        draw([one], DrawOptions(3))
    with pytest.raises(InputError, match=r"a1: 600.0 s observed, 0.0 s of it filmed"):
        draw([source(bouts(6000, 0), runs=np.full(6000, -1))], DrawOptions(3))
    with pytest.raises(InputError, match="both called a1"):
        draw([one, one], DrawOptions(10))
    other = source(np.zeros(100, dtype=np.int16), cage="a2", ethogram=ethogram_from_names(["still", "moving"]))
    with pytest.raises(InputError, match=r"knows drink, .* knows still, moving"):
        draw([one, other], DrawOptions(10))
