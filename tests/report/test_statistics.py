"""The oracles are SciPy, brute force over SciPy's test, and hand calculation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from toolkit.report.statistics import compare_groups, hedges_g, hodges_lehmann, holm, mann_whitney_p

SIZES = [(2, 3), (3, 3), (4, 4), (5, 7), (8, 8), (12, 20)]


def groups(n: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=n), random.normal(0.8, 1.5, size=m)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_rank_test_is_scipys_exact_one(n: int, m: int) -> None:
    for seed in range(5):
        x, y = groups(n, m, seed)
        assert mann_whitney_p(x, y) == pytest.approx(stats.mannwhitneyu(x, y, method="exact").pvalue, rel=1e-9)


def test_rank_test_with_ties_is_a_permutation_test() -> None:
    for seed in range(5):
        random = np.random.default_rng(seed)
        x, y = random.integers(0, 4, 5).astype(float), random.integers(1, 6, 6).astype(float)

        def distance(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
            ranks = stats.rankdata(np.concatenate([a, b], axis=axis), axis=axis)
            return np.abs(ranks[..., : a.shape[axis]].sum(axis=axis) - a.shape[axis] * (ranks.shape[axis] + 1) / 2)

        oracle = stats.permutation_test((x, y), distance, n_resamples=np.inf, alternative="greater", vectorized=True)
        assert mann_whitney_p(x, y) == pytest.approx(oracle.pvalue, rel=1e-9)


def test_rank_test_of_large_groups_is_scipys_normal_one() -> None:
    random = np.random.default_rng(1)
    x, y = random.integers(0, 20, 40).astype(float), random.integers(3, 23, 50).astype(float)
    assert mann_whitney_p(x, y) == pytest.approx(stats.mannwhitneyu(x, y, method="asymptotic").pvalue, rel=1e-9)
    assert mann_whitney_p(np.ones(40), np.ones(40)) == 1


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 7), (8, 8)])
def test_interval_holds_the_shifts_that_the_test_does_not_reject(n: int, m: int) -> None:
    x, y = groups(n, m, 3)
    shift, low, high = hodges_lehmann(x, y)
    assert shift == pytest.approx(np.median(np.subtract.outer(y, x)))

    def p(at: float) -> float:
        return float(stats.mannwhitneyu(x + at, y, method="exact").pvalue)

    hair = 1e-9
    assert p(low + hair) > 0.05 >= p(low - hair)
    assert p(high - hair) > 0.05 >= p(high + hair)


def test_so_few_animals_have_no_interval() -> None:
    # 3 and 3 can be divided in 20 ways: the smallest p is 2 / 20.
    effect = compare_groups([1, 2, 3], [4, 5, 6])
    assert effect.p == pytest.approx(0.1)
    assert math.isnan(effect.shift_low)
    assert effect.shift == 3


def test_hedges_g_by_hand() -> None:
    # Means 2 and 5, both variances 1: d = 3; J(4) = gamma(2) / (sqrt(2) gamma(1.5)) = 0.79788...
    g, low, high = hedges_g(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]))
    correction = special.gamma(2) / (math.sqrt(2) * special.gamma(1.5))
    assert g == pytest.approx(3 * correction)
    assert correction == pytest.approx(1 - 3 / (4 * 4 - 1), abs=0.003)
    # Variance: 6 / 9 + g^2 / 12.
    half = stats.norm.ppf(0.975) * math.sqrt(6 / 9 + g**2 / 12)
    assert (low, high) == (pytest.approx(g - half), pytest.approx(g + half))
    assert math.isnan(hedges_g(np.array([1.0]), np.array([2.0, 3]))[0])
    assert math.isnan(hedges_g(np.ones(3), np.ones(3))[0])


def test_intervals_of_g_cover_the_truth() -> None:
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(1000):
        _, low, high = hedges_g(random.normal(0, 1, 10), random.normal(0.8, 1, 10))
        inside += low <= 0.8 <= high
    assert 925 <= inside <= 975


def test_holm_is_the_closed_testing_of_bonferroni() -> None:
    p = [0.01, 0.04, 0.03, 0.005, 0.8]
    # Sorted: .005 * 5, .01 * 4, .03 * 3, .04 * 2 (raised to .09), .8.
    assert holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.8])
    assert holm([0.02, math.nan])[0] == 0.02


def test_animals_without_a_value_are_left_out() -> None:
    effect = compare_groups([1, 2, math.nan], [3, 4])
    assert (effect.n_a, effect.n_b, effect.mean_a) == (2, 2, 1.5)
    empty = compare_groups([], [1, 2])
    assert (empty.n_a, math.isnan(empty.p), math.isnan(empty.mean_a)) == (0, True, True)
