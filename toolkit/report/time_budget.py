"""The time budget: how much of the time that was seen each behaviour took, and what was not seen.

Percentages divide by observed time. What the camera did not show belongs to no behaviour, rest included. Where time is
cut into windows (phases, bins), time is counted where it lies, a bout where it starts, and the interval to a
behaviour's next bout where it begins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.markup import escape
from rich.table import Table

from toolkit.errors import InputError
from toolkit.frames import NS_PER_S
from toolkit.report.from_logs import unobserved_by_reason, why_unobserved
from toolkit.report.record import Bouts, CageRecord
from toolkit.report.wording import duration, number, when


@dataclass(frozen=True, slots=True)
class BehaviourTime:
    """One behaviour's line. Bouts that unobserved time cuts count with the length that was seen."""

    name: str
    bouts: int
    total_s: float
    mean_s: float
    """Mean bout length; NaN without bouts."""
    sd_s: float
    """Standard deviation of the bout lengths (n - 1); NaN with fewer than two bouts."""
    inter_bout_s: float
    """Mean time from the end of a bout to the start of the behaviour's next. Pairs with unobserved time between are
    left out, since a bout may have been missed there. NaN without pairs."""
    percent_observed: float
    """`total_s` in per cent of observed time; NaN where none was observed."""


@dataclass(frozen=True)
class TimeBudget:
    """Where the time from `start_ns` to `stop_ns` went."""

    cage: str
    start_ns: int
    stop_ns: int
    behaviours: tuple[BehaviourTime, ...]
    """In the ethogram's order."""
    observed_s: float
    no_bout_s: float
    """Observed time in no bout: rows without a label, and bouts that the rules drop."""
    unobserved_s: Mapping[str, float]
    """By reason."""

    @property
    def percent_no_bout(self) -> float:
        """`no_bout_s` in per cent of observed time."""
        return 100 * self.no_bout_s / self.observed_s

    @property
    def percent_unobserved(self) -> float:
        """Unobserved time in per cent of all time."""
        unobserved_s = sum(self.unobserved_s.values())
        return 100 * unobserved_s / (unobserved_s + self.observed_s)


@dataclass(frozen=True, eq=False)
class WindowBudgets:
    """The budgets of W windows over K behaviours, as columns."""

    count: NDArray[np.int64]
    """(W, K) int64 bouts that start in the window."""
    total_s: NDArray[np.float64]
    """(W, K) float64 time in the behaviour."""
    mean_s: NDArray[np.float64]
    """(W, K) float64 mean length of the bouts that start in the window; NaN without."""
    sd_s: NDArray[np.float64]
    """(W, K) float64, n - 1; NaN with fewer than two."""
    inter_bout_s: NDArray[np.float64]
    """(W, K) float64 mean of the intervals that begin in the window; NaN without."""
    observed_s: NDArray[np.float64]
    """(W,) float64."""
    unobserved_s: NDArray[np.float64]
    """(W,) float64, of the record's own time."""

    @property
    def percent(self) -> NDArray[np.float64]:
        """(W, K) float64 per cent of observed time; NaN where nothing was observed."""
        observed_s = np.where(self.observed_s > 0, self.observed_s, np.nan)
        share: NDArray[np.float64] = 100 * self.total_s / observed_s[:, np.newaxis]
        return share


