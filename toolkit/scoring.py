"""How well labels agree with an observer's: one home for training, validation and reports.

Everything about frames follows from one confusion matrix, so that matrices of videos or folds can be added before
they are scored. What a matrix cannot say is NaN, never 0: the precision of a behaviour that was not predicted, the
recall and F1 of one that the truth lacks. Such a behaviour is left out of the macro mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts import Bout
from toolkit.errors import InputError

IOU_THRESHOLDS = (0.1, 0.25, 0.5, 0.75)
"""Overlaps at which bouts are scored unless told otherwise."""


def confusion_matrix(truth: NDArray[np.integer], predicted: NDArray[np.integer], behaviours: int) -> NDArray[np.int64]:
    """Count the frames of each true and predicted behaviour.

    Parameters
    ----------
    truth, predicted
        (N,) integers below `behaviours`. A frame that is negative in either has no label there and is left out.
    behaviours
        K.

    Returns
    -------
    (K, K) int64
        Rows are the truth, columns the prediction.

    Raises
    ------
    InputError
        If the lengths differ or a label is K or more.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    if truth.shape != predicted.shape:
        raise InputError(
            f"a true and a predicted label are needed for each frame, found {truth.size} and {predicted.size}."
        )
    known = (truth >= 0) & (predicted >= 0)
    rows, columns = truth[known].astype(np.int64), predicted[known].astype(np.int64)
    highest = int(max(rows.max(initial=-1), columns.max(initial=-1)))
    if highest >= behaviours:
        raise InputError(
            f"label {highest} is not of this ethogram, which has {behaviours} behaviours (0 to {behaviours - 1})."
        )
    counts = np.bincount(rows * behaviours + columns, minlength=behaviours * behaviours)
    return counts.astype(np.int64).reshape(behaviours, behaviours)


@dataclass(frozen=True, eq=False)
class FrameScores:
    """What a confusion matrix says."""

    frames: int
    accuracy: float
    """Fraction of right frames; NaN without any."""
    precision: NDArray[np.float64]
    """(K,) right frames of those predicted; NaN where nothing was predicted."""
    recall: NDArray[np.float64]
    """(K,) right frames of the true ones; NaN where the truth has none."""
    f1: NDArray[np.float64]
    """(K,) harmonic mean of both, 0 where a true behaviour was never found; NaN where the truth has none."""
    macro_f1: float
    """Mean F1 of the behaviours that the truth has."""
    kappa: float
    """Cohen's kappa: agreement beyond chance, 1 at most. NaN if truth and prediction are one same behaviour."""


def frame_scores(confusion: NDArray[np.integer]) -> FrameScores:
    """Score a (K, K) confusion matrix, rows = truth.

    Examples
    --------
    >>> scores = frame_scores(np.array([[3, 1], [0, 4]]))
    >>> scores.accuracy, scores.kappa, scores.recall.tolist(), scores.precision.tolist()
    (0.875, 0.75, [0.75, 1.0], [1.0, 0.8])
    """
    counts = np.asarray(confusion, dtype=np.float64)
    right, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    f1 = np.where(true > 0, _ratio(2 * right, true + predicted), np.nan)
    present = f1[true > 0]
    return FrameScores(
        frames=int(confusion.sum()),
        accuracy=accuracy(confusion),
        precision=_ratio(right, predicted),
        recall=_ratio(right, true),
        f1=f1,
        macro_f1=float(present.mean()) if present.size else float("nan"),
        kappa=cohen_kappa(confusion),
    )


def accuracy(confusion: NDArray[np.integer]) -> float:
    """Return the fraction of right frames, NaN for an empty matrix."""
    frames = int(confusion.sum())
    return float(np.trace(confusion)) / frames if frames else float("nan")


def pooled_accuracy(confusions: Sequence[NDArray[np.integer]]) -> float:
    """Return the accuracy over the frames of all videos or folds together: a long video counts more."""
    return accuracy(np.sum(np.stack(confusions), axis=0)) if confusions else float("nan")


def mean_accuracy(confusions: Sequence[NDArray[np.integer]]) -> float:
    """Return the mean of the videos' accuracies: each counts the same. A video without frames is left out."""
    each = [accuracy(confusion) for confusion in confusions if confusion.sum()]
    return float(np.mean(each)) if each else float("nan")


def cohen_kappa(confusion: NDArray[np.integer]) -> float:
    """Return Cohen's kappa (Cohen 1960): (observed - expected) / (1 - expected agreement).

    NaN for an empty matrix, and where both sides name one same behaviour throughout (0 / 0).
    """
    counts = np.asarray(confusion, dtype=np.float64)
    frames = float(counts.sum())
    if not frames:
        return float("nan")
    expected = float(counts.sum(axis=1) @ counts.sum(axis=0)) / frames**2
    observed = float(np.trace(counts)) / frames
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


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
        return np.where(self.truth > 0, _ratio(2 * self.matched, self.truth + self.predicted), np.nan)

    @property
    def pooled_f1(self) -> NDArray[np.float64]:
        """(J,) F1 over the bouts of all behaviours; NaN without any bout."""
        return _ratio(2 * self.matched.sum(axis=1), np.sum(self.truth + self.predicted))


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
    for behaviour in range(behaviours):
        ious = _matched_ious(_spans(truth, behaviour), _spans(predicted, behaviour))
        matched[:, behaviour] = [np.count_nonzero(ious >= threshold) for threshold in thresholds]
    counts = [
        np.bincount([bout.behaviour for bout in bouts], minlength=behaviours).astype(np.int64)
        for bouts in (truth, predicted)
    ]
    return BoutScores(tuple(thresholds), matched, counts[0], counts[1])


def _spans(bouts: Sequence[Bout], behaviour: int) -> list[tuple[int, int]]:
    return [(bout.start_ns, bout.stop_ns) for bout in bouts if bout.behaviour == behaviour]


def _matched_ious(truth: list[tuple[int, int]], predicted: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Return the intersection over union of each greedily matched pair."""
    pairs = sorted(_overlaps(truth, predicted), key=lambda pair: (-pair[0], pair[1], pair[2]))
    taken_true: set[int] = set()
    taken_predicted: set[int] = set()
    ious = []
    for iou, i, j in pairs:
        if i not in taken_true and j not in taken_predicted:
            taken_true.add(i)
            taken_predicted.add(j)
            ious.append(iou)
    return np.array(ious, dtype=np.float64)


def _overlaps(truth: list[tuple[int, int]], predicted: list[tuple[int, int]]) -> list[tuple[float, int, int]]:
    """Return (IoU, true index, predicted index) of every pair that overlaps, walking both lists once."""
    overlaps = []
    i = j = 0
    while i < len(truth) and j < len(predicted):
        (true_start, true_stop), (start, stop) = truth[i], predicted[j]
        intersection = min(true_stop, stop) - max(true_start, start)
        if intersection > 0:
            union = (true_stop - true_start) + (stop - start) - intersection
            overlaps.append((intersection / union, i, j))
        if true_stop <= stop:
            i += 1
        else:
            j += 1
    return overlaps


def _ratio(numerator: NDArray[np.number], denominator: NDArray[np.number]) -> NDArray[np.float64]:
    """Return numerator / denominator, NaN where the denominator is 0."""
    over = np.broadcast_to(np.asarray(denominator, dtype=np.float64), np.shape(numerator))
    ratio: NDArray[np.float64] = np.divide(numerator, over, out=np.full(np.shape(numerator), np.nan), where=over > 0)
    return ratio
