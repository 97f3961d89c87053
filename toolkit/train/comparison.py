"""Two cross-validations of the same folds side by side, and all their networks fused (which the paper does not do)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.ethogram import Ethogram
from toolkit.fusion import fusion_for
from toolkit.scoring import accuracy, confusion_matrix, frame_scores
from toolkit.train.predictions import FoldPredictions, VideoPredictions
from toolkit.train.score_parts import (
    Intervals,
    PairedDifference,
    Part,
    accuracies_of,
    intervals_of,
    known,
    paired_difference,
)
from toolkit.train.scores import Evaluation
from toolkit.train.stored import StoredCrossValidation, check_comparable

SIMPLEX_STEPS = 10
"""Weights of all networks are tried in steps of 1 / `SIMPLEX_STEPS`."""

TOGETHER = "fused"


class Comparison(Part):
    """Two cross-validations on the frames that both evaluated, and all their networks fused."""

    names: tuple[str, str]
    frames: int
    accuracy: dict[str, float]
    """Pooled over frames, by name, and ``fused`` for all networks together."""
    mean_accuracy: dict[str, float]
    """Mean of the held-out groups' accuracies."""
    groups: dict[str, dict[str, float]]
    """By held-out group, the same three accuracies."""
    intervals: Intervals | None
    """None with three groups or fewer; kappa and F1 are those of all networks together."""
    kappa: float | None
    macro_f1: float
    """Of all networks together."""
    weights: dict[str, dict[str, float]]
    """By held-out group, the weight of each network's logits, chosen on the fold's inner validation."""
    validation_frames: dict[str, int]
    """By held-out group, the frames they were chosen on; 0: none, and each pair has half of the paper's weights."""
    paired: tuple[PairedDifference, ...]
    """One minus the other, and all together minus each."""


@dataclass(frozen=True, eq=False)
class _Shared:
    """The frames of one fold's part that both cross-validations evaluated."""

    one: tuple[VideoPredictions, ...]
    other: tuple[VideoPredictions, ...]

    @property
    def labels(self) -> NDArray[np.int8]:
        return np.concatenate([video.labels for video in self.one])

    @property
    def logits(self) -> NDArray[np.float32]:
        """(S, M, K), the networks of one before those of the other."""
        return np.concatenate([_stacked(self.one), _stacked(self.other)])


def compare(
    one: tuple[str, StoredCrossValidation, Evaluation], other: tuple[str, StoredCrossValidation, Evaluation]
) -> Comparison:
    """Compare two cross-validations by the names given, group by group, and fuse the networks of both.

    The weights of all networks are those of a grid on the simplex with which most frames of the fold's inner validation
    are right; ties go to the nearest of half the paper's weights for each.

    Raises
    ------
    InputError
        If they are of other data, behaviours or folds (what differs is named), or have no frame in common.
    """
    (first, a, evaluated_a), (second, b, evaluated_b) = one, other
    check_comparable(a, b)
    networks = [f"{first} {s}" for s in a.config.streams] + [f"{second} {s}" for s in b.config.streams]
    preferred = np.array([w / 2 for cv in (a, b) for w in fusion_for(cv.config.streams).weights.values()])
    choices = [{fold.group: fold.choice for fold in evaluation.folds} for evaluation in (evaluated_a, evaluated_b)]
    ours, theirs = ({fold.group: fold for fold in cv.folds if fold.held_out} for cv in (a, b))
    confusions: dict[str, list[NDArray[np.int64]]] = {first: [], second: [], TOGETHER: []}
    weights, validation_frames = {}, {}
    for group in (fold.group for fold in evaluated_a.folds if fold.group in theirs):
        inner, held_out = _shared_parts(ours[group], theirs[group], a, b)
        chosen = _choose_weights(inner, preferred)
        weights[group] = dict(zip(networks, chosen.tolist(), strict=True))
        validation_frames[group] = len(inner.labels) if inner.one else 0
        labels = {
            first: np.concatenate([video.fused(choices[0][group].fusion) for video in held_out.one]),
            second: np.concatenate([video.fused(choices[1][group].fusion) for video in held_out.other]),
            TOGETHER: fuse_networks(held_out.logits, chosen),
        }
        for name, each in labels.items():
            confusions[name].append(confusion_matrix(held_out.labels, each, len(a.ethogram)))
    return _compared((first, second), list(weights), confusions, a.ethogram, weights, validation_frames)


