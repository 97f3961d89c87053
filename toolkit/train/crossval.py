"""Leave-one-group-out cross-validation, resumable fold by fold (Nguyen et al. 2019, section 3.1)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from toolkit.annotations import AnnotatedDataset
from toolkit.bundle import Scores
from toolkit.errors import ConfigError, DatasetError, InputError, raise_faults
from toolkit.files import atomic_write
from toolkit.flow.store import Preparation
from toolkit.train.cluster import Cluster, run_on_cluster
from toolkit.train.config import TrainConfig, differing_keys
from toolkit.train.dataset import prepare_dataset
from toolkit.train.distributed import broadcast, join, processes_of
from toolkit.train.finetune import choose_device
from toolkit.train.folds import folds_of, predict_fold, train_fold
from toolkit.train.initial import with_weights_preprocessing
from toolkit.train.progress import OnProgress, silent, within
from toolkit.train.runs import preparation_line
from toolkit.train.scores import REPORT, Evaluation, write_report
from toolkit.train.stored import KEY, load_crossval, read_key


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation came to."""

    folder: Path
    evaluation: Evaluation
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
    loaders: int = 0,
    cluster: Cluster | None = None,
    on_progress: OnProgress | None = None,
) -> CrossValidation:
    """Train without each group in turn, predict it, and write a report.

    ``OUT/folds/<group>/`` holds a run folder's streams and the group's predictions. Called again, finished folds are
    kept, and an interrupted one goes on after its last whole epoch.

    Parameters
    ----------
    out
        Folder of the folds and the report.
    cache
        Folder of the prepared videos; None takes ``.prepared`` in the data set's folder.
    workers
        Processes that prepare videos.
    loaders
        Processes that make clips ahead of the network.
    cluster
        Where to spread the folds and streams; None runs them here, one after another.

    Raises
    ------
    DatasetError
        If there are too few groups, or a behaviour is absent from a fold's training part.
    ConfigError
        If `out` holds folds of another configuration or data set; every differing key is named.
    VideoError
        With every video that cannot be used.
    """
    if len(dataset.groups) < 2:
        raise DatasetError(
            f"{dataset.root}: all videos belong to one group ({dataset.groups[0]}), and leave-one-out needs two. Add "
            "videos, or set the group pattern so that it tells them apart."
        )
    config = with_weights_preprocessing(config)
    processes = processes_of()
    on_progress = (on_progress if processes.is_first else None) or silent
    data = prepare_dataset(dataset, config, cache=cache, workers=workers, on_progress=on_progress)
    folds = folds_of(data, config, out)
    join(processes, choose_device(config, processes))
    if processes.is_first:
        _claim(out, config, data.sha256)
    # Where one of several processes stands decides for all.
    missing = broadcast([fold.number for fold in folds if not fold.is_done], processes)
    to_run = [fold for fold in folds if fold.number in missing]
    if cluster is not None:
        run_on_cluster(data, config, to_run, cluster, loaders=loaders, on_progress=on_progress)
    else:
        for fold in to_run:
            tell = within(f"fold {fold.number}/{len(folds)}", on_progress)
            train_fold(data, config, fold, config.streams, loaders=loaders, processes=processes, on_progress=tell)
            if processes.is_first:
                predict_fold(data, config, fold, tell)
            broadcast(None, processes)
    evaluation = load_crossval(out).evaluation()
    if processes.is_first:
        write_report(out, evaluation, data.ethogram)
    return CrossValidation(out, evaluation, len(folds) - len(to_run), data.preparation)


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


def _claim(out: Path, config: TrainConfig, dataset_sha256: str) -> None:
    """Write what the folds in `out` are of, or raise if they are of something else."""
    key = out / KEY
    if key.exists():
        found, found_sha256 = read_key(key)
        faults = differing_keys(config, found)
        if found_sha256 != dataset_sha256:
            faults.append("data set: its videos or annotations changed")
        raise_faults(ConfigError, f"{out} holds folds of another cross-validation; choose another folder", faults)
        return
    content = {"config": config.model_dump(mode="json"), "dataset_sha256": dataset_sha256}
    with atomic_write(key) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n")
