"""What may be chosen after training, chosen on videos that are neither trained on nor tested on.

Everything is chosen in turn, each with what was chosen before it, on the inner validation's frames alone:

1. the fusion's weights, by the fraction of right frames;
2. its temperature, by the likelihood of the labels (Guo et al. 2017);
3. the smoothing of the probabilities, by macro F1: accuracy would smooth away the short, rare behaviours;
4. the shortest bout that is kept, by bout F1, mean over `toolkit.scoring.IOU_THRESHOLDS`;
5. the probability below which a label is called uncertain: the smallest at which `TARGET_ACCURACY` of the labels that
   are kept are right.

Ties go to the paper, and else to the least interference. Smoothing and shortest bout are chosen only on frames in which
behaviour changes: a clip that was cut to one behaviour gives away where its bout starts and stops, and any smoothing
would do well on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from toolkit.bouts import Bout, BoutRules, bouts_from_labels
from toolkit.errors import InputError
from toolkit.fusion import PAPER_WEIGHTS, Fusion, fusion_for
from toolkit.preprocess import Stream
from toolkit.scoring import (
    BoutScores,
    best_temperature,
    bout_scores,
    confusion_matrix,
    frame_scores,
    pooled_bout_scores,
)
from toolkit.train.predictions import VideoPredictions

FLOW_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
"""Flow's weights, as in the paper's figure 7."""
SMOOTHINGS_S = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
"""Widths of the moving average, seconds."""
SHORTEST_BOUTS_S = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Minimum lengths of a bout, seconds."""
TARGET_ACCURACY = 0.95
"""Fraction of right frames that the labels called certain should reach."""
LEAST_COVERAGE = 0.1
"""A threshold that keeps a smaller fraction of the frames is of no use."""

_THRESHOLDS = np.arange(100) / 100


class Choice(BaseModel):
    """What was chosen, and on how many frames."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fusion: Fusion
    """Weights and temperature."""
    smoothing_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Width of the moving average of the fused probabilities, seconds; 0 for none."""
    min_bout_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Shortest bout that is kept, seconds; 0 for all."""
    uncertain_below: float | None = Field(default=None, ge=0, le=1)
    """Fused probability, before smoothing, under which a frame's label is called uncertain; None: `TARGET_ACCURACY` was
    not reached, or nothing was chosen."""
    frames: int = Field(default=0, ge=0)
    """Frames it was chosen on; 0: none, and the fusion is the paper's."""

    def smoothed(self, video: VideoPredictions) -> NDArray[np.float32]:
        """Return a video's (M, K) fused and smoothed probabilities."""
        return video.smooth(video.probabilities(self.fusion), self.smoothing_s)


def paper_choice(streams: Sequence[Stream]) -> Choice:
    """Return what stands where there is nothing to choose on: 0.4 RGB + 0.6 flow, and no processing."""
    return Choice(fusion=fusion_for(tuple(streams)))


def choose(validation: Sequence[VideoPredictions], streams: Sequence[Stream]) -> Choice:
    """Choose everything on these videos; without any, `paper_choice`.

    Parameters
    ----------
    validation
        Predictions by networks that were not trained on these videos.
    streams
        To fuse, in the order of the fusion's weights.
    """
    if not validation:
        return paper_choice(streams)
    truth = np.concatenate([video.labels for video in validation])
    fusion = _choose_fusion(validation, truth, streams)
    smoothing_s, min_bout_s = 0.0, 0.0
    if any(video.behaviour_changes() for video in validation):
        smoothing_s, smooth = _choose_smoothing(validation, truth, fusion)
        min_bout_s = _choose_shortest_bout(validation, smooth)
    return Choice(
        fusion=fusion,
        smoothing_s=smoothing_s,
        min_bout_s=min_bout_s,
        uncertain_below=_choose_threshold(np.concatenate([v.probabilities(fusion) for v in validation]), truth),
        frames=len(truth),
    )


