"""Two groups of animals compared: effect sizes with intervals, and a rank test. A value is an animal's, not a frame's.

Groups are small, so the test and the interval are exact where that can be computed: the distribution of the rank sum
over all ways to divide the animals (Mann and Whitney 1947; Hodges and Lehmann 1963; Hedges 1981).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_MOST_EXACT = 60
"""Animals of both groups up to which the test is exact; its distribution is hardly told from a normal one by then."""
_NORMAL_975 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Effect:
    """How group b differs from group a; NaN where the groups are too small."""

    n_a: int
    n_b: int
    mean_a: float
    mean_b: float
    sd_a: float
    sd_b: float
    shift: float
    """Hodges and Lehmann's estimate: the median of all differences b - a, in the values' unit."""
    shift_low: float
    shift_high: float
    """95 % interval of the shift, distribution-free; NaN where so few animals can have none."""
    hedges_g: float
    """Standardised difference of means, b - a, corrected for small groups."""
    g_low: float
    g_high: float
    """95 % interval of g, by its large-sample variance: rough under ten animals a group."""
    p: float
    """Two-sided Mann-Whitney test."""


def compare_groups(a: Sequence[float], b: Sequence[float]) -> Effect:
    """Compare the animals of two groups; values that are NaN are left out.

    Examples
    --------
    >>> effect = compare_groups([1, 2, 3, 4], [5, 6, 7, 9])
    >>> effect.shift, round(effect.p, 4)
    (4.0, 0.0286)
    """
    x, y = (np.asarray(group, np.float64) for group in (a, b))
    x, y = x[~np.isnan(x)], y[~np.isnan(y)]
    g, g_low, g_high = hedges_g(x, y)
    shift, low, high = hodges_lehmann(x, y)
    (mean_a, sd_a), (mean_b, sd_b) = _mean_and_sd(x), _mean_and_sd(y)
    p = mann_whitney_p(x, y)
    return Effect(x.size, y.size, mean_a, mean_b, sd_a, sd_b, shift, low, high, g, g_low, g_high, p)


def hedges_g(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return Hedges' g of y - x and its 95 % interval; NaN with fewer than two animals a group or without variance."""
    n, m = x.size, y.size
    if n < 2 or m < 2:
        return math.nan, math.nan, math.nan
    freedom = n + m - 2
    pooled = math.sqrt(((n - 1) * x.var(ddof=1) + (m - 1) * y.var(ddof=1)) / freedom)
    if pooled == 0:
        return math.nan, math.nan, math.nan
    correction = (
        math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2) - 0.5 * math.log(freedom / 2))
        if freedom > 1
        else math.nan
    )
    g = float(correction * (y.mean() - x.mean()) / pooled)
    half = _NORMAL_975 * math.sqrt((n + m) / (n * m) + g * g / (2 * (n + m)))
    return g, g - half, g + half


def hodges_lehmann(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the median of the differences y - x, and the interval of shifts that the rank test does not reject."""
    if not x.size or not y.size:
        return math.nan, math.nan, math.nan
    differences = np.sort((y[:, np.newaxis] - x).ravel())
    outside = _most_left_out(x.size, y.size)
    if outside < 1:
        return float(np.median(differences)), math.nan, math.nan
    return float(np.median(differences)), float(differences[outside - 1]), float(differences[-outside])


def mann_whitney_p(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the two-sided p of the rank-sum test: exact, ties included, or normal for large groups."""
    n, m = x.size, y.size
    if not n or not m:
        return math.nan
    ranks = _midranks(np.concatenate([x, y]))
    middle = n * (n + m + 1) / 2
    far = abs(float(ranks[:n].sum()) - middle)
    if n + m <= _MOST_EXACT:
        # Midranks are whole or half numbers.
        ways = _sum_counts(np.rint(2 * ranks).astype(np.int64), n)
        sums = np.arange(len(ways)) / 2
        return float(min(1.0, ways[np.abs(sums - middle) >= far - 1e-9].sum() / ways.sum()))
    ties = np.unique(ranks, return_counts=True)[1]
    total = n + m
    variance = n * m / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1)))
    if variance == 0:
        return 1.0
    return float(min(1.0, math.erfc(max(0.0, far - 0.5) / math.sqrt(2 * variance))))


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values; NaN stays and is not counted.

    Examples
    --------
    >>> [round(each, 3) for each in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = list(p)
    order = sorted((value, position) for position, value in enumerate(p) if not math.isnan(value))
    highest = 0.0
    for rank, (value, position) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * value))
        adjusted[position] = highest
    return adjusted


def _mean_and_sd(values: NDArray[np.float64]) -> tuple[float, float]:
    mean = float(values.mean()) if values.size else math.nan
    return mean, float(values.std(ddof=1)) if values.size > 1 else math.nan


def _most_left_out(n: int, m: int) -> int:
    """Return the k for which the k-th smallest and largest difference bound the 95 % interval; 0: there is none."""
    if n + m > _MOST_EXACT:
        half = _NORMAL_975 * math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, round(n * m / 2 - half))
    # U is the rank sum less its smallest value. Rejected is U <= u with P(U <= u) <= 2.5 %.
    ways = _sum_counts(np.arange(1, n + m + 1), n)[n * (n + 1) // 2 :]
    return int(np.searchsorted(np.cumsum(ways) / ways.sum(), (1 - CONFIDENCE) / 2, side="right"))


def _sum_counts(ranks: NDArray[np.int64], chosen: int) -> NDArray[np.float64]:
    """Return (S + 1,) in how many ways `chosen` of the whole-numbered ranks have the sum 0, 1, ..., S."""
    ways = np.zeros((chosen + 1, int(ranks.sum()) + 1))
    ways[0, 0] = 1
    for rank in ranks.tolist():
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    counts: NDArray[np.float64] = ways[chosen]
    return counts


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks
