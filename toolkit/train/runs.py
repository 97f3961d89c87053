"""A training from data set to run folder: what `toolkit train` does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from toolkit.annotations import AnnotatedDataset
from toolkit.errors import InputError, raise_faults
from toolkit.files import atomic_directory, sole_process
from toolkit.flow.store import Preparation
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import PreparedDataset, Split, check_behaviours, prepare_dataset
from toolkit.train.distributed import Processes, join, processes_of
from toolkit.train.evaluation import predict_videos
from toolkit.train.finetune import choose_device, train_stream
from toolkit.train.golden import write_golden_frames
from toolkit.train.initial import with_weights_preprocessing
from toolkit.train.metrics import EpochMetrics, read_metrics
from toolkit.train.predictions import PREDICTIONS, VALIDATION, FoldPredictions, save_predictions
from toolkit.train.progress import OnProgress, silent
from toolkit.train.run_folder import finish_stream, load_stream, split_content
from toolkit.train.scores import Evaluation, evaluation_of, write_report
from toolkit.train.transitions import write_transitions
from toolkit.train.unfinished import check_same, open_unfinished

HELD_OUT = "held_out"


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
    validation_groups: tuple[str, ...] = (),
    cache: Path | None = None,
    workers: int = 1,
    loaders: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> RunSummary:
    """Train the configured streams from a data set and write a run folder.

    Started by `torchrun`, the processes train together, and the first of them writes.

    Parameters
    ----------
    run
        Folder to write ``<stream>/`` into. Streams appear one by one, each whole or not at all.
    held_out_groups
        Groups whose videos take no part in training; afterwards they are evaluated, into ``RUN/held_out/``.
    validation_groups
        Groups whose videos are not trained on but predicted after each epoch; ``best.pt`` is chosen on them.
    cache
        Folder of the prepared videos; None takes ``.prepared`` in the data set's folder.
    workers
        Processes that prepare videos.
    loaders
        Processes that make clips ahead of the network; 0 makes them between the steps.
    resume
        Keep streams that are finished, and go on with one that was interrupted.
    overwrite
        Replace streams that the run folder already has, and begin anew what was interrupted.

    Raises
    ------
    InputError
        If the run folder already holds a stream, or an interrupted one, and neither `resume` nor `overwrite` is set;
        or if another process trains into it.
    ConfigError
        If what is to be resumed was begun otherwise; every differing key is named.
    DatasetError
        If a group does not exist, or a behaviour is absent from the training videos.
    VideoError
        With every video that cannot be used.
    """
    if not resume:
        check_new_run(run, config.streams, overwrite=overwrite)
    config = with_weights_preprocessing(config)
    processes = processes_of()
    on_progress = (on_progress if processes.is_first else None) or silent
    data = prepare_dataset(dataset, config, cache=cache, workers=workers, on_progress=on_progress)
    split = data.split(held_out_groups, validation_groups)
    without = [*held_out_groups, *validation_groups]
    part = "the data set" if not without else f"the training part (without {', '.join(without)})"
    check_behaviours(split.training, data.ethogram, part)
    held_out = None
    join(processes, choose_device(config, processes))
    if processes.is_first:
        # Before the hours of training, so that a data set without a golden sample is found out at once.
        write_golden_frames(run, data, split.training, config)
        write_transitions(run, data, split.training, config)
    metrics = train_run(
        data,
        config,
        run,
        split,
        config.streams,
        resume=resume,
        overwrite=overwrite,
        loaders=loaders,
        processes=processes,
        on_progress=on_progress,
    )
    if processes.is_first:
        # What an earlier training into this folder said of its held-out groups is no longer true.
        shutil.rmtree(run / HELD_OUT, ignore_errors=True)
        held_out = _evaluate(data, config, run, split, on_progress) if held_out_groups else None
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
    split: Split,
    streams: Sequence[Stream],
    *,
    resume: bool,
    overwrite: bool,
    loaders: int,
    processes: Processes,
    on_progress: OnProgress,
) -> dict[Stream, tuple[EpochMetrics, ...]]:
    """Train streams from prepared videos and write their folders."""
    metrics = {}
    for stream in streams:
        settings = config.of(stream)
        with _alone(run, stream, processes):
            if resume and (run / stream).exists():
                metrics[stream] = _finished(run / stream, stream, settings, split_content(data, split))
                continue
            folder, state = open_unfinished(
                run,
                stream,
                settings,
                split_content(data, split),
                resume=resume,
                overwrite=overwrite,
                processes=processes,
            )
            trained = train_stream(
                split.training,
                split.validation,
                len(data.ethogram),
                stream,
                settings,
                folder,
                state,
                loaders=loaders,
                processes=processes,
                on_progress=on_progress,
            )
            if processes.is_first:
                videos, epochs = len(split.training), len(trained.metrics)
                finish_stream(folder, stream, trained.network, settings, data, videos, epochs, trained.weights)
            metrics[stream] = trained.metrics
    return metrics


@contextmanager
def _alone(run: Path, stream: Stream, processes: Processes) -> Iterator[None]:
    """Keep other trainings out of the stream's folders; processes that train together are one training."""

    def refuse(holder: str, _waited_s: float) -> None:
        raise InputError(
            f"{run / stream} is being trained by {holder}. Wait for it, stop it, or choose another run folder."
        )

    with sole_process(run / f".{stream}.lock", refuse) if processes.is_first else nullcontext():
        yield


def _finished(
    folder: Path, stream: Stream, config: TrainConfig, split: Mapping[str, object]
) -> tuple[EpochMetrics, ...]:
    """Return the metrics of a stream that need not be trained again."""
    check_same(folder, config, split)
    load_stream(folder, stream)
    return read_metrics(folder)


def _evaluate(
    data: PreparedDataset, config: TrainConfig, run: Path, split: Split, on_progress: OnProgress
) -> Evaluation:
    """Evaluate the streams trained now on the held-out groups, and write predictions and report.

    Fusion weight, temperature and the rest are chosen on the validation groups where there are any.
    """
    networks = {stream: load_stream(run / stream, stream).network for stream in config.streams}
    parts = [*split.validation, *split.held_out]
    predictions = predict_videos(networks, split.training, parts, config, on_progress)
    groups = sorted({video.group for video in split.held_out})
    held_out = [video for video in predictions if video.group in groups]
    validation = [video for video in predictions if video.group not in groups]
    chosen_on = ", ".join(sorted({video.group for video in validation})) or None
    folds = [
        FoldPredictions(group, chosen_on, tuple(validation), tuple(v for v in held_out if v.group == group))
        for group in groups
    ]
    scheme = f"trained without {', '.join(groups)}"
    evaluation = evaluation_of(folds, data.ethogram, config, scheme=scheme, dataset_sha256=data.sha256)
    with atomic_directory(run / HELD_OUT, overwrite=True) as folder:
        for name, part in ((PREDICTIONS, held_out), (VALIDATION, validation)):
            if part:
                (folder / name).mkdir()
                save_predictions(folder / name, part)
        write_report(folder, evaluation, data.ethogram)
    return evaluation
