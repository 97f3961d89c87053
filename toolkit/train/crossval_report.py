"""What `toolkit crossval-report` does: stored predictions to pages, without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from toolkit.errors import InputError
from toolkit.files import atomic_write, file_name
from toolkit.report.score_pictures import draw_paired_accuracy
from toolkit.train.comparison import TOGETHER, Comparison, compare
from toolkit.train.markdown import percent, span, table
from toolkit.train.scores import REPORT, Evaluation, write_report
from toolkit.train.scores_report import paired_table, published_section
from toolkit.train.stored import StoredCrossValidation, load_crossval


@dataclass(frozen=True)
class CrossvalReport:
    """What was written."""

    page: Path
    evaluations: dict[str, Evaluation]
    comparisons: tuple[Comparison, ...]

    def lines(self) -> list[str]:
        """Return the outcome as a few lines of text."""
        lines = []
        for name, evaluation in self.evaluations.items():
            lines += [f"{name}: {line}" if len(self.evaluations) > 1 else line for line in evaluation.lines()]
        return lines + [
            f"{' + '.join(c.names)}: all networks fused {c.accuracy[TOGETHER]:.1%} of {c.frames} frames"
            for c in self.comparisons
        ]


def report_crossvals(crossvals: Sequence[Path], out: Path, *, partial: bool = False) -> CrossvalReport:
    """Score the stored predictions of cross-validations, and write Markdown, JSON and pictures into a folder.

    One cross-validation's report lies in `out`; of several, each lies in a folder of its name there, and a report that
    compares them in `out`. A file that is there is replaced.

    Parameters
    ----------
    crossvals
        Folders of `toolkit crossval`.
    partial
        Report unfinished ones too, marked as such.

    Raises
    ------
    InputError
        If a folder is damaged or unfinished, or several are of other data, behaviours or folds.
    """
    if not crossvals:
        raise InputError("expected the folder of at least one cross-validation, found none.")
    if len({path.resolve() for path in crossvals}) < len(crossvals):
        raise InputError("expected different folders, found the same cross-validation twice.")
    stored = [load_crossval(path, partial=partial) for path in crossvals]
    named = dict(zip(_names(stored), stored, strict=True))
    evaluations = {name: each.evaluation() for name, each in named.items()}
    # All of them before anything is written, so that a refusal leaves no half of a report.
    comparisons = tuple(
        compare((one, named[one], evaluations[one]), (other, named[other], evaluations[other]))
        for one, other in combinations(named, 2)
    )
    out.mkdir(parents=True, exist_ok=True)
    if len(named) == 1:
        ((name, evaluation),) = evaluations.items()
        write_report(out, evaluation, named[name].ethogram)
    else:
        for name, evaluation in evaluations.items():
            (out / file_name(name)).mkdir(exist_ok=True)
            write_report(out / file_name(name), evaluation, named[name].ethogram)
        _write_comparison(out, evaluations, comparisons)
    return CrossvalReport(out / "report.md", evaluations, comparisons)


def _names(stored: Sequence[StoredCrossValidation]) -> list[str]:
    """Return the architectures, or the folders' names where two have the same one, or these numbered."""
    architectures = [each.config.architecture for each in stored]
    folders = [file_name(each.folder.resolve().name) for each in stored]
    for names in (architectures, folders):
        if len(set(names)) == len(names) and TOGETHER not in names:
            return names
    return [f"{number}-{name}" for number, name in enumerate(folders, start=1)]


def _write_comparison(out: Path, evaluations: dict[str, Evaluation], comparisons: Sequence[Comparison]) -> None:
    pictures = ["paired.png"] if len(comparisons) == 1 else [f"paired_{i}.png" for i in range(1, len(comparisons) + 1)]
    for comparison, picture in zip(comparisons, pictures, strict=True):
        draw_paired_accuracy(
            {
                group: {_label(name, comparison): value for name, value in values.items()}
                for group, values in comparison.groups.items()
            },
            out / picture,
        )
    sections = [_section(comparison, picture) for comparison, picture in zip(comparisons, pictures, strict=True)]
    with atomic_write(out / "report.md") as beside:
        beside.write_text("\n".join([*_head(evaluations), *(line for section in sections for line in section)]))
    content = {
        "evaluations": {name: evaluation.model_dump(mode="json") for name, evaluation in evaluations.items()},
        "comparisons": [comparison.model_dump(mode="json") for comparison in comparisons],
    }
    with atomic_write(out / REPORT) as beside:
        beside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _head(evaluations: dict[str, Evaluation]) -> list[str]:
    rows = [
        [
            f"[{name}]({file_name(name)}/report.md)",
            str(e.frames),
            percent(e.accuracy["fused"]),
            span(e.intervals.accuracy["fused"] if e.intervals else None),
            percent(e.mean_accuracy["fused"]),
            f"{len(e.folds)}" + (f", {len(e.missing_groups)} missing" if e.missing_groups else ""),
        ]
        for name, e in evaluations.items()
    ]
    partial = any(evaluation.missing_groups for evaluation in evaluations.values())
    return [
        "# Cross-validations compared\n",
        *(["**Partial: folds are missing.**\n"] if partial else []),
        "Fused streams, by the weights chosen in each fold without its held-out group.\n",
        table(["", "frames", "accuracy", "95 % interval", "mean over held-out groups", "folds"], rows),
        *published_section(evaluations),
    ]


def _section(comparison: Comparison, picture: str) -> list[str]:
    accuracy, mean, intervals = comparison.accuracy, comparison.mean_accuracy, comparison.intervals
    rows = [
        [
            _label(name, comparison),
            percent(value),
            span(intervals.accuracy[name] if intervals else None),
            percent(mean[name]),
        ]
        for name, value in accuracy.items()
    ]
    networks = list(next(iter(comparison.weights.values())))
    weights = [
        [group, str(comparison.validation_frames[group]), *(f"{each[network]:g}" for network in networks)]
        for group, each in comparison.weights.items()
    ]
    paired = [
        p.model_copy(update={"one": _label(p.one, comparison), "other": _label(p.other, comparison)})
        for p in comparison.paired
    ]
    return [
        f"## {' and '.join(comparison.names)}\n",
        f"On the {comparison.frames} frames that both evaluated. Fusing the networks of both is not in the paper; "
        "their weights were chosen in each fold on its inner validation.\n",
        table(["", "accuracy", "95 % interval", "mean over held-out groups"], rows),
        "Paired by held-out group, never by frame:\n",
        paired_table(paired),
        f"![Accuracy of each held-out group]({picture})\n",
        table(["held out", "frames chosen on", *networks], weights),
    ]


def _label(name: str, comparison: Comparison) -> str:
    return " + ".join(comparison.names) if name == TOGETHER else name
