"""The parts of an evaluation: small tables of numbers, each with how it is made of held-out labels.

What cannot be computed is None, so that the report's JSON is JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from toolkit.ethogram import Ethogram
from toolkit.fusion import Fusion
from toolkit.scoring import (
    IOU_THRESHOLDS,
    BoutScores,
    accuracy,
    bootstrap_intervals,
    confusion_matrix,
    frame_scores,
    mean_accuracy,
    negative_log_likelihood,
    pooled_accuracy,
    reliability,
)
from toolkit.train.predictions import VideoPredictions
from toolkit.train.selection import FLOW_WEIGHTS, TARGET_ACCURACY, Choice, weighted_logits

Confusions = Mapping[str, Sequence[NDArray[np.int64]]]
"""By kind of label (``rgb``, ``flow``, ``fused``), a (K, K) confusion matrix of each held-out group."""


class Part(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(Part):
    """95 %, by resampling held-out groups."""

    low: float
    high: float


class Intervals(Part):
    """How far the scores would move with other groups; an entry is None where its score is never defined."""

    accuracy: dict[str, Interval | None]
    mean_accuracy: dict[str, Interval | None]
    kappa: Interval | None
    macro_f1: Interval | None
    f1: dict[str, Interval | None]


class FoldScores(Part):
    """Accuracies on one held-out group, and what was chosen for it without it."""

    group: str
    validation_group: str | None
    """The inner validation that `choice` was made on; None: the paper's fusion stands."""
    frames: int
    accuracy: dict[str, float]
    """``rgb``, ``flow``, ``fused``, and ``smoothed`` where any fold smooths."""
    choice: Choice


class FusionSweep(Part):
    """Accuracy by fusion weight on the test videos themselves: optimistic, never used to choose."""

    flow_weights: tuple[float, ...]
    accuracy: tuple[float, ...]
    """Pooled accuracy at each weight."""
    recall: dict[str, tuple[float | None, ...]]
    """Per behaviour, the fraction of its frames found at each weight; None where no test frame has it."""


class BoutTable(Part):
    """How many bouts were found, by the overlap that counts as found."""

    thresholds: tuple[float, ...]
    """Smallest intersections over union."""
    f1: tuple[float | None, ...]
    """F1 over the bouts of all behaviours, at each threshold."""
    behaviours: dict[str, tuple[float | None, ...]]
    """F1 of each behaviour, at each threshold; None where the observer has no bout of it."""
    true: dict[str, int]
    """The observer's bouts of each behaviour."""
    predicted: dict[str, int]
    """Predicted bouts of each behaviour."""


class CalibrationTable(Part):
    """Whether the fused probabilities mean what they say."""

    expected_calibration_error: float | None
    """Mean distance of confidence to accuracy, 0 to 1."""
    negative_log_likelihood: float | None
    """Mean over frames, in nats."""
    frames: tuple[int, ...]
    """In each of the bins of equal width over (0, 1]."""
    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    """Means of each bin; None where it is empty."""


class Certainty(Part):
    """What the thresholds under which a label is uncertain leave, in the folds that have one."""

    target: float = TARGET_ACCURACY
    """Accuracy that the thresholds were chosen for, on the inner validation."""
    coverage: float | None
    """Fraction of the frames whose label is certain; None where no fold has a threshold."""
    accuracy: float | None
    """Fraction of right frames among them."""
    folds: int
    """Folds that have a threshold: the target was reached on their inner validation."""


class PairedDifference(Part):
    """How much more accurate one kind of label is than another, group by group."""

    one: str
    other: str
    groups: dict[str, float]
    """Accuracy of `one` minus accuracy of `other`, on each held-out group's frames."""
    mean: float
    """Over the groups."""
    interval: Interval | None
    """None with three groups or fewer."""


def sweep_of(videos: Sequence[VideoPredictions], ethogram: Ethogram) -> FusionSweep:
    """Try every weight of flow on the held-out videos (paper, figures 7 and 10)."""
    truth = np.concatenate([video.labels for video in videos])
    scores = []
    for weight in FLOW_WEIGHTS:
        fusion = Fusion(weights={"rgb": round(1 - weight, 1), "flow": weight})
        labels = np.concatenate([video.fused(fusion) for video in videos])
        scores.append(frame_scores(confusion_matrix(truth, labels, len(ethogram))))
    recalls = [named(each.recall, ethogram) for each in scores]
    return FusionSweep(
        flow_weights=FLOW_WEIGHTS,
        accuracy=tuple(each.accuracy for each in scores),
        recall={name: tuple(recall[name] for recall in recalls) for name in ethogram.names},
    )


