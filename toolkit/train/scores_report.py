"""An evaluation as Markdown, JSON and pictures that a person would put in a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from toolkit.ethogram import Ethogram
from toolkit.files import atomic_write
from toolkit.report.crossval_picture import draw_behaviour_sweep, draw_confusion, draw_fusion_sweep
from toolkit.report.score_pictures import draw_bout_scores, draw_paired_accuracy, draw_reliability
from toolkit.train.markdown import in_brackets, number, percent, points, points_span, span, table
from toolkit.train.score_parts import FoldScores, PairedDifference
from toolkit.train.scores import REPORT, Evaluation
from toolkit.train.selection import LEAST_COVERAGE, Choice

PUBLISHED = (
    ("Jhuang et al. 2010", 0.93),
    ("Jiang et al. 2017", 0.959),
    ("Nguyen et al. 2019, I3D", 0.969),
    ("Nguyen et al. 2019, R(2+1)D", 0.963),
)
"""Accuracies on the clipped database of Jhuang et al. 2010, as in table 2 of Nguyen et al. 2019."""

_KINDS = {"rgb": "RGB alone", "flow": "flow alone", "fused": "fused", "smoothed": "fused and smoothed"}


def write_pages(folder: Path, evaluation: Evaluation, ethogram: Ethogram) -> None:
    """Write ``report.md`` and its pictures, and last ``report.json``, into an existing folder."""
    _draw(folder, evaluation, ethogram)
    with atomic_write(folder / "report.md") as beside:
        beside.write_text(markdown_of(evaluation))
    with atomic_write(folder / REPORT) as beside:
        beside.write_text(evaluation.model_dump_json(indent=2) + "\n")


def markdown_of(evaluation: Evaluation) -> str:
    """Return the report of one cross-validation."""
    return "\n".join(
        [
            *_head(evaluation),
            *_accuracy(evaluation),
            *published_section({evaluation.config.architecture: evaluation}),
            *_folds(evaluation),
            *_behaviours(evaluation),
            *_sweep(evaluation),
            *_bouts(evaluation),
            *_calibration(evaluation),
            *_chosen(evaluation),
        ]
    )


def published_section(evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Return the comparison with published accuracies (paper, table 2), and what it does not say."""
    clipped = "clipped database of Jhuang et al. 2010, 12 videos"
    rows = [[name, clipped, f"{100 * value:g} %"] for name, value in PUBLISHED]
    for name, evaluation in evaluations.items():
        ours = f"data set {evaluation.dataset_sha256[:12]}, {len(evaluation.folds)} held-out groups"
        rows.append([f"this cross-validation, {name}", ours, percent(evaluation.accuracy["fused"])])
    return [
        "## Beside published accuracies\n",
        table(["method", "data", "accuracy, pooled over frames"], rows),
        "The published figures are those of table 2 of Nguyen et al. 2019. Accuracies on other data than that "
        "database, all 12 videos held out in turn, cannot be compared with them.\n",
    ]


def paired_table(paired: Sequence[PairedDifference]) -> str:
    """Return differences of accuracy per held-out group, in percentage points."""
    rows = [[group, *(points(each.groups[group]) for each in paired)] for group in paired[0].groups]
    rows.append(["mean", *(points(each.mean) for each in paired)])
    if any(each.interval for each in paired):
        rows.append(["95 % interval of the mean", *(points_span(each.interval) for each in paired)])
    names = [f"{_kind(each.one)} minus {_kind(each.other)}" for each in paired]
    return table(["percentage points", *names], rows)


def _head(evaluation: Evaluation) -> list[str]:
    missing = evaluation.missing_groups
    partial = f"**Partial: {len(missing)} folds are missing ({', '.join(missing)}).** " if missing else ""
    without = [fold.group for fold in evaluation.folds if fold.validation_group is None]
    chosen = (
        "Fusion weights, temperature, smoothing, shortest bout and threshold were chosen in each fold on its inner "
        "validation, never on the group that is scored."
        if len(without) < len(evaluation.folds)
        else ""
    )
    if without:
        whose = "No fold" if len(without) == len(evaluation.folds) else f"Of the folds, {', '.join(without)}"
        verb = "has an inner validation" if whose == "No fold" else "have no inner validation"
        chosen += (
            f" {whose} {verb}: the paper's weights (0.4 RGB + 0.6 flow) stand there, temperature 1, no smoothing."
            if len(evaluation.config.streams) > 1
            else f" {whose} {verb}: temperature 1 and no smoothing stand there."
        )
    return [
        f"# Held-out accuracy: {evaluation.config.architecture}\n",
        f"{partial}{evaluation.scheme[0].upper()}{evaluation.scheme[1:]}; {evaluation.frames} test frames. "
        f"{chosen.strip()} Accuracy on hand-picked clips does not predict accuracy on continuous video.\n",
    ]