def fuse_networks(logits: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the (M,) behaviours with the largest of (S, M, K) logits summed by (S,) weights."""
    return np.asarray(np.tensordot(weights.astype(np.float32), logits, axes=1).argmax(axis=1))


def simplex_grid(networks: int, steps: int = SIMPLEX_STEPS) -> NDArray[np.float64]:
    """Return (J, networks) weights in steps of 1 / `steps`, all that are >= 0 and sum to one.

    Examples
    --------
    >>> simplex_grid(2, steps=2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    heads = [head for head in product(range(steps + 1), repeat=networks - 1) if sum(head) <= steps]
    return np.array([[*head, steps - sum(head)] for head in heads]) / steps


def _compared(
    names: tuple[str, str],
    groups: list[str],
    confusions: dict[str, list[NDArray[np.int64]]],
    ethogram: Ethogram,
    weights: dict[str, dict[str, float]],
    validation_frames: dict[str, int],
) -> Comparison:
    first, second = names
    scores = frame_scores(np.sum(confusions[TOGETHER], axis=0))
    pooled, means = accuracies_of(confusions)
    pairs = ((first, second), (TOGETHER, first), (TOGETHER, second))
    return Comparison(
        names=names,
        frames=scores.frames,
        accuracy=pooled,
        mean_accuracy=means,
        groups={
            group: {name: accuracy(matrices[index]) for name, matrices in confusions.items()}
            for index, group in enumerate(groups)
        },
        intervals=intervals_of(confusions, ethogram),
        kappa=known(scores.kappa),
        macro_f1=scores.macro_f1,
        weights=weights,
        validation_frames=validation_frames,
        paired=tuple(paired_difference(one, other, groups, confusions) for one, other in pairs),
    )


def _choose_weights(inner: _Shared, preferred: NDArray[np.float64]) -> NDArray[np.float64]:
    if not inner.one:
        return preferred
    logits, truth = inner.logits, inner.labels
    candidates = simplex_grid(len(logits))
    right = np.array([np.count_nonzero(fuse_networks(logits, weights) == truth) for weights in candidates])
    best = candidates[right == right.max()]
    nearest: NDArray[np.float64] = best[np.linalg.norm(best - preferred, axis=1).round(6).argmin()]
    return nearest


def _shared_parts(
    fold: FoldPredictions, other: FoldPredictions, one_cv: StoredCrossValidation, other_cv: StoredCrossValidation
) -> tuple[_Shared, _Shared]:
    inner = _share(fold.validation, other.validation, one_cv, other_cv)
    held_out = _share(fold.held_out, other.held_out, one_cv, other_cv)
    if not held_out.one:
        raise InputError(
            f"fold {fold.group}: {one_cv.folder} and {other_cv.folder} evaluated no frame in common. Expected the same "
            "frame rate and stride. Run toolkit crossval again with the same ones."
        )
    return inner, held_out


def _share(
    ours: Sequence[VideoPredictions],
    theirs: Sequence[VideoPredictions],
    one_cv: StoredCrossValidation,
    other_cv: StoredCrossValidation,
) -> _Shared:
    by_name = {video.video: video for video in theirs}
    one, other = [], []
    for video in ours:
        if video.video not in by_name:
            continue
        match = by_name[video.video]
        _, rows, match_rows = np.intersect1d(
            video.frame_index, match.frame_index, assume_unique=True, return_indices=True
        )
        if not len(rows):
            continue
        if not np.array_equal(video.labels[rows], match.labels[match_rows]):
            raise InputError(
                f"{video.video}: {one_cv.folder} and {other_cv.folder} have different annotations of it, though the "
                "data set is the same. One of them is damaged. Run toolkit crossval again."
            )
        one.append(_rows_of(video, rows))
        other.append(_rows_of(match, match_rows))
    return _Shared(tuple(one), tuple(other))


def _rows_of(video: VideoPredictions, rows: NDArray[np.int64]) -> VideoPredictions:
    return replace(
        video,
        frame_index=video.frame_index[rows],
        labels=video.labels[rows],
        logits={stream: logits[rows] for stream, logits in video.logits.items()},
        majority=video.majority[rows],
        mean_colour=video.mean_colour[rows],
    )


def _stacked(videos: Sequence[VideoPredictions]) -> NDArray[np.float32]:
    streams = list(videos[0].logits)
    return np.stack([np.concatenate([video.logits[stream] for video in videos]) for stream in streams])
