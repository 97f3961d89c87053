"""Leave-one-group-out cross-validation, resumable fold by fold (Nguyen et al. 2019, section 3.1)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from toolkit.annotations import AnnotatedDataset
from toolkit.bundle import Scores
from toolkit.errors import ConfigError, DatasetError, InputError, raise_faults
from toolkit.files import atomic_directory, atomic_write
from toolkit.flow.store import Preparation
from toolkit.train.config import TrainConfig, differing_keys, train_config
from toolkit.train.dataset import PreparedDataset, check_behaviours, prepare_dataset
from toolkit.train.evaluation import predict_videos
from toolkit.train.initial import with_weights_preprocessing
from toolkit.train.predictions import FoldPredictions, VideoPredictions, load_predictions, save_predictions
from toolkit.train.progress import OnProgress, silent, within
from toolkit.train.run_folder import load_run
from toolkit.train.runs import PREDICTIONS, preparation_line, train_run
from toolkit.train.scores import REPORT, Evaluation, evaluation_of, write_report

KEY = "crossval.json"
FOLDS = "folds"


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation came to."""

    folder: Path
    evaluation: Evaluation
    predictions: tuple[VideoPredictions, ...]
    """Per held-out video, each by networks that saw nothing of its group."""
    resumed_folds: int
    """Folds that were finished before."""
    preparation: Preparation
    """What preparing the videos took."""

    def scores(self) -> Scores:
        """Return what a bundle's manifest says of it."""
        return self.evaluation.scores()

    def lines(self) -> list[str]:
        """Return the outcome as a few lines of text."""
        return [preparation_line(self.preparation, self.evaluation.config), *self.evaluation.lines()]


def cross_validate(
    dataset: AnnotatedDataset,
    config: TrainConfig,
    out: Path,
    *,
    cache: Path | None = None,
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> CrossValidation:
    """Train without each group in turn, evaluate on it, and write a report.

    ``OUT/folds/<group>/`` holds a run folder's streams and the group's predictions. Each appears whole or not at all;
    called again, finished folds are kept.

    Parameters
    ----------
    out
        Folder of the folds and the report.
    cache
        Folder of the prepared videos; None takes ``.prepared`` in the data set's folder.
    workers
        Processes that prepare videos.

    Raises
    ------
    DatasetError
        If there is one group only, or a behaviour is absent from a fold's training part.
    ConfigError
        If `out` holds folds of another configuration or data set; every differing key is named.
    VideoError
        With every video that cannot be used.
    """
    on_progress = on_progress or silent
    if len(dataset.groups) < 2:
        raise DatasetError(
            f"{dataset.root}: all videos belong to one group ({dataset.groups[0]}), and leave-one-out needs two. Add "
            "videos, or set the group pattern so that it tells them apart."
        )
    config = with_weights_preprocessing(config)
    data = prepare_dataset(dataset, config, cache=cache, workers=workers, on_progress=on_progress)
    for group in data.groups:
        part = f"fold {group}: the training part (the videos of all other groups)"
        check_behaviours(data.split([group])[0], data.ethogram, part)
    _claim(out, config, data.sha256)
    predictions: list[VideoPredictions] = []
    resumed = 0
    for number, group in enumerate(data.groups, start=1):
        fold = out / FOLDS / _folder_name(number, group)
        if fold.is_dir():
            resumed += 1
        else:
            _run_fold(data, config, group, fold, within(f"fold {number}/{len(data.groups)}", on_progress))
        predictions += load_predictions(fold / PREDICTIONS)
    evaluation = evaluation_of(
        [FoldPredictions(g, None, (), tuple(v for v in predictions if v.group == g)) for g in data.groups],
        data.ethogram,
        config,
        scheme=_scheme(data),
        dataset_sha256=data.sha256,
    )
    write_report(out, evaluation, data.ethogram)
    return CrossValidation(out, evaluation, tuple(predictions), resumed, data.preparation)


def load_evaluation(crossval: Path) -> Evaluation:
    """Read the report of a cross-validation's folder.

    Raises
    ------
    InputError
        If it has no report, or one that this toolkit does not read.
    """
    try:
        return Evaluation.model_validate_json((crossval / REPORT).read_text())
    except OSError as error:
        raise InputError(f"{crossval}: no {REPORT}. Expected a folder finished by: toolkit crossval") from error
    except ValueError as error:
        raise InputError(f"{crossval / REPORT}: not a report of this toolkit. Run: toolkit crossval") from error


def _run_fold(data: PreparedDataset, config: TrainConfig, group: str, fold: Path, on_progress: OnProgress) -> None:
    with atomic_directory(fold) as folder:
        train_run(data, config, folder, [group], overwrite=False, on_progress=on_progress)
        training, held_out = data.split([group])
        predictions = predict_videos(load_run(folder).networks, training, held_out, config, on_progress)
        (folder / PREDICTIONS).mkdir()
        save_predictions(folder / PREDICTIONS, predictions)


def _claim(out: Path, config: TrainConfig, dataset_sha256: str) -> None:
    """Write what the folds in `out` are of, or raise if they are of something else."""
    key = out / KEY
    if key.exists():
        try:
            content = json.loads(key.read_text())
            found, found_sha256 = train_config(content["config"], str(key)), content["dataset_sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{key}: damaged. Choose another folder, or delete this one.") from error
        faults = differing_keys(config, found)
        if found_sha256 != dataset_sha256:
            faults.append("data set: its videos or annotations changed")
        raise_faults(ConfigError, f"{out} holds folds of another cross-validation; choose another folder", faults)
        return
    content = {"config": config.model_dump(mode="json"), "dataset_sha256": dataset_sha256}
    with atomic_write(key) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n")


def _scheme(data: PreparedDataset) -> str:
    if len(data.groups) == len(data.videos):
        return f"leave-one-video-out over {len(data.videos)} videos"
    return f"leave-one-group-out over {len(data.groups)} groups of {len(data.videos)} videos"


def _folder_name(number: int, group: str) -> str:
    # Numbered, since different groups can become the same folder name.
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9._-]', '_', group)}"