def bouts_of(video: VideoPredictions, labels: NDArray[np.integer], min_bout_s: float = 0.0) -> list[Bout]:
    """Return the bouts of a video's (M,) labels; none crosses a gap in the evaluated frames."""
    times, interval_ns = video.evaluated_times()
    return bouts_from_labels(times, labels, np.ones(len(labels)), BoutRules(min_bout_s=min_bout_s), interval_ns)


def score_bouts(
    videos: Iterable[VideoPredictions], labels: Iterable[NDArray[np.integer]], behaviours: int, min_bout_s: float = 0.0
) -> BoutScores:
    """Score the bouts of each video's predicted labels against those of the observer's, counted together."""
    return pooled_bout_scores(
        [
            bout_scores(bouts_of(video, video.labels), bouts_of(video, predicted, min_bout_s), behaviours)
            for video, predicted in zip(videos, labels, strict=True)
        ]
    )


def weighted_logits(video: VideoPredictions, fusion: Fusion) -> NDArray[np.float32]:
    """Return the (M, K) weighted sum of the streams' logits, which rule ``logits`` divides by the temperature."""
    if fusion.rule != "logits":
        raise InputError(f"only logits have a weighted sum, found the fusion's rule {fusion.rule!r}.")
    total: NDArray[np.float32] = np.sum(
        [np.float32(weight) * video.logits[stream] for stream, weight in fusion.weights.items()], axis=0
    )
    return total


def _choose_fusion(videos: Sequence[VideoPredictions], truth: NDArray[np.int8], streams: Sequence[Stream]) -> Fusion:
    if len(streams) == 1:
        fusion = fusion_for(tuple(streams))
    else:
        candidates = [
            Fusion(weights={"rgb": round(1 - weight, 1), "flow": weight}) for weight in _nearest_paper_first()
        ]
        right = [np.count_nonzero(np.concatenate([v.fused(f) for v in videos]) == truth) for f in candidates]
        fusion = candidates[int(np.argmax(right))]
    logits = np.concatenate([weighted_logits(video, fusion) for video in videos])
    return fusion.model_copy(update={"temperature": best_temperature(logits, truth)})


def _nearest_paper_first() -> list[float]:
    return sorted(FLOW_WEIGHTS, key=lambda weight: (round(abs(weight - PAPER_WEIGHTS["flow"]), 6), weight))


def _choose_smoothing(
    videos: Sequence[VideoPredictions], truth: NDArray[np.int8], fusion: Fusion
) -> tuple[float, list[NDArray[np.int64]]]:
    """Return the width of the moving average, and each video's labels after it."""
    fused = [video.probabilities(fusion) for video in videos]
    best = -1.0, 0.0, [np.empty(0, dtype=np.int64)]
    for smoothing_s in SMOOTHINGS_S:
        labels = [
            video.smooth(probabilities, smoothing_s).argmax(axis=1)
            for video, probabilities in zip(videos, fused, strict=True)
        ]
        score = frame_scores(confusion_matrix(truth, np.concatenate(labels), fused[0].shape[1])).macro_f1
        if score > best[0]:
            best = score, smoothing_s, labels
    return best[1:]


def _choose_shortest_bout(videos: Sequence[VideoPredictions], labels: Sequence[NDArray[np.int64]]) -> float:
    behaviours = next(iter(videos[0].logits.values())).shape[1]
    scores = [
        float(np.mean(score_bouts(videos, labels, behaviours, shortest_s).pooled_f1)) for shortest_s in SHORTEST_BOUTS_S
    ]
    return SHORTEST_BOUTS_S[int(np.argmax(scores))]


def _choose_threshold(probabilities: NDArray[np.float32], truth: NDArray[np.int8]) -> float | None:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    for threshold in _THRESHOLDS:
        kept = confidence >= threshold
        if kept.mean() < LEAST_COVERAGE:
            break
        if right[kept].mean() >= TARGET_ACCURACY:
            return float(threshold)
    return None
