"""Statistics of durations, against the standard library's and by hand."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from toolkit.benchmark.statistics import median_and_error, statistics_of


def test_a_case_by_hand() -> None:
    """Five durations: position 0.9 * 4 = 3.6 lies between 40 and 100, 40 + 0.6 * 60 = 76; 0.95: 88; 0.99: 97.6."""
    found = statistics_of([20.0, 100.0, 10.0, 40.0, 30.0])
    assert (found.samples, found.min_ms, found.max_ms, found.mean_ms, found.median_ms) == (5, 10, 100, 40, 30)
    tail = (found.percentile_90_ms, found.percentile_95_ms, found.percentile_99_ms)
    assert tail == pytest.approx((76.0, 88.0, 97.6))
    assert found.throughput_per_s == 25.0


def test_against_the_standard_library() -> None:
    durations = np.random.default_rng(0).gamma(2.0, 5.0, 501).tolist()
    found = statistics_of(durations)
    cuts = statistics.quantiles(durations, n=100, method="inclusive")
    expected = (cuts[89], cuts[94], cuts[98])
    assert (found.percentile_90_ms, found.percentile_95_ms, found.percentile_99_ms) == pytest.approx(expected)
    assert found.median_ms == pytest.approx(statistics.median(durations))
    assert found.mean_ms == pytest.approx(statistics.fmean(durations))


def test_one_duration_is_all_of_its_statistics() -> None:
    found = statistics_of([5.0])
    assert {found.min_ms, found.max_ms, found.mean_ms, found.median_ms, found.percentile_99_ms} == {5.0}


def test_the_error_of_a_median_is_that_of_many_medians() -> None:
    """The error that one sample of 50 tells is, on average, the scatter of the medians of 2000 such samples."""
    samples = np.random.default_rng(0).normal(10, 2, (2000, 50))
    medians, errors = zip(*(median_and_error(sample.tolist()) for sample in samples), strict=True)
    assert float(np.mean(errors)) == pytest.approx(float(np.std(medians)), rel=0.05)
