"""A training from data set to run folder: what `toolkit train` does."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.annotations import AnnotatedDataset
from toolkit.errors import InputError, raise_faults
from toolkit.files import atomic_directory
from toolkit.flow.store import Preparation
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import PreparedDataset, check_behaviours, prepare_dataset
from toolkit.train.evaluation import predict_videos
from toolkit.train.finetune import train_stream
from toolkit.train.golden import write_golden_frames
from toolkit.train.initial import with_weights_preprocessing
from toolkit.train.predictions import FoldPredictions, save_predictions
from toolkit.train.progress import OnProgress, silent
from toolkit.train.run_folder import EpochMetrics, load_stream, write_stream
from toolkit.train.scores import Evaluation, evaluation_of, write_report

HELD_OUT = "held_out"
PREDICTIONS = "predictions"


@dataclass(frozen=True)
class RunSummary:
    """What a training came to."""

    run: Path
    metrics: dict[Stream, tuple[EpochMetrics, ...]]
    """Per stream, a row per epoch."""
    preparation: Preparation
    """What preparing the videos took."""
    config: TrainConfig
    held_out: Evaluation | None
    """Scores on the held-out groups; None where nothing was held out."""

    def lines(self) -> list[str]:
        """Return the outcome as a few lines of text."""
        trained = [
            f"{stream}: {len(rows)} epochs in {sum(row.seconds for row in rows):.1f} s, last one: loss "
            f"{rows[-1].loss:.3f}, training accuracy {rows[-1].accuracy:.1%}, {rows[-1].clips_per_s:.0f} clips/s"
            for stream, rows in self.metrics.items()
        ]
        return [
            preparation_line(self.preparation, self.config),
            *trained,
            *(self.held_out.lines() if self.held_out else []),
        ]


def train(
    dataset: AnnotatedDataset,
    config: TrainConfig,
    run: Path,
    *,
    held_out_groups: tuple[str, ...] = (),
    cache: Path | None = None,
    workers: int = 1,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> RunSummary:
    """Train the configured streams from a data set and write a run folder.

    Parameters
    ----------
    run
        Folder to write ``<stream>/`` into. Streams appear one by one, each whole or not at all.
    held_out_groups
        Groups whose videos take no part in training; afterwards they are evaluated, into ``RUN/held_out/``.
    cache
        Folder of the prepared videos; None takes ``.prepared`` in the data set's folder.
    workers
        Processes that prepare videos.
    overwrite
        Replace streams that the run folder already has.

    Raises
    ------
    InputError
        If the run folder already holds a stream and `overwrite` is false.
    DatasetError
        If a group does not exist, or a behaviour is absent from the training videos.
    VideoError
        With every video that cannot be used.
    """
    check_new_run(run, config.streams, overwrite=overwrite)
    config = with_weights_preprocessing(config)
    on_progress = on_progress or silent
    data = prepare_dataset(dataset, config, cache=cache, workers=workers, on_progress=on_progress)
    part = "the data set" if not held_out_groups else f"the training part (without {', '.join(held_out_groups)})"
    training, _ = data.split(held_out_groups)
    check_behaviours(training, data.ethogram, part)
    # Before the hours of training, so that a data set without a golden sample is found out at once.
    write_golden_frames(run, data, training, config)
    metrics = train_run(data, config, run, held_out_groups, overwrite=overwrite, on_progress=on_progress)
    # What an earlier training into this folder said of its held-out groups is no longer true.
    shutil.rmtree(run / HELD_OUT, ignore_errors=True)
    held_out = _evaluate(data, config, run, held_out_groups, on_progress) if held_out_groups else None
    return RunSummary(run, metrics, data.preparation, config, held_out)


def preparation_line(preparation: Preparation, config: TrainConfig) -> str:
    """Return one line on what preparing the videos took."""
    if preparation.computed == 0:
        return f"frames and flow: all {len(preparation.videos)} videos were prepared before"
    videos = f"{preparation.computed} of {len(preparation.videos)} videos in {preparation.elapsed_s:.1f} s"
    flow = f", {preparation.pairs_per_s:.1f} flow pairs/s ({config.flow} parameters)" if preparation.pairs else ""
    return f"frames and flow: {videos}{flow}, {preparation.real_time_factor:.2f} times real time"


def check_new_run(run: Path, streams: Sequence[Stream], *, overwrite: bool) -> None:
    """Raise InputError if the run folder already holds one of the streams and may not be overwritten."""
    faults = [f"{run / stream} exists" for stream in streams if (run / stream).exists()]
    if not overwrite:
        raise_faults(InputError, "Choose another run folder, or pass --overwrite to replace these streams", faults)


def train_run(
    data: PreparedDataset,
    config: TrainConfig,
    run: Path,
    held_out_groups: Collection[str],
    *,
    overwrite: bool,
    on_progress: OnProgress,
) -> dict[Stream, tuple[EpochMetrics, ...]]:
    """Train the configured streams from prepared videos and write their folders."""
    metrics = {}
    for stream in config.streams:
        with atomic_directory(run / stream, overwrite=overwrite) as folder:
            split = data.split(held_out_groups)
            settings = config.of(stream)
            network, rows, weights = train_stream(split[0], data, stream, settings, on_progress)
            write_stream(folder, stream, network, settings, data, split, rows, weights)
        metrics[stream] = tuple(rows)
    return metrics


def _evaluate(
    data: PreparedDataset, config: TrainConfig, run: Path, groups: tuple[str, ...], on_progress: OnProgress
) -> Evaluation:
    """Evaluate the streams trained now on the held-out groups, and write predictions and report."""
    training, held_out = data.split(groups)
    networks = {stream: load_stream(run / stream, stream).network for stream in config.streams}
    predictions = predict_videos(networks, training, held_out, config, on_progress)
    evaluation = evaluation_of(
        [FoldPredictions(g, None, (), tuple(v for v in predictions if v.group == g)) for g in groups],
        data.ethogram,
        config,
        scheme=f"trained without {', '.join(groups)}",
        dataset_sha256=data.sha256,
    )
    with atomic_directory(run / HELD_OUT, overwrite=True) as folder:
        (folder / PREDICTIONS).mkdir()
        save_predictions(folder / PREDICTIONS, predictions)
        write_report(folder, evaluation, data.ethogram)
    return evaluation
