"""Intervals over groups against SciPy's bootstrap, and against every resample there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap

from toolkit.scoring import bootstrap_intervals


def mean_of(values: np.ndarray):  # type: ignore[no-untyped-def]
    return lambda drawn: values[drawn].mean(keepdims=True)


def test_intervals_are_scipys() -> None:
    accuracies = np.random.default_rng(0).uniform(0.7, 1, 12)
    theirs = bootstrap((accuracies,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1))
    ours = bootstrap_intervals(mean_of(accuracies), 12)
    assert ours is not None
    np.testing.assert_allclose(ours[0], theirs.confidence_interval, atol=0.006)


def test_a_ratio_is_resampled_by_group() -> None:
    # Pooled accuracy is no mean of the groups' values: SciPy draws right and all frames together.
    right, frames = np.array([90, 5, 40, 70, 8]), np.array([100, 10, 50, 100, 10])

    def pooled(r: np.ndarray, f: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(r.sum(axis=axis) / f.sum(axis=axis))

    random = np.random.default_rng(1)
    theirs = bootstrap((right, frames), pooled, paired=True, method="percentile", n_resamples=20_000, rng=random)
    ours = bootstrap_intervals(lambda drawn: np.array([right[drawn].sum() / frames[drawn].sum()]), 5)
    assert ours is not None
    np.testing.assert_allclose(ours[0], theirs.confidence_interval, atol=0.01)


def test_all_resamples_of_four_groups() -> None:
    values = np.array([0.1, 0.4, 0.5, 0.9])
    every = [np.mean(drawn) for drawn in product(values, repeat=4)]
    ours = bootstrap_intervals(mean_of(values), 4)
    assert ours is not None
    np.testing.assert_allclose(ours[0], np.quantile(every, [0.025, 0.975]), atol=0.03)


def test_three_groups_have_no_interval() -> None:
    assert bootstrap_intervals(mean_of(np.array([0.8, 0.9, 1.0])), 3) is None


def test_it_is_seeded_and_leaves_out_what_is_undefined() -> None:
    values = np.array([0.1, 0.2, np.nan, 0.4])
    one, two = (bootstrap_intervals(lambda drawn: np.r_[values[drawn].mean(), np.nan], 4) for _ in range(2))
    assert one is not None
    np.testing.assert_array_equal(one, two)
    assert 0.1 <= one[0, 0] < one[0, 1] <= 0.4
    assert np.isnan(one[1]).all()
    assert one[0, 0] == pytest.approx(0.1, abs=0.05)
