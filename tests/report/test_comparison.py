from __future__ import annotations

import numpy as np
import pytest

from tests.report.logs import record
from tests.report.test_clock import ns
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.report.animals import Animal
from toolkit.report.clock import NS_PER_H, LabClock, lab_clock
from toolkit.report.comparison import compare, group_columns, single_columns, values_by_animal
from toolkit.report.comparison_picture import draw_effects, draw_groups
from toolkit.report.summary import CageSummary, summarise

EAT, REST = 1, 6
SHARE, RATE, LENGTH = "% of observed time", "bouts per observed hour", "mean bout length, s"
NAMES = MOUSE_HOME_CAGE.names


def stay(animal: str, eats_s: float, seen_s: float, clock: LabClock | None = None, **groups: str) -> CageSummary:
    found = record((EAT, 0, eats_s), (REST, eats_s, seen_s), observed=[(0, seen_s)], start_ns=ns("2026-01-15T17:00"))
    return summarise(Animal("cage", animal, groups), found, clock or LabClock(), NS_PER_H)


def test_an_animal_is_one_value_whatever_it_was_seen_for() -> None:
    # Group a: 10 % and 30 %, the second seen a hundred times as long. By frame their mean would be 29.8 %.
    stays = [stay("1", 10, 100, treatment="a"), stay("2", 3000, 10_000, treatment="a")]
    stays += [stay("3", 50, 100, treatment="b"), stay("4", 70, 100, treatment="b")]
    (share,) = [c for c in compare(values_by_animal(stays), NAMES) if c.measure == SHARE]
    effect = share.behaviours[EAT].effect
    assert (effect.mean_a, effect.mean_b, effect.n_a, effect.n_b) == (pytest.approx(20), pytest.approx(60), 2, 2)
    # Differences 50 - 10, 50 - 30, 70 - 10, 70 - 30.
    assert effect.shift == pytest.approx(40)


def test_stays_of_an_animal_are_summed() -> None:
    (animal,) = values_by_animal([stay("1", 10, 100, treatment="a"), stay("1", 90, 300, treatment="a")])
    assert animal.observed_s == 400
    assert animal.values[SHARE, "all"][EAT] == pytest.approx(25)
    assert animal.values[RATE, "all"][EAT] == pytest.approx(2 / 400 * 3600)
    assert animal.values[LENGTH, "all"][EAT] == pytest.approx(50)
    assert np.isnan(animal.values[LENGTH, "all"][0])


def test_phases_are_compared_apart() -> None:
    clock = lab_clock("UTC", "06:00", "18:00")
    # From 17:00: eats half an hour in the light, then rests until 20:00.
    (animal,) = values_by_animal([stay("1", 1800, 3 * 3600, clock)])
    assert animal.values[SHARE, "light"][EAT] == pytest.approx(50)
    assert animal.values[SHARE, "dark"][EAT] == 0
    assert animal.values[SHARE, "all"][EAT] == pytest.approx(100 / 6)


def test_corrects_over_behaviours() -> None:
    random = np.random.default_rng(2)
    stays = [stay(str(at), float(random.integers(5, 50)), 100, strain="AB"[at % 2]) for at in range(10)]
    share = next(c for c in compare(values_by_animal(stays), NAMES) if c.measure == SHARE)
    raw = share.behaviours[EAT].effect.p
    # The six behaviours that no animal showed have p = 1; eating and resting are each other's mirror.
    assert share.behaviours[EAT].p_holm == pytest.approx(min(1, 8 * raw))


def test_columns_that_tell_no_groups_apart_are_not_compared() -> None:
    stays = [stay(str(at), 10, 100, sex="f", tag=str(at), treatment="ab"[at % 2]) for at in range(4)]
    assert group_columns(values_by_animal(stays)) == {"treatment": ["a", "b"]}
    assert single_columns(values_by_animal(stays)) == ["tag"]
    assert not single_columns(values_by_animal(stays[:1]))


def test_three_groups_make_three_pairs() -> None:
    stays = [stay(str(at), 10 + at, 100, dose=str(at % 3)) for at in range(6)]
    pairs = {(c.a, c.b) for c in compare(values_by_animal(stays), NAMES)}
    assert pairs == {("0", "1"), ("0", "2"), ("1", "2")}


def test_pictures_show_every_animal_and_effect() -> None:
    stays = [stay(str(at), 10 + 5 * at, 100, dose="ab"[at % 2]) for at in range(6)]
    animals = values_by_animal(stays)
    panel = draw_groups(animals, "dose", ["a", "b"], MOUSE_HOME_CAGE).axes[EAT]
    marks = np.concatenate([line.get_ydata() for line in panel.lines if line.get_linestyle() == "None"])
    assert sorted(marks) == pytest.approx([10, 15, 20, 25, 30, 35])
    comparisons = [c for c in compare(animals, NAMES) if c.measure == SHARE]
    (axes,) = draw_effects(comparisons, MOUSE_HOME_CAGE).axes
    drawn = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "s"]
    assert drawn[0] == pytest.approx(comparisons[0].behaviours[EAT].effect.hedges_g)
