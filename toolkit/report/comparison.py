"""Groups of animals compared: every behaviour, per phase, with effect sizes, intervals and Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from toolkit.report.statistics import Effect, compare_groups, holm
from toolkit.report.summary import CageSummary, pooled_values


@dataclass(frozen=True, slots=True)
class ComparedBehaviour:
    """One behaviour in two groups."""

    behaviour: str
    effect: Effect
    p_holm: float
    """Corrected over the behaviours of its comparison."""


@dataclass(frozen=True)
class Comparison:
    """Two groups in one measure and phase, all behaviours."""

    column: str
    """Of the table of animals, e.g. ``treatment``."""
    a: str
    b: str
    measure: str
    phase: str
    """all, light or dark."""
    behaviours: tuple[ComparedBehaviour, ...]


@dataclass(frozen=True, eq=False)
class AnimalValues:
    """One animal's values."""

    animal: str
    groups: dict[str, str]
    observed_s: float
    values: dict[tuple[str, str], NDArray[np.float64]]
    """(K,) float64 by (measure, phase)."""


def values_by_animal(summaries: Sequence[CageSummary]) -> list[AnimalValues]:
    """Return one entry per animal, however many cages it lived in."""
    stays: dict[str, list[CageSummary]] = {}
    for summary in summaries:
        stays.setdefault(summary.name, []).append(summary)
    return [
        AnimalValues(
            name,
            dict(group[0].animal.groups),
            sum(stay.budget.observed_s for stay in group),
            dict(pooled_values(group)),
        )
        for name, group in stays.items()
    ]


def group_columns(animals: Sequence[AnimalValues]) -> dict[str, list[str]]:
    """Return the groups of every column that tells at least two apart, in the order of the table."""
    return {column: groups for column, groups in _columns(animals).items() if 1 < len(groups) < len(animals)}


def single_columns(animals: Sequence[AnimalValues]) -> list[str]:
    """Return the columns that put every animal into a group of its own, where nothing can be compared."""
    return [column for column, groups in _columns(animals).items() if 1 < len(groups) == len(animals)]


def _columns(animals: Sequence[AnimalValues]) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for animal in animals:
        for column, group in animal.groups.items():
            if group not in columns.setdefault(column, []):
                columns[column].append(group)
    return columns


def compare(animals: Sequence[AnimalValues], behaviours: Sequence[str]) -> list[Comparison]:
    """Compare every pair of groups of every column, in every measure and phase.

    Where a column has one animal per group, nothing is compared: there is no spread to compare with.
    """
    comparisons = []
    keys = dict.fromkeys(key for animal in animals for key in animal.values)
    for column, groups in group_columns(animals).items():
        for a, b in combinations(groups, 2):
            for measure, phase in keys:
                table_a, table_b = (_values(animals, column, group, (measure, phase)) for group in (a, b))
                effects = [
                    compare_groups(table_a[:, k].tolist(), table_b[:, k].tolist()) for k in range(len(behaviours))
                ]
                corrected = holm([effect.p for effect in effects])
                lines = [ComparedBehaviour(*line) for line in zip(behaviours, effects, corrected, strict=True)]
                comparisons.append(Comparison(column, a, b, measure, phase, tuple(lines)))
    return comparisons


def _values(animals: Sequence[AnimalValues], column: str, group: str, key: tuple[str, str]) -> NDArray[np.float64]:
    """Return (A, K) the values of a group's animals."""
    return np.array(
        [animal.values[key] for animal in animals if animal.groups.get(column) == group and key in animal.values]
    )