def _accuracy(evaluation: Evaluation) -> list[str]:
    intervals = evaluation.intervals
    rows = []
    for kind, pooled in evaluation.accuracy.items():
        both = [intervals.accuracy[kind], intervals.mean_accuracy[kind]] if intervals else []
        cells = [percent(pooled), span(both[0])] if both else [percent(pooled)]
        mean = percent(evaluation.mean_accuracy[kind])
        rows.append([_kind(kind), *cells, *([mean, span(both[1])] if both else [mean])])
    blank = [""] * (3 if intervals else 1)
    rows += [[f"baseline: {name}", percent(value), *blank] for name, value in evaluation.baselines.items()]
    interval = ["95 % interval"] if intervals else []
    kappa = "undefined" if evaluation.kappa is None else f"{evaluation.kappa:.3f}"
    note = (
        "Intervals are percentiles of 2,000 resamples of the held-out groups, never of frames."
        if intervals
        else f"{len(evaluation.folds)} held-out groups are too few for an interval; their values are below."
    )
    return [
        "## Accuracy\n",
        table(["", "pooled over frames", *interval, "mean over held-out groups", *interval], rows),
        f"Cohen's kappa of the fused labels {kappa}{in_brackets(intervals.kappa if intervals else None)}, macro F1 "
        f"{evaluation.macro_f1:.3f}{in_brackets(intervals.macro_f1 if intervals else None)}. {note}\n",
    ]


def _folds(evaluation: Evaluation) -> list[str]:
    kinds = list(evaluation.accuracy)
    rows = [[f.group, str(f.frames), *(percent(f.accuracy[kind]) for kind in kinds)] for f in evaluation.folds]
    parts = ["## Held-out groups\n", table(["group", "frames", *map(_kind, kinds)], rows)]
    if evaluation.paired:
        parts += [
            "Paired by group, never by frame:\n",
            paired_table(evaluation.paired),
            "![Accuracy of each held-out group](paired.png)\n",
        ]
    return parts


def _behaviours(evaluation: Evaluation) -> list[str]:
    intervals = evaluation.intervals
    rows = []
    for name in evaluation.behaviours:
        values = [number(column[name]) for column in (evaluation.precision, evaluation.recall, evaluation.f1)]
        bounds = intervals.f1[name] if intervals else None
        rows.append(
            [name, *values, *([f"{bounds.low:.3f} to {bounds.high:.3f}" if bounds else "-"] if intervals else [])]
        )
    pictures = [f"![Confusion matrix, {stream}](confusion_{stream}.png)\n" for stream in evaluation.stream_confusions]
    header = ["behaviour", "precision", "recall", "F1", *(["95 % interval of F1"] if intervals else [])]
    return [
        "## Behaviours (fused)\n",
        table(header, rows),
        "![Confusion matrix, fused](confusion.png)\n",
        *(pictures if len(pictures) > 1 else []),
    ]


def _sweep(evaluation: Evaluation) -> list[str]:
    sweep = evaluation.sweep
    if sweep is None:
        return []
    return [
        "## Fusion sweep\n",
        "Optimistic: these weights are tried on the test videos themselves, as in the paper's figures 7 and 10, and "
        f"none of them was chosen. The figure to report is {percent(evaluation.accuracy['fused'])}, with the weights "
        "chosen without the test videos.\n",
        table(
            ["flow weight", *(f"{weight:.1f}" for weight in sweep.flow_weights)],
            [
                ["accuracy", *map(percent, sweep.accuracy)],
                *([f"recall: {name}", *map(percent, values)] for name, values in sweep.recall.items()),
            ],
        ),
        "![Fusion sweep](fusion_sweep.png)\n",
        "![Fusion sweep of each behaviour](fusion_sweep_behaviours.png)\n",
    ]