def time_within(spans: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (E,) int64 ns of disjoint increasing (N, 2) spans in each interval of E + 1 increasing edges.

    Examples
    --------
    >>> time_within(np.array([[5, 20], [21, 22]]), np.array([0, 10, 20, 30])).tolist()
    [5, 10, 1]
    """
    if not len(spans):
        return np.zeros(len(edges) - 1, np.int64)
    before = np.concatenate([[0], np.cumsum(spans[:, 1] - spans[:, 0])])
    begun = np.searchsorted(spans[:, 0], edges, side="right")
    excess = np.where(begun > 0, (spans[begun - 1, 1] - edges).clip(0), 0)
    inside: NDArray[np.int64] = np.diff(before[begun] - excess)
    return inside


def bout_spans(bouts: Bouts) -> NDArray[np.int64]:
    """Return (B, 2) int64 the times of bouts."""
    return np.column_stack([bouts.start_ns, bouts.stop_ns])


def window_budgets(
    record: CageRecord,
    edges: NDArray[np.int64],
    window: NDArray[np.integer] | None = None,
    *,
    windows: int | None = None,
) -> WindowBudgets:
    """Return the budgets of windows.

    Parameters
    ----------
    edges
        (E + 1,) int64 increasing times; bouts outside of them are not counted.
    window
        (E,) which window each interval between edges belongs to, from 0; None: each is a window of its own.
    windows
        How many there are; None: as many as `window` names.
    """
    intervals = len(edges) - 1
    window = np.arange(intervals) if window is None else window
    windows = int(window.max(initial=-1)) + 1 if windows is None else windows
    behaviours = len(record.ethogram)
    gaps = np.array([[gap.start_ns, gap.stop_ns] for gap in record.unobserved], np.int64).reshape(-1, 2)

    def summed(spans: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(window, time_within(spans, edges), windows) / NS_PER_S

    def windows_of(times: NDArray[np.int64]) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
        at = np.searchsorted(edges, times, side="right") - 1
        inside = (at >= 0) & (at < intervals)
        return window[at[inside]], inside

    empty = np.full((windows, behaviours), np.nan)
    count, total, mean, sd, between = (
        np.zeros(empty.shape, np.int64),
        empty.copy(),
        empty.copy(),
        empty.copy(),
        empty.copy(),
    )
    for index in range(behaviours):
        bouts = record.bouts.of(index)
        total[:, index] = summed(bout_spans(bouts))
        where, inside = windows_of(bouts.start_ns)
        lengths_s = (bouts.stop_ns - bouts.start_ns)[inside] / NS_PER_S
        count[:, index], mean[:, index], sd[:, index] = _moments(where, lengths_s, windows)
        stops, waits_s = inter_bout_intervals(bouts, gaps)
        where, inside = windows_of(stops)
        between[:, index] = _moments(where, waits_s[inside], windows)[1]
    return WindowBudgets(count, total, mean, sd, between, summed(record.observed), summed(gaps))


def inter_bout_intervals(bouts: Bouts, gaps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (I,) int64 starts and (I,) float64 lengths, s, of the intervals between one behaviour's bouts.

    Intervals that contain unobserved time, by (N, 2) increasing `gaps`, are left out.
    """
    stops, starts = bouts.stop_ns[:-1], bouts.start_ns[1:]
    unbroken = np.searchsorted(gaps[:, 0], stops, side="left") == np.searchsorted(gaps[:, 0], starts, side="left")
    return stops[unbroken], (starts - stops)[unbroken] / NS_PER_S


def time_budget(record: CageRecord) -> TimeBudget:
    """Account for a record's time.

    Raises
    ------
    InputError
        If no time was observed.
    """
    if not len(record.observed):
        raise InputError(
            f"cage {record.cage}: no frame was classified, so there is nothing to report "
            f"(unobserved: {why_unobserved(record) or 'nothing yet'}). Let the daemon run longer, or look into why it "
            "saw nothing."
        )
    whole = window_budgets(record, np.array([record.start_ns, record.stop_ns]))
    lines = tuple(
        BehaviourTime(
            name,
            int(whole.count[0, index]),
            total_s=float(whole.total_s[0, index]),
            mean_s=float(whole.mean_s[0, index]),
            sd_s=float(whole.sd_s[0, index]),
            inter_bout_s=float(whole.inter_bout_s[0, index]),
            percent_observed=float(whole.percent[0, index]),
        )
        for index, name in enumerate(record.ethogram.names)
    )
    observed_s = float(whole.observed_s[0])
    no_bout_s = observed_s - math.fsum(line.total_s for line in lines)
    return TimeBudget(
        cage=record.cage,
        start_ns=record.start_ns,
        stop_ns=record.stop_ns,
        behaviours=lines,
        observed_s=observed_s,
        # Sums of seconds differ in their last digit.
        no_bout_s=no_bout_s if no_bout_s > 1e-6 else 0.0,
        unobserved_s=unobserved_by_reason(record),
    )


def time_budget_table(budget: TimeBudget) -> Table:
    """Return the budget as a table for the terminal."""
    table = Table(
        title=f"Time budget of cage {escape(budget.cage)}\n{when(budget.start_ns)} to {when(budget.stop_ns)}",
        caption=f"%: of observed time\n{_unobserved_caption(budget)}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("behaviour", footer="observed")
    for header in ("bouts", "total", "mean s", "SD s", "between s", "%"):
        table.add_column(header, justify="right")
    for line in budget.behaviours:
        table.add_row(
            line.name,
            str(line.bouts),
            duration(line.total_s),
            number(line.mean_s, 2),
            number(line.sd_s, 2),
            number(line.inter_bout_s, 1),
            number(line.percent_observed, 1),
            style="" if line.bouts else "dim",
        )
    if budget.no_bout_s:
        table.add_row("(in no bout)", "", duration(budget.no_bout_s), "", "", "", number(budget.percent_no_bout, 1))
    table.add_section()
    table.add_row("observed", "", duration(budget.observed_s), "", "", "", "100.0")
    return table


def shares_table(budgets: Sequence[TimeBudget]) -> Table:
    """Return one line per cage, per cent of observed time, for the terminal."""
    table = Table(
        title=f"Time budgets of {len(budgets)} animals, % of observed time", box=box.SIMPLE_HEAD, title_justify="left"
    )
    table.add_column("animal", overflow="fold")
    for header in ("seen", *(line.name for line in budgets[0].behaviours)):
        table.add_column(header, justify="right")
    for budget in budgets:
        shares = (number(line.percent_observed, 1) for line in budget.behaviours)
        table.add_row(escape(budget.cage), f"{budget.observed_s / 3600:.1f} h", *shares)
    return table


def _moments(
    where: NDArray[np.integer], values: NDArray[np.float64], windows: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the count, mean and standard deviation (n - 1) of the values of each window."""
    count = np.bincount(where, minlength=windows)
    some, several = np.where(count > 0, count, np.nan), np.where(count > 1, count - 1.0, np.nan)
    mean = np.bincount(where, values, windows) / some
    squares = np.bincount(where, (values - mean[where]) ** 2, windows)
    return count, mean, np.sqrt(squares / several)


def _unobserved_caption(budget: TimeBudget) -> str:
    if not budget.unobserved_s:
        return "no time is unobserved"
    reasons = ", ".join(f"{reason} {duration(seconds)}" for reason, seconds in budget.unobserved_s.items())
    return f"{budget.percent_unobserved:.1f} % of all time is unobserved: {reasons}"
