"""What stored predictions come to: accuracies, the fusion sweep, baselines; and the report that says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from toolkit.bundle import Scores
from toolkit.ethogram import Ethogram
from toolkit.files import atomic_write
from toolkit.fusion import Fusion, fusion_for
from toolkit.preprocess import Stream
from toolkit.scoring import confusion_matrix, frame_scores, mean_accuracy, pooled_accuracy
from toolkit.train.config import TrainConfig
from toolkit.train.evaluation import VideoPredictions

REPORT = "report.json"

SWEEP = tuple(round(0.1 * step, 1) for step in range(11))
"""Flow's weights in the paper's figure 7."""

Labeller = Callable[[VideoPredictions], NDArray[np.integer]]


class FoldScores(BaseModel):
    """Accuracies on one held-out group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    frames: int
    accuracy: dict[str, float]
    """``rgb``, ``flow``, ``fused``."""


class FusionSweep(BaseModel):
    """Accuracy by fusion weight on the test videos themselves: optimistic, never used to choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow_weights: tuple[float, ...]
    accuracy: tuple[float, ...]
    """Pooled accuracy at each weight."""
    recall: dict[str, tuple[float | None, ...]]
    """Per behaviour, the fraction of its frames found at each weight; None where no test frame has it."""


class Evaluation(BaseModel):
    """Scores of held-out videos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: str
    """How the test videos were held out."""
    dataset_sha256: str
    config: TrainConfig
    behaviours: tuple[str, ...]
    frames: int
    """Test frames, pooled over folds."""
    fusion: Fusion
    """Chosen beforehand: the paper's."""
    accuracy: dict[str, float]
    """Fraction of right frames, pooled over folds: ``rgb``, ``flow``, ``fused``."""
    mean_accuracy: dict[str, float]
    """Mean of the held-out groups' accuracies."""
    baselines: dict[str, float]
    """Pooled accuracy of ``chance`` (1 / K), ``majority`` and ``nearest mean colour``."""
    kappa: float
    """Cohen's kappa of the fused labels."""
    macro_f1: float
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    f1: dict[str, float | None]
    """Fused, per behaviour; None where it is undefined."""
    confusion: tuple[tuple[int, ...], ...]
    """(K, K) fused, rows are the truth."""
    folds: tuple[FoldScores, ...]
    sweep: FusionSweep | None
    """None with one stream."""

    def scores(self) -> Scores:
        """Return what a bundle's manifest says of them."""
        return Scores(
            scheme=self.scheme,
            accuracy=self.accuracy,
            f1={name: value for name, value in self.f1.items() if value is not None},
            kappa=self.kappa,
            frames=self.frames,
        )

    def lines(self) -> list[str]:
        """Return the scores as a few lines of text."""
        percent = {name: f"{value:.1%}" for name, value in self.accuracy.items()}
        return [
            f"{self.scheme}, {self.frames} test frames",
            "accuracy: " + ", ".join(f"{name} {value}" for name, value in percent.items()),
            "baselines: " + ", ".join(f"{name} {value:.1%}" for name, value in self.baselines.items()),
            f"fused: mean over held-out groups {self.mean_accuracy['fused']:.1%}, macro F1 {self.macro_f1:.3f}, "
            f"Cohen's kappa {self.kappa:.3f}",
        ]


def evaluation_of(
    predictions: Sequence[VideoPredictions],
    ethogram: Ethogram,
    config: TrainConfig,
    *,
    scheme: str,
    dataset_sha256: str,
) -> Evaluation:
    """Score predictions of held-out videos."""
    fusion = fusion_for(config.streams)
    labellers = _labellers(config.streams, fusion)
    groups = sorted({video.group for video in predictions})
    by_group = {
        name: [_confusion([v for v in predictions if v.group == group], label, ethogram) for group in groups]
        for name, label in labellers.items()
    }
    fused = np.sum(by_group["fused"], axis=0)
    scores = frame_scores(fused)
    baselines = {
        "majority": pooled_accuracy([_confusion(predictions, lambda video: video.majority, ethogram)]),
        "nearest mean colour": pooled_accuracy([_confusion(predictions, lambda video: video.mean_colour, ethogram)]),
    }
    folds = [
        FoldScores(
            group=group,
            frames=int(by_group["fused"][index].sum()),
            accuracy={name: pooled_accuracy([matrices[index]]) for name, matrices in by_group.items()},
        )
        for index, group in enumerate(groups)
    ]
    return Evaluation(
        scheme=scheme,
        dataset_sha256=dataset_sha256,
        config=config,
        behaviours=ethogram.names,
        frames=scores.frames,
        fusion=fusion,
        accuracy={name: pooled_accuracy(matrices) for name, matrices in by_group.items()},
        mean_accuracy={name: mean_accuracy(matrices) for name, matrices in by_group.items()},
        baselines={"chance": 1 / len(ethogram), **baselines},
        kappa=scores.kappa,
        macro_f1=scores.macro_f1,
        precision=_named(scores.precision, ethogram),
        recall=_named(scores.recall, ethogram),
        f1=_named(scores.f1, ethogram),
        confusion=tuple(tuple(row) for row in fused.tolist()),
        folds=tuple(folds),
        sweep=_sweep(predictions, ethogram) if len(config.streams) == 2 else None,
    )