def _bouts(evaluation: Evaluation) -> list[str]:
    names = {"fused": "runs of equal fused labels", "processed": "smoothed, short bouts dropped"}
    rows = []
    for key, bouts in evaluation.bouts.items():
        counts = f"{sum(bouts.predicted.values())} / {sum(bouts.true.values())}"
        rows.append([f"all, {names[key]}", counts, *map(number, bouts.f1)])
    bouts = evaluation.bouts["processed"]
    for name, values in bouts.behaviours.items():
        rows.append([name, f"{bouts.predicted[name]} / {bouts.true[name]}", *map(number, values)])
    cut = (
        ""
        if evaluation.behaviour_changes
        else " **These videos are clips cut to one behaviour each: where a bout starts and stops is given, nothing was "
        "smoothed or dropped, and these figures say nothing of continuous video.**"
    )
    return [
        "## Bouts\n",
        "F1 of bouts by the smallest intersection over union that counts as found. No bout crosses a gap in the "
        f"evaluated frames. Single behaviours are those of the processed bouts.{cut}\n",
        table(["bouts", "predicted / true", *(f"IoU {threshold:g}" for threshold in bouts.thresholds)], rows),
        "![F1 of bouts](bouts.png)\n",
    ]


def _calibration(evaluation: Evaluation) -> list[str]:
    rows = [
        [f"{name} temperature", percent(c.expected_calibration_error), number(c.negative_log_likelihood)]
        for name, c in evaluation.calibration.items()
    ]
    certainty = evaluation.certainty
    if certainty.folds:
        text = (
            f"With the thresholds of {certainty.folds} of {len(evaluation.folds)} folds, chosen so that "
            f"{percent(certainty.target)} of the kept labels are right on the inner validation, "
            f"{percent(certainty.coverage)} of those folds' test frames keep their label, of which "
            f"{percent(certainty.accuracy)} are right; the others are uncertain."
        )
    else:
        text = (
            f"No fold has a threshold of certainty: nothing was chosen, or {percent(certainty.target)} right labels "
            f"were not reached with at least {percent(LEAST_COVERAGE)} of the frames."
        )
    return [
        "## Confidence\n",
        table(["fused probabilities", "expected calibration error, 15 bins", "negative log-likelihood, nats"], rows),
        f"{text}\n",
        "![Reliability](reliability.png)\n",
    ]


def _chosen(evaluation: Evaluation) -> list[str]:
    rows = [_choice_row(fold.group, _validated(fold), fold.choice) for fold in evaluation.folds]
    rows.append(_choice_row("for the bundle", "all held-out groups, pooled", evaluation.chosen))
    header = [
        "held out",
        "chosen on",
        "frames",
        "weights",
        "temperature",
        "smoothing",
        "shortest bout",
        "uncertain below",
    ]
    return [
        "## What was chosen\n",
        table(header, rows),
        "The scores above are those of each fold's own choice. That for the bundle is made once more on all held-out "
        "predictions, since the exported networks are trained on every video and have none left to choose on; no score "
        "here is its score.\n",
    ]


def _choice_row(name: str, chosen_on: str, choice: Choice) -> list[str]:
    weights = ", ".join(f"{stream} {weight:g}" for stream, weight in choice.fusion.weights.items())
    threshold = "-" if choice.uncertain_below is None else f"{choice.uncertain_below:.2f}"
    return [
        *(name, chosen_on, str(choice.frames), weights, f"{choice.fusion.temperature:.2f}"),
        *(f"{choice.smoothing_s:g} s", f"{choice.min_bout_s:g} s", threshold),
    ]


def _validated(fold: FoldScores) -> str:
    return fold.validation_group or "nothing"


def _draw(folder: Path, evaluation: Evaluation, ethogram: Ethogram) -> None:
    draw_confusion(np.array(evaluation.confusion), ethogram, folder / "confusion.png", "fused")
    if len(evaluation.stream_confusions) > 1:
        for stream, confusion in evaluation.stream_confusions.items():
            draw_confusion(np.array(confusion), ethogram, folder / f"confusion_{stream}.png", _kind(stream))
        draw_paired_accuracy(
            {f.group: {_kind(kind): value for kind, value in f.accuracy.items()} for f in evaluation.folds},
            folder / "paired.png",
        )
    if (sweep := evaluation.sweep) is not None:
        draw_fusion_sweep(sweep.flow_weights, sweep.accuracy, evaluation.accuracy["fused"], folder / "fusion_sweep.png")
        draw_behaviour_sweep(sweep.flow_weights, sweep.recall, folder / "fusion_sweep_behaviours.png")
    draw_reliability(
        {
            f"{name} temperature": (c.frames, c.accuracy, c.expected_calibration_error)
            for name, c in evaluation.calibration.items()
        },
        folder / "reliability.png",
    )
    names = {"fused": "runs of equal labels", "processed": "smoothed, short bouts dropped"}
    draw_bout_scores(
        evaluation.bouts["fused"].thresholds,
        {names[key]: bouts.f1 for key, bouts in evaluation.bouts.items()},
        folder / "bouts.png",
    )


def _kind(kind: str) -> str:
    return _KINDS.get(kind, kind)
