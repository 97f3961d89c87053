"""What decision filters do to held-out videos: frame accuracy, macro F1 and bout F1, from a cross-validation's logits.

    python -m benches.decision_quality CROSSVAL

Each fold's filters use what its other videos tell: transitions are learned from their annotation alone, and "bundle" is
what the fold chose on its inner validation. Networks are taken to have seen all behaviours alike (balanced sampling).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts import (
    DecisionFilter,
    FixedLagViterbi,
    Hysteresis,
    MovingAverage,
    bouts_from_labels,
    decided_labels,
)
from toolkit.bouts.contract import BoutRules
from toolkit.bouts.moving_average import reach_of
from toolkit.frames import NS_PER_S
from toolkit.scoring import IOU_THRESHOLDS, bout_scores, confusion_matrix, frame_scores, pooled_bout_scores
from toolkit.train.predictions import VideoPredictions
from toolkit.train.selection import Choice, choose
from toolkit.train.stored import load_crossval
from toolkit.train.transitions import learn_transitions

Make = Callable[[NDArray[np.float64], Choice, int], DecisionFilter | None]
"""A filter of the transitions per frame, the fold's choice, and the frame interval in ns."""

LAGS_S = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
SHORTEST_S = (0.1, 0.2, 0.25, 0.3, 0.5, 1.0)


def filters() -> Iterator[tuple[str, Make]]:
    """Yield every filter that is compared, with its name."""
    yield "off", lambda transitions, choice, interval: None
    yield "bundle", _bundle
    for shortest_s in SHORTEST_S:
        yield f"hysteresis {shortest_s:g} s", _hysteresis(shortest_s)
    for lag_s in LAGS_S:
        yield f"viterbi, lag {lag_s:g} s", _viterbi(lag_s)


def _bundle(transitions: NDArray[np.float64], choice: Choice, interval: int) -> DecisionFilter:
    then = Hysteresis(round(choice.min_bout_s * NS_PER_S), {}, interval)
    return MovingAverage(reach_of(choice.smoothing_s, interval), then)


def _hysteresis(shortest_s: float) -> Make:
    return lambda transitions, choice, interval: Hysteresis(round(shortest_s * NS_PER_S), {}, interval)


def _viterbi(lag_s: float) -> Make:
    return lambda transitions, choice, interval: FixedLagViterbi(
        transitions, np.full(len(transitions), 1 / len(transitions)), round(lag_s * NS_PER_S / interval)
    )


def main(folder: Path) -> None:
    """Print a line of a table per filter."""
    crossval = load_crossval(folder)
    behaviours = len(crossval.ethogram)
    print(f"{crossval.scheme}; bout F1 is the mean over IoU {', '.join(map(str, IOU_THRESHOLDS))}\n")
    print("| filter | accuracy | macro F1 | bout F1 | bouts | true bouts |\n|---|---|---|---|---|---|")
    choices = [choose(fold.validation, crossval.config.streams) for fold in crossval.folds]
    videos = [video for fold in crossval.folds for video in fold.held_out]
    for name, make in filters():
        truth, decided, scores = [], [], []
        for fold, choice in zip(crossval.folds, choices, strict=True):
            for video in fold.held_out:
                times, interval = video.evaluated_times()
                filter_ = make(_transitions(videos, fold.group, behaviours, interval), choice, interval)
                labels = decided_labels(video.probabilities(choice.fusion), times, filter_, interval)
                truth.append(video.labels)
                decided.append(labels)
                ones = np.ones(len(times))
                bouts = [bouts_from_labels(times, each, ones, BoutRules(), interval) for each in (video.labels, labels)]
                scores.append(bout_scores(*bouts, behaviours))
        frames = frame_scores(confusion_matrix(np.concatenate(truth), np.concatenate(decided), behaviours))
        found = sum(int(score.predicted.sum()) for score in scores)
        true = sum(int(score.truth.sum()) for score in scores)
        f1 = float(np.mean(pooled_bout_scores(scores).pooled_f1))
        print(f"| {name} | {frames.accuracy:.1%} | {frames.macro_f1:.3f} | {f1:.3f} | {found} | {true} |")


def _transitions(videos: list[VideoPredictions], held_out: str, behaviours: int, interval: int) -> NDArray[np.float64]:
    labels = [video.labels for video in videos if video.group != held_out]
    learned = learn_transitions(labels, behaviours, interval, np.ones(behaviours))
    if learned is None:
        raise SystemExit("the annotation is not continuous: there are no transitions to learn")
    return np.array(learned.matrix)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