def intervals_of(confusions: Confusions, ethogram: Ethogram) -> Intervals | None:
    """Return every score's interval; None with too few groups. `confusions` has ``fused``."""
    kinds = list(confusions)
    stacked = {kind: np.stack(matrices) for kind, matrices in confusions.items()}
    each = {kind: np.array([accuracy(matrix) for matrix in matrices]) for kind, matrices in confusions.items()}

    def statistics(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        fused = frame_scores(stacked["fused"][drawn].sum(axis=0))
        pooled = [accuracy(stacked[kind][drawn].sum(axis=0)) for kind in kinds]
        means = [each[kind][drawn].mean() for kind in kinds]
        return np.array([*pooled, *means, fused.kappa, fused.macro_f1, *fused.f1])

    bounds = bootstrap_intervals(statistics, len(stacked["fused"]))
    if bounds is None:
        return None
    made = iter([None if np.isnan(low) else Interval(low=low, high=high) for low, high in bounds.tolist()])
    return Intervals(
        accuracy={kind: next(made) for kind in kinds},
        mean_accuracy={kind: next(made) for kind in kinds},
        kappa=next(made),
        macro_f1=next(made),
        f1={name: next(made) for name in ethogram.names},
    )


def paired_difference(
    one: str, other: str, groups: Sequence[str], confusions: Mapping[str, Sequence[NDArray[np.int64]]]
) -> PairedDifference:
    """Compare two kinds of label on the same frames of each group."""
    differences = np.array([accuracy(a) - accuracy(b) for a, b in zip(confusions[one], confusions[other], strict=True)])
    bounds = bootstrap_intervals(lambda drawn: differences[drawn].mean(keepdims=True), len(groups))
    return PairedDifference(
        one=one,
        other=other,
        groups=dict(zip(groups, differences.tolist(), strict=True)),
        mean=float(differences.mean()),
        interval=None if bounds is None else Interval(low=bounds[0, 0], high=bounds[0, 1]),
    )


def bout_table(scores: BoutScores, ethogram: Ethogram) -> BoutTable:
    """Return counted bouts as a table."""
    return BoutTable(
        thresholds=IOU_THRESHOLDS,
        f1=tuple(map(known, scores.pooled_f1.tolist())),
        behaviours={name: tuple(map(known, scores.f1[:, k].tolist())) for k, name in enumerate(ethogram.names)},
        true=dict(zip(ethogram.names, scores.truth.tolist(), strict=True)),
        predicted=dict(zip(ethogram.names, scores.predicted.tolist(), strict=True)),
    )


def calibration_of(judged: Iterable[tuple[VideoPredictions, Fusion]]) -> CalibrationTable:
    """Sort the frames of videos by how sure their fusion is of its label."""
    confidence, right, scaled, truth = [], [], [], []
    for video, fusion in judged:
        probabilities = video.probabilities(fusion)
        confidence.append(probabilities.max(axis=1))
        right.append(probabilities.argmax(axis=1) == video.labels)
        scaled.append(weighted_logits(video, fusion) / fusion.temperature)
        truth.append(video.labels)
    table = reliability(np.concatenate(confidence), np.concatenate(right))
    return CalibrationTable(
        expected_calibration_error=known(table.expected_calibration_error),
        negative_log_likelihood=known(negative_log_likelihood(np.concatenate(scaled), np.concatenate(truth))),
        frames=tuple(table.frames.tolist()),
        confidence=tuple(map(known, table.confidence.tolist())),
        accuracy=tuple(map(known, table.accuracy.tolist())),
    )


def certainty_of(folds: Iterable[tuple[Sequence[VideoPredictions], Choice]]) -> Certainty:
    """Leave out the held-out frames that each fold's threshold calls uncertain."""
    frames, kept, right, with_threshold = 0, 0, 0, 0
    for videos, choice in folds:
        if choice.uncertain_below is None:
            continue
        with_threshold += 1
        for video in videos:
            probabilities = video.probabilities(choice.fusion)
            certain = probabilities.max(axis=1) >= choice.uncertain_below
            frames += len(certain)
            kept += int(certain.sum())
            right += int((probabilities.argmax(axis=1) == video.labels)[certain].sum())
    return Certainty(
        coverage=kept / frames if frames else None, accuracy=right / kept if kept else None, folds=with_threshold
    )


def accuracies_of(confusions: Confusions) -> tuple[dict[str, float], dict[str, float]]:
    """Return each kind's accuracy over all frames, and its mean over the groups."""
    pooled = {kind: pooled_accuracy(matrices) for kind, matrices in confusions.items()}
    return pooled, {kind: mean_accuracy(matrices) for kind, matrices in confusions.items()}


def named(values: NDArray[np.float64], ethogram: Ethogram) -> dict[str, float | None]:
    """Return a value per behaviour by its name."""
    return dict(zip(ethogram.names, map(known, values.tolist()), strict=True))


def known(value: float) -> float | None:
    """Return None for NaN."""
    return None if np.isnan(value) else value
