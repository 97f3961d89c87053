"""How many of an observer's bouts were found, by the overlap that counts as found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts import Bout
from toolkit.errors import InputError
from toolkit.scoring.frames import ratio

IOU_THRESHOLDS = (0.1, 0.25, 0.5, 0.75)
"""Overlaps at which bouts are scored unless told otherwise."""


@dataclass(frozen=True, eq=False)
class BoutScores:
    """How many bouts were found, by the overlap that counts as found."""

    thresholds: tuple[float, ...]
    """J smallest intersections over union."""
    matched: NDArray[np.int64]
    """(J, K) matched pairs."""
    truth: NDArray[np.int64]
    """(K,) true bouts."""
    predicted: NDArray[np.int64]
    """(K,) predicted bouts."""

    @property
    def f1(self) -> NDArray[np.float64]:
        """(J, K) F1 of each behaviour; NaN where the truth has no bout."""
        return np.where(self.truth > 0, ratio(2 * self.matched, self.truth + self.predicted), np.nan)

    @property
    def pooled_f1(self) -> NDArray[np.float64]:
        """(J,) F1 over the bouts of all behaviours; NaN without any bout."""
        return ratio(2 * self.matched.sum(axis=1), np.sum(self.truth + self.predicted))


def bout_scores(
    truth: Sequence[Bout],
    predicted: Sequence[Bout],
    behaviours: int,
    thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> BoutScores:
    """Match predicted to true bouts and count the matches.

    Bouts of the same behaviour are matched one to one, greedily: of all pairs that are left, the one with the largest
    intersection over union first (the earlier one of equals). A pair counts at each threshold that it reaches.

    Parameters
    ----------
    truth, predicted
        Each ordered and without overlaps, as `toolkit.bouts` makes them, on the same clock.
    behaviours
        K.
    thresholds
        Intersections over union, over 0 and up to 1.

    Raises
    ------
    InputError
        If a threshold is out of its range.
    """
    if not all(0 < threshold <= 1 for threshold in thresholds):
        raise InputError(f"an overlap threshold must be over 0 and at most 1, found {list(thresholds)}.")
    matched = np.zeros((len(thresholds), behaviours), dtype=np.int64)
    for pair in matched_bouts(truth, predicted):
        matched[:, pair.truth.behaviour] += pair.iou >= np.array(thresholds)
    counts = [
        np.bincount([bout.behaviour for bout in bouts], minlength=behaviours).astype(np.int64)
        for bouts in (truth, predicted)
    ]
    return BoutScores(tuple(thresholds), matched, counts[0], counts[1])


@dataclass(frozen=True, slots=True)
class MatchedBouts:
    """A true and a predicted bout of one behaviour that belong together."""

    truth: Bout
    predicted: Bout
    iou: float
    """Intersection over union, over 0 and up to 1."""


def matched_bouts(truth: Sequence[Bout], predicted: Sequence[Bout]) -> list[MatchedBouts]:
    """Return the pairs that `bout_scores` counts, whatever their overlap, by behaviour, then from the best on.

    Parameters
    ----------
    truth, predicted
        As `bout_scores` takes them.
    """
    pairs = []
    for behaviour in sorted({bout.behaviour for bout in truth}):
        mine, theirs = ([b for b in bouts if b.behaviour == behaviour] for bouts in (truth, predicted))
        taken_true: set[int] = set()
        taken_predicted: set[int] = set()
        for iou, i, j in sorted(_overlaps(mine, theirs), key=lambda pair: (-pair[0], pair[1], pair[2])):
            if i not in taken_true and j not in taken_predicted:
                taken_true.add(i)
                taken_predicted.add(j)
                pairs.append(MatchedBouts(mine[i], theirs[j], iou))
    return pairs


def pooled_bout_scores(each: Sequence[BoutScores]) -> BoutScores:
    """Return the counts of several videos together.

    Raises
    ------
    InputError
        If there is none, or they were scored at different thresholds.
    """
    if len({scores.thresholds for scores in each}) != 1:
        raise InputError("expected the bout scores of at least one video, all at the same overlap thresholds.")
    return BoutScores(
        thresholds=each[0].thresholds,
        matched=np.sum([scores.matched for scores in each], axis=0),
        truth=np.sum([scores.truth for scores in each], axis=0),
        predicted=np.sum([scores.predicted for scores in each], axis=0),
    )


def _overlaps(truth: list[Bout], predicted: list[Bout]) -> list[tuple[float, int, int]]:
    """Return (IoU, true index, predicted index) of every pair that overlaps, walking both lists once."""
    overlaps = []
    i = j = 0
    while i < len(truth) and j < len(predicted):
        true, found = truth[i], predicted[j]
        intersection = min(true.stop_ns, found.stop_ns) - max(true.start_ns, found.start_ns)
        if intersection > 0:
            union = (true.stop_ns - true.start_ns) + (found.stop_ns - found.start_ns) - intersection
            overlaps.append((intersection / union, i, j))
        if true.stop_ns <= found.stop_ns:
            i += 1
        else:
            j += 1
    return overlaps
