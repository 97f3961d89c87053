"""Which behaviour follows which. Only bouts that touch are a transition: nobody knows what happened between others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.report.record import CageRecord


def transition_counts(record: CageRecord) -> NDArray[np.int64]:
    """Return (K, K) int64: how often a bout of the row's behaviour was followed at once by one of the column's.

    Bouts between which time was unobserved, without a label, or in a bout too short to be kept, are not counted.
    """
    bouts, behaviours = record.bouts, len(record.ethogram)
    touching = bouts.stop_ns[:-1] == bouts.start_ns[1:]
    before, after = bouts.behaviour[:-1][touching], bouts.behaviour[1:][touching]
    counts = np.zeros((behaviours, behaviours), np.int64)
    np.add.at(counts, (before, after), 1)
    return counts


def transition_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (K, K) float64 each row's counts as fractions of the row's sum; NaN in a row without transitions."""
    sums = counts.sum(axis=1, keepdims=True).astype(np.float64)
    shares: NDArray[np.float64] = counts / np.where(sums > 0, sums, np.nan)
    return shares
