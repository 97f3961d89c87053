"""How well frames' labels agree with an observer's.

Everything about frames follows from one confusion matrix, so that matrices of videos or folds can be added before
they are scored. What a matrix cannot say is NaN, never 0: the precision of a behaviour that was not predicted, the
recall and F1 of one that the truth lacks. Such a behaviour is left out of the macro mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError


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
    f1 = np.where(true > 0, ratio(2 * right, true + predicted), np.nan)
    present = f1[true > 0]
    return FrameScores(
        frames=int(confusion.sum()),
        accuracy=accuracy(confusion),
        precision=ratio(right, predicted),
        recall=ratio(right, true),
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


def cohen_kappa(confusion: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """Return Cohen's kappa (Cohen 1960): (observed - expected) / (1 - expected agreement), of counts or of weights.

    NaN for an empty matrix, and where both sides name one same behaviour throughout (0 / 0).
    """
    counts = np.asarray(confusion, dtype=np.float64)
    frames = float(counts.sum())
    if not frames:
        return float("nan")
    expected = float(counts.sum(axis=1) @ counts.sum(axis=0)) / frames**2
    observed = float(np.trace(counts)) / frames
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def ratio(numerator: NDArray[np.number], denominator: NDArray[np.number]) -> NDArray[np.float64]:
    """Return numerator / denominator, NaN where the denominator is 0."""
    over = np.broadcast_to(np.asarray(denominator, dtype=np.float64), np.shape(numerator))
    quotient: NDArray[np.float64] = np.divide(numerator, over, out=np.full(np.shape(numerator), np.nan), where=over > 0)
    return quotient
