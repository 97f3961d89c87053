"""Statistics of durations, by trtexec's names, and how far those of two equal runs may lie apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

STATISTICS = {
    "min_ms": "min",
    "max_ms": "max",
    "mean_ms": "mean",
    "median_ms": "median",
    "percentile_90_ms": "percentile(90%)",
    "percentile_95_ms": "percentile(95%)",
    "percentile_99_ms": "percentile(99%)",
}
"""Field -> the name that trtexec prints."""


class Statistics(BaseModel):
    """What some durations come to. Percentiles interpolate linearly between samples, NumPy's default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(ge=1)
    min_ms: float
    max_ms: float
    mean_ms: float
    median_ms: float
    percentile_90_ms: float
    percentile_95_ms: float
    percentile_99_ms: float
    throughput_per_s: float
    """How many a second there would be of this alone, one after the other: samples over the sum of their durations."""


def statistics_of(durations_ms: Sequence[float]) -> Statistics:
    """Return the statistics of at least one duration, ms.

    Examples
    --------
    >>> durations = statistics_of([1.0, 2.0, 3.0, 4.0])
    >>> durations.median_ms, round(durations.percentile_90_ms, 3), durations.throughput_per_s
    (2.5, 3.7, 400.0)
    """
    values = np.asarray(durations_ms, dtype=np.float64)
    p50, p90, p95, p99 = (float(value) for value in np.percentile(values, (50, 90, 95, 99)))
    total_ms = float(values.sum())
    return Statistics(
        samples=len(values),
        min_ms=float(values.min()),
        max_ms=float(values.max()),
        mean_ms=total_ms / len(values),
        median_ms=p50,
        percentile_90_ms=p90,
        percentile_95_ms=p95,
        percentile_99_ms=p99,
        throughput_per_s=1000 * len(values) / total_ms if total_ms else 0.0,
    )


def median_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return a median and its standard error, from the spread between quartiles: a few outliers change neither.

    For normal values the interquartile range is 1.349 standard deviations, and the median's error is 1.253 of them over
    the square root of their number.
    """
    first, middle, third = (float(value) for value in np.percentile(np.asarray(values), (25, 50, 75)))
    return middle, 1.253 * (third - first) / 1.349 / len(values) ** 0.5
