"""The data of every figure, as rows for a CSV: names and UTC dates for people, plain numbers for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.ethogram import Ethogram
from toolkit.report.bout_length_picture import bout_lengths, length_bins
from toolkit.report.circadian import DayGrid, Profile, activity
from toolkit.report.clock import LabClock
from toolkit.report.comparison import AnimalValues, Comparison
from toolkit.report.confidence import daily_quantiles
from toolkit.report.record import CageRecord
from toolkit.report.summary import PHASES, CageSummary
from toolkit.report.time_budget import TimeBudget, WindowBudgets
from toolkit.report.transitions import transition_shares
from toolkit.report.wording import moment

Cell: TypeAlias = "str | int | float"
Rows: TypeAlias = Iterable[Sequence[Cell]]
"""The first is the header; NaN is written as an empty cell."""

_BUDGET = ("bouts", "total_s", "mean_s", "sd_s", "inter_bout_s", "percent_of_observed_time")


def text_of(cell: Cell) -> str:
    """Return a cell as text: six significant digits at least, an empty one for NaN."""
    if isinstance(cell, float):
        return "" if math.isnan(cell) else f"{cell:.3f}" if abs(cell) >= 1000 else f"{cell:.6g}"
    return str(cell)


def stamp(time_ns: int, *, dated: bool) -> Cell:
    """Return a time as ISO 8601 in UTC to the millisecond; of an undated record seconds from its start."""
    return moment(time_ns).isoformat(timespec="milliseconds") if dated else time_ns / 1e9


def ethogram_rows(record: CageRecord) -> Iterator[Sequence[Cell]]:
    """Yield every bout and every unobserved interval."""
    yield "kind", "name", "start", "stop", "length_s"
    bouts, names = record.bouts, record.ethogram.names
    for behaviour, start_ns, stop_ns in zip(
        bouts.behaviour.tolist(), bouts.start_ns.tolist(), bouts.stop_ns.tolist(), strict=True
    ):
        times = (stamp(start_ns, dated=record.dated), stamp(stop_ns, dated=record.dated))
        yield "bout", names[behaviour], *times, (stop_ns - start_ns) / 1e9
    for gap in record.unobserved:
        times = (stamp(gap.start_ns, dated=record.dated), stamp(gap.stop_ns, dated=record.dated))
        yield "unobserved", gap.reason, *times, (gap.stop_ns - gap.start_ns) / 1e9


def budget_rows(budgets: Sequence[tuple[str, TimeBudget]]) -> Iterator[Sequence[Cell]]:
    """Yield the whole time budgets of animals."""
    yield "animal", "kind", "name", *_BUDGET
    for animal, budget in budgets:
        for line in budget.behaviours:
            numbers = (line.bouts, line.total_s, line.mean_s, line.sd_s, line.inter_bout_s, line.percent_observed)
            yield animal, "behaviour", line.name, *numbers
        yield animal, "observed", "in no bout", "", budget.no_bout_s, "", "", "", budget.percent_no_bout
        yield animal, "observed", "all", "", budget.observed_s, "", "", "", 100.0
        for reason, seconds in budget.unobserved_s.items():
            yield animal, "unobserved", reason, "", seconds, "", "", "", ""


def phase_rows(summaries: Sequence[CageSummary]) -> Iterator[Sequence[Cell]]:
    """Yield the budgets of light and dark phases."""
    yield "animal", "phase", "observed_s", "unobserved_s", "behaviour", *_BUDGET
    for summary in summaries:
        if summary.phases is not None:
            for row, phase in enumerate(PHASES):
                for tail in _window_rows(summary.phases, row, summary.ethogram):
                    yield summary.name, phase, *tail


def bin_rows(summary: CageSummary) -> Iterator[Sequence[Cell]]:
    """Yield the budgets of time bins."""
    yield "start", "stop", "observed_s", "unobserved_s", "behaviour", *_BUDGET
    edges = summary.bin_edges.tolist()
    for row, (start_ns, stop_ns) in enumerate(pairwise(edges)):
        for tail in _window_rows(summary.bins, row, summary.ethogram):
            yield stamp(start_ns, dated=summary.dated), stamp(stop_ns, dated=summary.dated), *tail


def bout_length_rows(record: CageRecord) -> Iterator[Sequence[Cell]]:
    """Yield the histograms of bout lengths."""
    yield "behaviour", "from_s", "to_s", "bouts"
    lengths = bout_lengths(record.bouts, len(record.ethogram))
    edges = length_bins(lengths)
    for name, own in zip(record.ethogram.names, lengths, strict=True):
        for low, high, count in zip(edges[:-1], edges[1:], np.histogram(own, edges)[0], strict=True):
            yield name, float(low), float(high), int(count)


def transition_rows(counts: NDArray[np.int64], ethogram: Ethogram) -> Iterator[Sequence[Cell]]:
    """Yield the transition matrix."""
    yield "from", "to", "transitions", "percent_of_from"
    shares = transition_shares(counts)
    for row, before in enumerate(ethogram.names):
        for column, after in enumerate(ethogram.names):
            yield before, after, int(counts[row, column]), 100 * float(shares[row, column])


def actogram_rows(grid: DayGrid, inactive: list[int], clock: LabClock) -> Iterator[Sequence[Cell]]:
    """Yield activity by day and bin."""
    hour = "zeitgeber_h" if clock.lights else "hour"
    yield "day", "day_start", hour, "observed_s", "active_percent"
    active = activity(grid, inactive)
    for day, start_ns in enumerate(grid.day_starts.tolist()):
        for at in range(active.shape[1]):
            where = (f"{moment(start_ns, clock.zone):%Y-%m-%d}", stamp(start_ns, dated=True), at * grid.bin_h)
            yield *where, float(grid.observed_s[day, at]), 100 * float(active[day, at])


def profile_rows(
    profiles: Sequence[tuple[str, Profile]], ethogram: Ethogram, clock: LabClock
) -> Iterator[Sequence[Cell]]:
    """Yield mean days."""
    hour = "zeitgeber_h" if clock.lights else "hour"
    yield "name", hour, "behaviour", "mean_percent", "sd_percent", "n"
    for name, profile in profiles:
        for at in range(len(profile.mean)):
            for index, behaviour in enumerate(ethogram.names):
                numbers = (float(profile.mean[at, index]), float(profile.sd[at, index]), int(profile.count[at]))
                yield name, at * profile.bin_h, behaviour, *numbers


def confidence_rows(summary: CageSummary) -> Iterator[Sequence[Cell]]:
    """Yield quantiles of the labels' probabilities by UTC day."""
    yield "day", "label", "rows", "p05", "p25", "median"
    table = daily_quantiles(summary.confidence, (0.05, 0.25, 0.5))
    for at, day in enumerate(summary.confidence):
        name = f"{moment(day.day_ns):%Y-%m-%d}" if summary.dated else f"{at + 1}"
        counts = [*day.histogram.sum(axis=1).tolist(), int(day.histogram.sum())]
        for index, behaviour in enumerate([*summary.ethogram.names, "all"]):
            yield name, behaviour, counts[index], *(float(value) for value in table[at, index])


