"""The numbers of one animal that outlive its record: a report reads a cage, keeps these, and lets the record go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.ethogram import Ethogram
from toolkit.report.animals import Animal
from toolkit.report.circadian import DayGrid, Profile, day_grid, profile_over_days
from toolkit.report.clock import NS_PER_DAY, LabClock
from toolkit.report.record import CageRecord, DayConfidence
from toolkit.report.time_budget import (
    TimeBudget,
    WindowBudgets,
    bout_spans,
    time_budget,
    time_within,
    window_budgets,
)
from toolkit.report.transitions import transition_counts

PHASES = ("light", "dark")
ACTOGRAM_BINS = 144
PROFILE_BINS = 24
_COLUMNS = 1500


@dataclass(frozen=True, eq=False)
class CageSummary:
    """One animal's stay in one cage."""

    animal: Animal
    ethogram: Ethogram
    dated: bool
    budget: TimeBudget
    phases: WindowBudgets | None
    """Windows light and dark; None without a light schedule."""
    bin_edges: NDArray[np.int64]
    """(E + 1,) int64 borders of the time bins."""
    bins: WindowBudgets
    shares: NDArray[np.uint8]
    """(K, C) uint8: 255 * fraction of each column's time, unobserved time included, that is in each behaviour."""
    seen: NDArray[np.uint8]
    """(C,) uint8: 255 * fraction of each column's time that was observed."""
    transitions: NDArray[np.int64]
    """(K, K) int64."""
    grid: DayGrid | None
    """Ten-minute bins by day; None without dates."""
    profile: Profile | None
    """Hours of the mean day; None without dates."""
    confidence: tuple[DayConfidence, ...]
    decided_by: tuple[str, ...]
    """Decision filters that made the bouts; empty: raw runs of labels."""
    provenance: tuple[tuple[tuple[str, str], ...], ...]
    files: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def name(self) -> str:
        """What figures call it."""
        return self.animal.name


def summarise(animal: Animal, record: CageRecord, clock: LabClock, bin_ns: int) -> CageSummary:
    """Return a record's numbers.

    Parameters
    ----------
    clock
        Not read where the record is undated.
    bin_ns
        Length of the time bins; each day begins a new one.

    Raises
    ------
    InputError
        If nothing was observed.
    """
    budget = time_budget(record)
    edges = bin_edges(record, clock, bin_ns)
    columns = np.linspace(0, record.stop_ns - record.start_ns, _COLUMNS + 1).astype(np.int64) + record.start_ns
    widths = np.diff(columns).clip(1)
    shares = [
        time_within(bout_spans(record.bouts.of(index)), columns) / widths for index in range(len(record.ethogram))
    ]
    return CageSummary(
        animal=animal,
        ethogram=record.ethogram,
        dated=record.dated,
        budget=budget,
        phases=phase_budgets(record, clock),
        bin_edges=edges,
        bins=window_budgets(record, edges),
        shares=_bytes(np.stack(shares)),
        seen=_bytes(time_within(record.observed, columns) / widths),
        transitions=transition_counts(record),
        grid=day_grid(record, clock, ACTOGRAM_BINS) if record.dated else None,
        profile=profile_over_days(day_grid(record, clock, PROFILE_BINS)) if record.dated else None,
        confidence=record.confidence,
        decided_by=record.decided_by,
        provenance=record.provenance,
        files=record.files,
        remarks=record.remarks,
    )


def phase_budgets(record: CageRecord, clock: LabClock) -> WindowBudgets | None:
    """Return the budgets of the light and the dark phase, as windows 0 and 1; None without a schedule or a date."""
    if clock.lights is None or not record.dated:
        return None
    dark = clock.dark_spans(record.start_ns, record.stop_ns)
    edges = np.unique(np.concatenate([[record.start_ns, record.stop_ns], dark.ravel()]))
    middle = (edges[:-1] + edges[1:]) // 2
    phase = np.zeros(len(middle), np.int64)
    for start_ns, stop_ns in dark.tolist():
        phase[(middle >= start_ns) & (middle < stop_ns)] = 1
    return window_budgets(record, edges, phase, windows=len(PHASES))


def bin_edges(record: CageRecord, clock: LabClock, bin_ns: int) -> NDArray[np.int64]:
    """Return the borders of the time bins that cover a record; the bins of a day begin with it."""
    if record.dated:
        starts = clock.day_starts(record.start_ns, record.stop_ns)
    else:
        starts = np.array([0, -(-record.stop_ns // NS_PER_DAY) * NS_PER_DAY])
    edges = [
        np.arange(first, stop, bin_ns) for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
    every = np.append(np.concatenate(edges), starts[-1])
    first = int(np.searchsorted(every, record.start_ns, side="right")) - 1
    last = int(np.searchsorted(every, record.stop_ns, side="left"))
    return every[first : last + 1]


def pooled_values(stays: list[CageSummary]) -> Mapping[tuple[str, str], NDArray[np.float64]]:
    """Return an animal's values by (measure, phase), each (K,) float64; its stays count by their observed time."""
    values: dict[tuple[str, str], NDArray[np.float64]] = {}
    for phase in ("all", *PHASES):
        parts = [part for stay in stays if (part := _phase_sums(stay, phase)) is not None]
        if not parts:
            continue
        observed_s = sum(part[0] for part in parts)
        total_s = np.sum([part[1] for part in parts], axis=0)
        count = np.sum([part[2] for part in parts], axis=0)
        length_s = np.sum([part[3] for part in parts], axis=0)
        observed_or_none = observed_s if observed_s > 0 else np.nan
        values["% of observed time", phase] = 100 * total_s / observed_or_none
        values["bouts per observed hour", phase] = 3600 * count / observed_or_none
        values["mean bout length, s", phase] = length_s / np.where(count > 0, count, np.nan)
    return values


def _phase_sums(
    stay: CageSummary, phase: str
) -> tuple[float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    if phase == "all":
        lines = stay.budget.behaviours
        count = np.array([line.bouts for line in lines], np.float64)
        means = np.array([line.mean_s for line in lines])
        return stay.budget.observed_s, np.array([line.total_s for line in lines]), count, np.nan_to_num(means) * count
    if stay.phases is None:
        return None
    row = PHASES.index(phase)
    count = stay.phases.count[row].astype(np.float64)
    length_s = np.nan_to_num(stay.phases.mean_s[row]) * count
    return float(stay.phases.observed_s[row]), stay.phases.total_s[row], count, length_s


def _bytes(fraction: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return fractions as bytes; what is not nothing is at least 1."""
    return np.ceil(255 * fraction).clip(0, 255).astype(np.uint8)
