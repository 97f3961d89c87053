"""What stored predictions come to: everything that is said of a cross-validation, computed without a network."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bundle import Scores
from toolkit.errors import InputError, raise_faults
from toolkit.ethogram import Ethogram
from toolkit.preprocess import Stream
from toolkit.scoring import confusion_matrix, frame_scores, pooled_accuracy, pooled_bout_scores
from toolkit.train.config import TrainConfig
from toolkit.train.predictions import FoldPredictions, VideoPredictions
from toolkit.train.score_parts import (
    BoutTable,
    CalibrationTable,
    Certainty,
    FoldScores,
    FusionSweep,
    Interval,
    Intervals,
    PairedDifference,
    Part,
    accuracies_of,
    bout_table,
    calibration_of,
    certainty_of,
    intervals_of,
    known,
    named,
    paired_difference,
    sweep_of,
)
from toolkit.train.selection import Choice, choose, score_bouts

REPORT = "report.json"

Labels = dict[str, list[list[NDArray[np.int64]]]]
"""By kind of label, per fold, per held-out video, the (M,) behaviours."""


class Evaluation(Part):
    """Scores of held-out videos."""

    scheme: str
    """How the test videos were held out."""
    missing_groups: tuple[str, ...] = ()
    """Groups whose fold is not finished: with any, this is a partial report."""
    dataset_sha256: str
    config: TrainConfig
    behaviours: tuple[str, ...]
    frames: int
    """Test frames, pooled over folds."""
    accuracy: dict[str, float]
    """Fraction of right frames, pooled over folds: ``rgb``, ``flow``, ``fused``, each fold's by the weights chosen in
    it; and ``smoothed``, the fused ones after each fold's smoothing, where any fold smooths."""
    mean_accuracy: dict[str, float]
    """Mean of the held-out groups' accuracies."""
    baselines: dict[str, float]
    """Pooled accuracy of ``chance`` (1 / K), ``majority`` and ``nearest mean colour``."""
    kappa: float | None
    """Cohen's kappa of the fused labels; None where both sides name one same behaviour throughout."""
    macro_f1: float
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    f1: dict[str, float | None]
    """Fused, per behaviour; None where it is undefined."""
    intervals: Intervals | None
    """None with three groups or fewer."""
    confusion: tuple[tuple[int, ...], ...]
    """(K, K) fused, rows are the truth."""
    stream_confusions: dict[Stream, tuple[tuple[int, ...], ...]]
    """The same of each stream alone."""
    behaviour_changes: bool
    """Whether the behaviour changes within any run of test frames. If not, the videos are clips cut to one behaviour,
    whose bouts say nothing of continuous video."""
    bouts: dict[str, BoutTable]
    """``fused``: raw runs of equal labels. ``processed``: after each fold's smoothing and shortest bout."""
    calibration: dict[str, CalibrationTable]
    """Of the fused probabilities ``before`` and ``after`` each fold's temperature."""
    certainty: Certainty
    paired: tuple[PairedDifference, ...]
    """``fused`` against each stream; empty with one stream."""
    folds: tuple[FoldScores, ...]
    sweep: FusionSweep | None
    """None with one stream."""
    chosen: Choice
    """For the bundle: chosen once more, on the pooled predictions of all folds' held-out videos.

    An exported network was trained on every video and has none left to choose on; but each of these frames was
    predicted by networks that did not see it. The scores above are not those of this choice: they remain those of what
    each fold chose without its held-out group."""

    def scores(self) -> Scores:
        """Return what a bundle's manifest says of them."""
        return Scores(
            scheme=self.scheme,
            accuracy={kind: self.accuracy[kind] for kind in (*self.config.streams, "fused")},
            f1={name: value for name, value in self.f1.items() if value is not None},
            kappa=float("nan") if self.kappa is None else self.kappa,
            frames=self.frames,
        )

    def lines(self) -> list[str]:
        """Return the scores as a few lines of text."""
        percent = {name: f"{value:.1%}" for name, value in self.accuracy.items()}
        kappa = "undefined" if self.kappa is None else f"{self.kappa:.3f}"
        partial = [f"partial: {len(self.missing_groups)} folds are missing ({', '.join(self.missing_groups)})"]
        return [
            f"{self.scheme}, {self.frames} test frames",
            *(partial if self.missing_groups else []),
            "accuracy: " + ", ".join(f"{name} {value}" for name, value in percent.items()),
            "baselines: " + ", ".join(f"{name} {value:.1%}" for name, value in self.baselines.items()),
            f"fused: mean over held-out groups {self.mean_accuracy['fused']:.1%}, macro F1 {self.macro_f1:.3f}, "
            f"Cohen's kappa {kappa}",
            *([f"95 % interval of the fused accuracy: {_span(interval)}"] if (interval := self._interval()) else []),
        ]

    def _interval(self) -> Interval | None:
        return self.intervals.accuracy["fused"] if self.intervals else None