def write_report(folder: Path, evaluation: Evaluation, ethogram: Ethogram) -> None:
    """Write ``report.md`` and its pictures, and last ``report.json``, into an existing folder."""
    from toolkit.report.crossval_picture import draw_confusion, draw_fusion_sweep

    draw_confusion(np.array(evaluation.confusion), ethogram, folder / "confusion.png")
    if (sweep := evaluation.sweep) is not None:
        draw_fusion_sweep(sweep.flow_weights, sweep.accuracy, sweep.recall, folder / "fusion_sweep.png")
    with atomic_write(folder / "report.md") as beside:
        beside.write_text(_markdown(evaluation))
    with atomic_write(folder / REPORT) as beside:
        beside.write_text(evaluation.model_dump_json(indent=2) + "\n")


def _labellers(streams: Sequence[Stream], fusion: Fusion) -> dict[str, Labeller]:
    labellers: dict[str, Labeller] = {stream: _stream_labeller(stream) for stream in streams}
    return {**labellers, "fused": lambda video: video.fused(fusion)}


def _stream_labeller(stream: Stream) -> Labeller:
    return lambda video: video.predicted(stream)


def _confusion(predictions: Sequence[VideoPredictions], label: Labeller, ethogram: Ethogram) -> NDArray[np.int64]:
    truth = np.concatenate([video.labels for video in predictions])
    return confusion_matrix(truth, np.concatenate([label(video) for video in predictions]), len(ethogram))


def _sweep(predictions: Sequence[VideoPredictions], ethogram: Ethogram) -> FusionSweep:
    matrices = []
    for weight in SWEEP:
        labeller = _labellers((), Fusion(weights={"rgb": 1 - weight, "flow": weight}))["fused"]
        matrices.append(_confusion(predictions, labeller, ethogram))
    recalls = [_named(frame_scores(matrix).recall, ethogram) for matrix in matrices]
    return FusionSweep(
        flow_weights=SWEEP,
        accuracy=tuple(pooled_accuracy([matrix]) for matrix in matrices),
        recall={name: tuple(recall[name] for recall in recalls) for name in ethogram.names},
    )


def _named(values: NDArray[np.float64], ethogram: Ethogram) -> dict[str, float | None]:
    return {
        name: float(value) if np.isfinite(value) else None for name, value in zip(ethogram.names, values, strict=True)
    }


def _markdown(evaluation: Evaluation) -> str:
    weights = ", ".join(f"{stream} {weight:g}" for stream, weight in evaluation.fusion.weights.items())
    names = list(evaluation.accuracy)
    parts = [
        f"# Held-out accuracy: {evaluation.config.architecture}\n",
        f"{evaluation.scheme[0].upper()}{evaluation.scheme[1:]}; {evaluation.frames} test frames. "
        f"Fusion weights chosen beforehand: {weights}, on {evaluation.fusion.rule}. "
        "Accuracy on hand-picked clips does not predict accuracy on continuous video.\n",
        "## Accuracy\n",
        _table(
            ["", "pooled over frames", "mean over held-out groups"],
            [[name, _percent(evaluation.accuracy[name]), _percent(evaluation.mean_accuracy[name])] for name in names]
            + [[f"baseline: {name}", _percent(value), ""] for name, value in evaluation.baselines.items()],
        ),
        f"Cohen's kappa of the fused labels {evaluation.kappa:.3f}, macro F1 {evaluation.macro_f1:.3f}.\n",
        "## Held-out groups\n",
        _table(
            ["group", "frames", *names],
            [[f.group, str(f.frames), *(_percent(f.accuracy[n]) for n in names)] for f in evaluation.folds],
        ),
        "## Behaviours (fused)\n",
        _table(
            ["behaviour", "precision", "recall", "F1"],
            [
                [name, *(_number(column[name]) for column in (evaluation.precision, evaluation.recall, evaluation.f1))]
                for name in evaluation.behaviours
            ],
        ),
        "![Confusion matrix](confusion.png)\n",
    ]
    if evaluation.sweep is not None:
        weight_row = [f"{weight:.1f}" for weight in evaluation.sweep.flow_weights]
        parts += [
            "## Fusion sweep\n",
            "Optimistic: these weights are tried on the test videos themselves, and none of them was chosen.\n",
            _table(["flow weight", *weight_row], [["accuracy", *map(_percent, evaluation.sweep.accuracy)]]),
            "![Fusion sweep](fusion_sweep.png)\n",
        ]
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
