"""The folds of a cross-validation: which groups each learns from, chooses on and is tested on, and how one is run.

A fold is a run folder with the networks' predictions beside its streams. Its parts can be made one after another here,
or spread over a cluster: each appears whole or not at all, and an interrupted one goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import DatasetError
from toolkit.files import atomic_directory, atomic_write, file_name
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import PreparedDataset, Split, check_behaviours
from toolkit.train.distributed import Processes
from toolkit.train.evaluation import predict_videos
from toolkit.train.predictions import FOLD, FOLDS, PREDICTIONS, VALIDATION, save_predictions
from toolkit.train.progress import OnProgress
from toolkit.train.run_folder import load_run
from toolkit.train.runs import train_run


@dataclass(frozen=True)
class Fold:
    """One group held out."""

    number: int
    """From 1."""
    group: str
    """Held out: nothing is learnt from it or chosen on it."""
    validation_group: str | None
    """Not trained on; what is chosen is chosen on it. None: nothing is chosen."""
    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether its predictions are complete."""
        return (self.folder / FOLD).is_file()

    def split(self, data: PreparedDataset) -> Split:
        """Return the videos by what they are for."""
        return data.split([self.group], [self.validation_group] if self.validation_group is not None else [])


def folds_of(data: PreparedDataset, config: TrainConfig, out: Path) -> list[Fold]:
    """Return a fold per group; its inner validation is the next group by name, the first after the last.

    Raises
    ------
    DatasetError
        If there are too few groups, or a behaviour is absent from a fold's training part.
    """
    groups = data.groups
    if config.inner_validation and len(groups) < 3:
        raise DatasetError(
            f"{data.root}: {len(groups)} groups, and with inner validation a fold needs three: one to learn from, one "
            "to choose on, one held out. Add videos, or set inner_validation = false (--no-inner-validation)."
        )
    folds = [
        Fold(
            number=number,
            group=group,
            validation_group=groups[number % len(groups)] if config.inner_validation else None,
            folder=out / FOLDS / _folder_name(number, group),
        )
        for number, group in enumerate(groups, start=1)
    ]
    for fold in folds:
        part = f"fold {fold.group}: the training part (the videos of all other groups)"
        if fold.validation_group is not None:
            part = f"fold {fold.group}: the training part (without {fold.validation_group}, its inner validation)"
        check_behaviours(fold.split(data).training, data.ethogram, part)
    return folds


def train_fold(
    data: PreparedDataset,
    config: TrainConfig,
    fold: Fold,
    streams: tuple[Stream, ...],
    *,
    loaders: int,
    processes: Processes,
    on_progress: OnProgress,
) -> None:
    """Train streams of a fold, going on with what was interrupted."""
    train_run(
        data,
        config,
        fold.folder,
        fold.split(data),
        streams,
        resume=True,
        overwrite=False,
        loaders=loaders,
        processes=processes,
        on_progress=on_progress,
    )


def predict_fold(data: PreparedDataset, config: TrainConfig, fold: Fold, on_progress: OnProgress) -> None:
    """Predict the inner validation and the held-out group with the fold's networks; the fold is then done."""
    split = fold.split(data)
    videos = [*split.validation, *split.held_out]
    predictions = predict_videos(load_run(fold.folder).networks, split.training, videos, config, on_progress)
    for name, group in ((VALIDATION, fold.validation_group), (PREDICTIONS, fold.group)):
        if group is not None:
            with atomic_directory(fold.folder / name, overwrite=True) as folder:
                save_predictions(folder, [video for video in predictions if video.group == group])
    content = {"group": fold.group, "validation_group": fold.validation_group}
    with atomic_write(fold.folder / FOLD) as path:
        path.write_text(json.dumps(content, indent=2) + "\n")


def _folder_name(number: int, group: str) -> str:
    # Numbered, since different groups can become the same folder name.
    return f"{number:02d}-{file_name(group)}"
