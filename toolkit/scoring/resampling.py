"""How far a score would move with other animals: intervals by resampling what was held out together.

Frames of a video are anything but independent, so videos (or the groups that folds hold out) are drawn, never frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FEWEST_GROUPS = 4
"""With fewer groups no interval is given: three values say more than a quantile of their repetitions."""

_COVERAGE = 0.95
_SEED = 0


def resampled_groups(groups: int, resamples: int = RESAMPLES, seed: int = _SEED) -> NDArray[np.int64]:
    """Return (resamples, groups) positions of groups, drawn with replacement."""
    return np.random.default_rng(seed).integers(groups, size=(resamples, groups))


def bootstrap_intervals(
    statistics: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    groups: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
) -> NDArray[np.float64] | None:
    """Return the 95 % percentile intervals of statistics over groups (Efron and Tibshirani 1993, section 13.3).

    Parameters
    ----------
    statistics
        Called with the (groups,) positions of a resample, some of which repeat; returns S values. A value that is NaN
        there is left out of its interval.
    groups
        How many were held out.

    Returns
    -------
    (S, 2) low and high, NaN where a statistic always is; or None with fewer than `FEWEST_GROUPS` groups.

    Examples
    --------
    >>> accuracies = np.array([0.9, 0.8, 0.95, 0.85])
    >>> [[low, high]] = bootstrap_intervals(lambda drawn: accuracies[drawn].mean(keepdims=True), 4)
    >>> bool(0.8 <= low < 0.875 < high <= 0.95)
    True
    """
    if groups < FEWEST_GROUPS:
        return None
    values = np.stack([statistics(drawn) for drawn in resampled_groups(groups, resamples, seed)], axis=1)
    tail = (1 - _COVERAGE) / 2
    intervals = np.full((len(values), 2), np.nan)
    for index, drawn in enumerate(values):
        known = drawn[~np.isnan(drawn)]
        if known.size:
            intervals[index] = np.quantile(known, [tail, 1 - tail])
    return intervals
