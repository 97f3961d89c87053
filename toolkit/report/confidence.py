"""How sure the networks were of the labels they gave. It is not accuracy: networks can be sure and wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.behaviour_log import BehaviourLog, Quality
from toolkit.report.logged_bouts import own_probability

UNSURE_BELOW = 0.5


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
    """Of a whole log."""

    behaviours: tuple[BehaviourConfidence, ...]
    rows: int
    padded_rows: int
    """Rows whose clip repeats frames, because observation began or ended too near."""
    uncertain_rows: int
    """Rows without a label, because no behaviour was probable enough."""


def confidence(log: BehaviourLog) -> Confidence:
    """Summarise a log's probabilities and quality flags."""
    own = own_probability(log, log.label)
    lines = []
    for index, name in enumerate(log.ethogram.names):
        mine = own[log.label == index]
        low, median = np.percentile(mine, [5, 50]).tolist() if mine.size else (np.nan, np.nan)
        unsure = 100 * float(np.mean(mine < UNSURE_BELOW)) if mine.size else np.nan
        lines.append(BehaviourConfidence(name, int(mine.size), low, median, unsure))
    return Confidence(
        behaviours=tuple(lines),
        rows=len(log.label),
        padded_rows=int(np.count_nonzero(log.quality & int(Quality.PADDED))),
        uncertain_rows=int(np.count_nonzero(log.quality & int(Quality.UNCERTAIN))),
    )
