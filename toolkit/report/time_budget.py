"""The time budget: how much of the time that was seen each behaviour took, and what was not seen.

Percentages divide by observed time. What the camera did not show belongs to no behaviour, rest included.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from toolkit.behaviour_log import BehaviourLog, Interval
from toolkit.bouts import Bout, BoutRules
from toolkit.errors import LogError
from toolkit.files import atomic_write
from toolkit.frames import NS_PER_S
from toolkit.report.logged_bouts import logged_bouts
from toolkit.report.wording import duration, number, utc

NAN = float("nan")


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
    """`total_s` in per cent of observed time."""


@dataclass(frozen=True)
class TimeBudget:
    """Where the time from `start_ns` to `stop_ns` went."""

    cage: str
    start_ns: int
    """UTC ns."""
    stop_ns: int
    """UTC ns."""
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


def time_budget(log: BehaviourLog, rules: BoutRules | None = None) -> TimeBudget:
    """Account for a log's time.

    Parameters
    ----------
    rules
        Stitching and minimum length of the bouts; None leaves the log's own.

    Raises
    ------
    LogError
        If no time was observed.
    ConfigError
        If the rules name a behaviour that the log's ethogram lacks.
    """
    if len(log.time_ns) == 0:
        reasons = ", ".join(f"{reason.value} {duration(seconds)}" for reason, seconds in log.unobserved_s().items())
        raise LogError(
            f"log of cage {log.cage}: no frame was classified, so there is nothing to report "
            f"(unobserved: {reasons or 'nothing yet'}). Let the daemon run longer, or look into why it saw nothing."
        )
    bouts = logged_bouts(log, rules)
    observed_s = log.observed_s
    starts = [int(log.time_ns[0]), *(gap.start_ns for gap in log.unobserved)]
    stops = [int(log.time_ns[-1] + log.duration_ns[-1]), *(gap.stop_ns for gap in log.unobserved)]
    lines = [
        _behaviour_time(name, [bout for bout in bouts if bout.behaviour == index], log.unobserved, observed_s)
        for index, name in enumerate(log.ethogram.names)
    ]
    no_bout_s = observed_s - sum(line.total_s for line in lines)
    return TimeBudget(
        cage=log.cage,
        start_ns=min(starts),
        stop_ns=max(stops),
        behaviours=tuple(lines),
        observed_s=observed_s,
        # Sums of seconds differ in their last digit.
        no_bout_s=no_bout_s if no_bout_s > 1e-6 else 0.0,
        unobserved_s={reason.value: seconds for reason, seconds in log.unobserved_s().items()},
    )


def write_time_budget(budget: TimeBudget, path: Path) -> None:
    """Write the budget as CSV, times in seconds, an empty cell where a number does not exist."""
    with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["kind", "name", "bouts", "total_s", "mean_s", "sd_s", "inter_bout_s", "percent_of_observed_time"]
        )
        for line in budget.behaviours:
            lengths = [line.total_s, line.mean_s, line.sd_s, line.inter_bout_s]
            cells = [*(_cell(length, 3) for length in lengths), _cell(line.percent_observed, 4)]
            writer.writerow(["behaviour", line.name, line.bouts, *cells])
        no_bout = [_cell(budget.no_bout_s, 3), "", "", "", _cell(budget.percent_no_bout, 4)]
        writer.writerow(["observed", "in no bout", "", *no_bout])
        writer.writerow(["observed", "all", "", _cell(budget.observed_s, 3), "", "", "", "100"])
        for reason, seconds in budget.unobserved_s.items():
            writer.writerow(["unobserved", reason, "", _cell(seconds, 3), "", "", "", ""])


def time_budget_table(budget: TimeBudget) -> Table:
    """Return the budget as a table for the terminal."""
    table = Table(
        title=f"Time budget of cage {escape(budget.cage)}\n{utc(budget.start_ns)} to {utc(budget.stop_ns)}",
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


def _behaviour_time(
    name: str, bouts: Sequence[Bout], unobserved: Sequence[Interval], observed_s: float
) -> BehaviourTime:
    lengths = [bout.duration_s for bout in bouts]
    return BehaviourTime(
        name=name,
        bouts=len(bouts),
        total_s=math.fsum(lengths),
        mean_s=float(np.mean(lengths)) if lengths else NAN,
        sd_s=float(np.std(lengths, ddof=1)) if len(lengths) > 1 else NAN,
        inter_bout_s=_mean_inter_bout_s(bouts, unobserved),
        percent_observed=100 * math.fsum(lengths) / observed_s,
    )


def _mean_inter_bout_s(bouts: Sequence[Bout], unobserved: Sequence[Interval]) -> float:
    if len(bouts) < 2:
        return NAN
    stops = np.array([bout.stop_ns for bout in bouts[:-1]], dtype=np.int64)
    starts = np.array([bout.start_ns for bout in bouts[1:]], dtype=np.int64)
    gaps = np.sort(np.array([gap.start_ns for gap in unobserved], dtype=np.int64))
    unbroken = np.searchsorted(gaps, stops, side="left") == np.searchsorted(gaps, starts, side="left")
    between = (starts - stops)[unbroken]
    return float(between.mean()) / NS_PER_S if between.size else NAN


def _unobserved_caption(budget: TimeBudget) -> str:
    if not budget.unobserved_s:
        return "no time is unobserved"
    reasons = ", ".join(f"{reason} {duration(seconds)}" for reason, seconds in budget.unobserved_s.items())
    return f"{budget.percent_unobserved:.1f} % of all time is unobserved: {reasons}"


def _cell(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
