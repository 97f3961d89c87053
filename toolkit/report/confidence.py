"""How sure the networks were of the labels they gave, and how that drifts. It is not accuracy: sure can be wrong.

Probabilities are known to a byte, so that a day's rows are a histogram of 256 values and quantiles of it are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.report.record import DayConfidence

UNSURE_BELOW = 0.5
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class BehaviourConfidence:
    """The probabilities of one behaviour's labels, over the rows that carry it; NaN without rows."""

    name: str
    rows: int
    fifth_percentile: float
    median: float
    percent_unsure: float
    """Rows whose label had a probability under `UNSURE_BELOW`, in per cent."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Of a whole record."""

    behaviours: tuple[BehaviourConfidence, ...]
    rows: int
    padded_rows: int
    """Rows whose clip repeats frames, because observation began or ended too near."""
    uncertain_rows: int
    """Rows without a label, because no behaviour was probable enough."""


def confidence(days: Sequence[DayConfidence], names: Sequence[str]) -> Confidence | None:
    """Summarise all days; None where there are none."""
    if not days:
        return None
    total = np.sum([day.histogram for day in days], axis=0)
    uncertain = sum(day.uncertain_rows for day in days)
    return Confidence(
        behaviours=tuple(_line(name, total[index]) for index, name in enumerate(names)),
        rows=int(total.sum()) + uncertain,
        padded_rows=sum(day.padded_rows for day in days),
        uncertain_rows=uncertain,
    )


def daily_quantiles(days: Sequence[DayConfidence], quantiles: Sequence[float]) -> NDArray[np.float64]:
    """Return (D, K + 1, Q) float64 quantiles of each day's probabilities, 0 to 1; the last row is all behaviours'."""
    table = []
    for day in days:
        rows = [*day.histogram, day.histogram.sum(axis=0)]
        table.append([[_quantile(row, quantile) for quantile in quantiles] for row in rows])
    return np.array(table).reshape(len(days), -1, len(quantiles))


def _line(name: str, histogram: NDArray[np.int64]) -> BehaviourConfidence:
    rows = int(histogram.sum())
    unsure = 100 * float(histogram[: int(np.ceil(255 * UNSURE_BELOW))].sum()) / rows if rows else NAN
    return BehaviourConfidence(name, rows, _quantile(histogram, 0.05), _quantile(histogram, 0.5), unsure)


def _quantile(histogram: NDArray[np.int64], quantile: float) -> float:
    """Return the smallest probability that at least the fraction `quantile` of the rows do not exceed."""
    rows = int(histogram.sum())
    if not rows:
        return NAN
    return float(np.searchsorted(np.cumsum(histogram), max(1.0, quantile * rows))) / 255