def evaluation_of(
    folds: Sequence[FoldPredictions],
    ethogram: Ethogram,
    config: TrainConfig,
    *,
    scheme: str,
    dataset_sha256: str,
    missing_groups: Sequence[str] = (),
) -> Evaluation:
    """Choose in each fold on its inner validation, and score its held-out videos with that.

    Parameters
    ----------
    folds
        One per held-out group; one without a labelled frame is left out.
    missing_groups
        Groups that were to be held out too, and have no fold yet.

    Raises
    ------
    InputError
        If there is no prediction, or one is not of this ethogram or lacks a stream.
    """
    folds = sorted((fold for fold in folds if fold.held_out), key=lambda fold: _numbered(fold.group))
    _check(folds, ethogram, config.streams)
    groups = [fold.group for fold in folds]
    choices = [choose(fold.validation, config.streams) for fold in folds]
    labels = _labels(folds, choices, config.streams)
    confusions = {kind: _confusions(folds, each, ethogram) for kind, each in labels.items()}
    fused = np.sum(confusions["fused"], axis=0)
    scores = frame_scores(fused)
    accuracy, mean_accuracy = accuracies_of(confusions)
    videos = [video for fold in folds for video in fold.held_out]
    several = len(config.streams) > 1
    return Evaluation(
        scheme=scheme,
        missing_groups=tuple(missing_groups),
        dataset_sha256=dataset_sha256,
        config=config,
        behaviours=ethogram.names,
        frames=scores.frames,
        accuracy=accuracy,
        mean_accuracy=mean_accuracy,
        baselines={"chance": 1 / len(ethogram), **_baselines(folds, ethogram)},
        kappa=known(scores.kappa),
        macro_f1=scores.macro_f1,
        precision=named(scores.precision, ethogram),
        recall=named(scores.recall, ethogram),
        f1=named(scores.f1, ethogram),
        intervals=intervals_of(confusions, ethogram),
        confusion=_rows(fused),
        stream_confusions={stream: _rows(np.sum(confusions[stream], axis=0)) for stream in config.streams},
        behaviour_changes=any(video.behaviour_changes() for video in videos),
        bouts=_bouts(folds, choices, labels, ethogram),
        calibration=_calibration(folds, choices),
        certainty=certainty_of(zip((fold.held_out for fold in folds), choices, strict=True)),
        paired=tuple(paired_difference("fused", s, groups, confusions) for s in config.streams) if several else (),
        folds=tuple(_fold_scores(folds, choices, confusions)),
        sweep=sweep_of(videos, ethogram) if several else None,
        chosen=choose(videos, config.streams),
    )


def write_report(folder: Path, evaluation: Evaluation, ethogram: Ethogram) -> None:
    """Write ``report.md`` and its pictures, and last ``report.json``, into an existing folder."""
    from toolkit.train.scores_report import write_pages

    write_pages(folder, evaluation, ethogram)


def confusion_of(
    videos: Sequence[VideoPredictions], labels: Sequence[NDArray[np.integer]], ethogram: Ethogram
) -> NDArray[np.int64]:
    """Return the (K, K) confusion matrix of these videos' (M,) labels, rows are the truth."""
    return confusion_matrix(np.concatenate([v.labels for v in videos]), np.concatenate(labels), len(ethogram))


