"""Kappa of scored samples: scikit-learn's, and cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix

from toolkit.annotations import Interval
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.sampling import Scored, sample_agreement, sample_lines
from toolkit.sampling.scored import ScoredClip

NAMES = MOUSE_HOME_CAGE.names


def clip(
    number: int,
    scored: str | None,
    machine: str,
    *,
    cage: str = "a1",
    part: str = "chance",
    stands_for_s: float = 2.0,
    day: int = 2,
) -> ScoredClip:
    """Return a clip; scored "?" for one of which the scorer cannot say."""
    said = scored is not None and scored != "?"
    return ScoredClip(
        name=f"{number:04d}.mp4",
        path=Path("none"),
        cage=cage,
        at=datetime(2026, 11, day, 23, 59, tzinfo=timezone.utc),
        frames=60,
        centre=30,
        machine=machine,
        stratum=f"{cage}/{machine or 'no-label'}/{part}",
        stands_for_s=stands_for_s,
        intervals=(Interval(30, 31, scored),) if said and scored else (),
        cannot_say=scored == "?",
    )


def scored(clips: list[ScoredClip]) -> Scored:
    return Scored(Path("sample"), MOUSE_HOME_CAGE, tuple(clips))


def random_clips(count: int, seed: int) -> list[ScoredClip]:
    random = np.random.default_rng(seed)
    clips = []
    for number in range(count):
        truth = int(random.integers(8))
        machine = truth if random.random() < 0.7 else int(random.integers(8))
        low = random.random() < 0.5
        clips.append(
            clip(
                number,
                NAMES[truth],
                NAMES[machine],
                cage=f"a{random.integers(1, 4)}",
                part="low" if low else "chance",
                stands_for_s=2.0 if low else float(random.uniform(2, 100)),
                day=int(random.integers(1, 20)),
            )
        )
    return clips


def test_weighted_and_unweighted_are_scikit_learn_s() -> None:
    clips = random_clips(300, 0)
    agreed = sample_agreement(scored(clips), "day")
    days = sorted({(one.cage, one.at.strftime("%Y-%m-%d")) for one in clips if one.at})
    assert [(part.cage, part.period) for part in agreed.periods] == days
    assert [part.cage for part in agreed.cages] == ["a1", "a2", "a3"]
    for part in (agreed.whole, *agreed.cages, *agreed.periods):
        mine = [
            one
            for one in clips
            if part.cage in ("all", one.cage) and one.at and part.period in ("all", f"{one.at:%Y-%m-%d}")
        ]
        truth, machine = [one.scored or "" for one in mine], [one.machine for one in mine]
        weights = [one.stands_for_s for one in mine]
        assert part.clips == len(mine)
        np.testing.assert_array_equal(part.confusion, confusion_matrix(truth, machine, labels=NAMES))
        np.testing.assert_allclose(
            part.seconds, confusion_matrix(truth, machine, labels=NAMES, sample_weight=weights), atol=1e-9
        )
        assert part.same == pytest.approx(accuracy_score(truth, machine, sample_weight=weights))
        assert part.clips_same == pytest.approx(accuracy_score(truth, machine))
        if len(set(truth) | set(machine)) > 1:
            assert part.kappa == pytest.approx(cohen_kappa_score(truth, machine, sample_weight=weights))
            assert part.clips_kappa == pytest.approx(cohen_kappa_score(truth, machine))


def test_weeks_are_those_of_iso_8601() -> None:
    """1 November 2026 is a Sunday."""
    clips = [clip(1, "rest", "rest", day=1), clip(2, "walk", "rest", day=2), clip(3, "walk", "walk", day=8)]
    periods = sample_agreement(scored(clips)).periods
    assert [(part.period, part.clips) for part in periods] == [("2026-W44", 1), ("2026-W45", 2)]
    undated = [replace(one, at=None) for one in clips]
    assert [part.period for part in sample_agreement(scored(undated)).periods] == ["undated"]


def test_unscored_clips_give_their_time_to_their_stratum() -> None:
    clips = [
        clip(1, "rest", "rest", stands_for_s=10),
        clip(2, None, "rest", stands_for_s=10),
        clip(3, "?", "rest", stands_for_s=10),
        clip(4, "rest", "rest", part="low"),
        clip(5, "walk", "walk", stands_for_s=7),
        clip(6, None, "eat", stands_for_s=5),
        clip(7, "eat", "", stands_for_s=3),
    ]
    agreed = sample_agreement(scored(clips))
    assert (agreed.compared, agreed.unscored, agreed.cannot_say, agreed.no_label) == (3, 2, 1, 1)
    assert agreed.left_out_s == 5
    rest, walk = NAMES.index("rest"), NAMES.index("walk")
    # Of 30 s in three clips two were looked at: 15 s each, of which one cannot be said.
    assert agreed.whole.seconds[rest, rest] == pytest.approx(15 + 2)
    assert agreed.whole.seconds[walk, walk] == pytest.approx(7)
    assert agreed.whole.seconds.sum() == pytest.approx(24)
    assert "warning: of 5 s no clip was scored yet" in "\n".join(sample_lines(agreed))


def test_precision_and_recall_are_of_the_time() -> None:
    clips = [
        clip(1, "rest", "rest", stands_for_s=30),
        clip(2, "walk", "rest", stands_for_s=10),
        clip(3, "walk", "walk", stands_for_s=20),
    ]
    whole = sample_agreement(scored(clips)).whole
    rest, walk = NAMES.index("rest"), NAMES.index("walk")
    assert whole.precision[[rest, walk]].tolist() == [0.75, 1.0]
    assert whole.recall[[rest, walk]] == pytest.approx([1.0, 20 / 30])


def test_an_interval_is_given_of_enough_clips_and_narrows() -> None:
    assert sample_agreement(scored(random_clips(9, 1))).whole.kappa_interval is None
    widths = []
    for count in (80, 1280):
        whole = sample_agreement(scored(random_clips(count, 2))).whole
        assert whole.kappa_interval is not None
        low, high = whole.kappa_interval
        assert low < whole.kappa < high
        widths.append(high - low)
    # A standard error falls with the root of the number: by 4 here.
    assert 2.5 < widths[0] / widths[1] < 6.5


def test_nothing_scored_is_said() -> None:
    lines = sample_lines(sample_agreement(scored([clip(1, None, "rest")])))
    assert "compared: 0 of 1 clips; left out: 1 not scored" in lines[1]
