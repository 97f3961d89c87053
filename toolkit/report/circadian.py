"""Days laid over each other: shares of observed time by day and hour, for actograms and circadian profiles.

Hours count from the start of each day, which is lights-on where a schedule is known. A day of 25 hours (a schedule that
is set back with the clock) has its last hour left out, one of 23 lacks it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.frames import NS_PER_S
from toolkit.report.clock import NS_PER_DAY, LabClock
from toolkit.report.record import CageRecord
from toolkit.report.time_budget import bout_spans, time_within

SEEN_ENOUGH = 0.5
"""A bin counts where at least this fraction of it was observed."""


@dataclass(frozen=True, eq=False)
class DayGrid:
    """D days of B bins, K behaviours."""

    day_starts: NDArray[np.int64]
    """(D,) int64 UTC ns."""
    bin_h: float
    observed_s: NDArray[np.float64]
    """(D, B) float64."""
    share: NDArray[np.float64]
    """(D, B, K) float64 fraction of the observed time, 0 to 1; NaN where less than `SEEN_ENOUGH` was observed."""


@dataclass(frozen=True, eq=False)
class Profile:
    """Over the days of one cage, or over the profiles of N animals: B bins, K behaviours."""

    bin_h: float
    mean: NDArray[np.float64]
    """(B, K) float64 per cent of observed time; NaN without a value."""
    sd: NDArray[np.float64]
    """(B, K) float64, n - 1; NaN with fewer than two."""
    count: NDArray[np.int64]
    """(B,) int64 days, or animals, that the bin was observed on."""


def day_grid(record: CageRecord, clock: LabClock, bins: int) -> DayGrid:
    """Return a dated record's days in `bins` bins of 24 h / `bins` each."""
    starts = clock.day_starts(record.start_ns, record.stop_ns)
    bin_ns = NS_PER_DAY // bins
    offsets = np.arange(bins + 1) * bin_ns
    # What is left of a day after 24 hours is an interval of its own, and dropped; on a day of 23 hours bins are empty.
    edges = np.minimum(starts[:-1, np.newaxis] + offsets, starts[1:, np.newaxis])
    flat = np.append(edges.ravel(), starts[-1])

    def inside(spans: NDArray[np.int64]) -> NDArray[np.float64]:
        return time_within(spans, flat).reshape(len(starts) - 1, bins + 1)[:, :bins] / NS_PER_S

    observed_s = inside(record.observed)
    enough = np.where(observed_s >= SEEN_ENOUGH * bin_ns / NS_PER_S, observed_s, np.nan)
    share = [inside(bout_spans(record.bouts.of(index))) / enough for index in range(len(record.ethogram))]
    return DayGrid(starts[:-1], 24 / bins, observed_s, np.stack(share, axis=-1))


def profile_over_days(grid: DayGrid) -> Profile:
    """Return a cage's mean day."""
    return _profile(grid.bin_h, 100 * grid.share)


def profile_over_animals(profiles: list[Profile]) -> Profile:
    """Return the mean of animals' mean days: an animal counts once, however long it was observed."""
    return _profile(profiles[0].bin_h, np.stack([profile.mean for profile in profiles]))


def activity(grid: DayGrid, inactive: list[int]) -> NDArray[np.float64]:
    """Return (D, B) float64 the fraction of observed time in no inactive behaviour; NaN where too little was seen."""
    active: NDArray[np.float64] = 1 - grid.share[:, :, inactive].sum(axis=-1)
    return active


def _profile(bin_h: float, values: NDArray[np.float64]) -> Profile:
    """Return the moments over the first axis of (N, B, K) values."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    some, several = np.where(count > 0, count, np.nan), np.where(count > 1, count - 1.0, np.nan)
    mean = np.where(known, values, 0).sum(axis=0) / some
    squares = (np.where(known, values - mean, 0) ** 2).sum(axis=0)
    return Profile(bin_h, mean, np.sqrt(squares / several), count.max(axis=1, initial=0))