def animal_rows(animals: Sequence[AnimalValues], ethogram: Ethogram) -> Iterator[Sequence[Cell]]:
    """Yield what is compared: every animal's values."""
    columns = list(dict.fromkeys(column for animal in animals for column in animal.groups))
    yield "animal", *columns, "observed_s", "measure", "phase", *ethogram.names
    for animal in animals:
        groups = [animal.groups.get(column, "") for column in columns]
        for (measure, phase), values in animal.values.items():
            yield animal.animal, *groups, animal.observed_s, measure, phase, *(float(value) for value in values)


def comparison_rows(comparisons: Sequence[Comparison]) -> Iterator[Sequence[Cell]]:
    """Yield every effect."""
    yield (
        *("column", "a", "b", "measure", "phase", "behaviour", "n_a", "n_b", "mean_a", "mean_b", "sd_a", "sd_b"),
        *("hodges_lehmann_shift", "shift_low_95", "shift_high_95", "hedges_g", "g_low_95", "g_high_95"),
        *("p_mann_whitney", "p_holm"),
    )
    for each in comparisons:
        for line in each.behaviours:
            e = line.effect
            yield (
                *(each.column, each.a, each.b, each.measure, each.phase, line.behaviour),
                *(e.n_a, e.n_b, e.mean_a, e.mean_b, e.sd_a, e.sd_b, e.shift, e.shift_low, e.shift_high),
                *(e.hedges_g, e.g_low, e.g_high, e.p, line.p_holm),
            )


def _window_rows(budgets: WindowBudgets, row: int, ethogram: Ethogram) -> Iterator[Sequence[Cell]]:
    percent = budgets.percent
    for index, name in enumerate(ethogram.names):
        numbers = (budgets.total_s, budgets.mean_s, budgets.sd_s, budgets.inter_bout_s, percent)
        observed = (float(budgets.observed_s[row]), float(budgets.unobserved_s[row]))
        yield *observed, name, int(budgets.count[row, index]), *(float(column[row, index]) for column in numbers)