def _numbered(name: str) -> list[tuple[int, str]]:
    """Order video2 before video10, as people do."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _check(folds: Sequence[FoldPredictions], ethogram: Ethogram, streams: Sequence[Stream]) -> None:
    if not folds:
        raise InputError("there is no prediction to score: no held-out video has a labelled frame. Annotate one.")
    if twice := sorted({f.group for f in folds if sum(g.group == f.group for g in folds) > 1}):
        raise InputError(f"expected one fold for each held-out group, found several for {', '.join(twice)}.")
    faults = []
    for video in (video for fold in folds for video in (*fold.held_out, *fold.validation)):
        faults += [f"{video.video}: no logits of {stream}" for stream in streams if stream not in video.logits]
        widths = {logits.shape[1] for logits in video.logits.values()}
        if widths != {len(ethogram)}:
            faults.append(f"{video.video}: logits of {', '.join(map(str, sorted(widths)))} behaviours")
    expected = f"expected logits of {', '.join(streams)} for {len(ethogram)} behaviours ({', '.join(ethogram.names)})"
    raise_faults(InputError, f"{expected}. These predictions are of other networks; found", faults)


def _labels(folds: Sequence[FoldPredictions], choices: Sequence[Choice], streams: Sequence[Stream]) -> Labels:
    kinds: dict[str, Callable[[VideoPredictions, Choice], NDArray[np.int64]]] = {
        **{stream: _stream_labeller(stream) for stream in streams},
        "fused": lambda video, choice: video.fused(choice.fusion),
    }
    if any(choice.smoothing_s for choice in choices):
        kinds["smoothed"] = lambda video, choice: np.asarray(choice.smoothed(video).argmax(axis=1))
    return {
        kind: [[label(video, choice) for video in fold.held_out] for fold, choice in zip(folds, choices, strict=True)]
        for kind, label in kinds.items()
    }


def _stream_labeller(stream: Stream) -> Callable[[VideoPredictions, Choice], NDArray[np.int64]]:
    return lambda video, _: video.predicted(stream)


def _confusions(
    folds: Sequence[FoldPredictions], labels: Sequence[Sequence[NDArray[np.integer]]], ethogram: Ethogram
) -> list[NDArray[np.int64]]:
    return [confusion_of(fold.held_out, each, ethogram) for fold, each in zip(folds, labels, strict=True)]


def _baselines(folds: Sequence[FoldPredictions], ethogram: Ethogram) -> dict[str, float]:
    majority = _confusions(folds, [[video.majority for video in fold.held_out] for fold in folds], ethogram)
    colour = _confusions(folds, [[video.mean_colour for video in fold.held_out] for fold in folds], ethogram)
    return {"majority": pooled_accuracy(majority), "nearest mean colour": pooled_accuracy(colour)}


def _bouts(
    folds: Sequence[FoldPredictions], choices: Sequence[Choice], labels: Labels, ethogram: Ethogram
) -> dict[str, BoutTable]:
    smoothed = labels.get("smoothed", labels["fused"])
    raw, processed = [], []
    for fold, choice, plain, smooth in zip(folds, choices, labels["fused"], smoothed, strict=True):
        raw.append(score_bouts(fold.held_out, plain, len(ethogram)))
        processed.append(score_bouts(fold.held_out, smooth, len(ethogram), choice.min_bout_s))
    tables = {"fused": raw, "processed": processed}
    return {name: bout_table(pooled_bout_scores(scores), ethogram) for name, scores in tables.items()}


def _calibration(folds: Sequence[FoldPredictions], choices: Sequence[Choice]) -> dict[str, CalibrationTable]:
    after = [(video, choice.fusion) for fold, choice in zip(folds, choices, strict=True) for video in fold.held_out]
    before = [(video, fusion.model_copy(update={"temperature": 1.0})) for video, fusion in after]
    return {"before": calibration_of(before), "after": calibration_of(after)}


def _fold_scores(
    folds: Sequence[FoldPredictions], choices: Sequence[Choice], confusions: dict[str, list[NDArray[np.int64]]]
) -> list[FoldScores]:
    return [
        FoldScores(
            group=fold.group,
            validation_group=fold.validation_group if fold.validation else None,
            frames=int(confusions["fused"][index].sum()),
            accuracy={kind: pooled_accuracy([matrices[index]]) for kind, matrices in confusions.items()},
            choice=choices[index],
        )
        for index, fold in enumerate(folds)
    ]


def _rows(confusion: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in confusion.tolist())


def _span(interval: Interval) -> str:
    return f"{interval.low:.1%} to {interval.high:.1%} (by resampling held-out groups)"
