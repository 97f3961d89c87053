"""A cross-validation's folds and streams spread over a cluster by Ray (extra ``cluster``).

Every training is a task that keeps its state in the fold's folder after each epoch, so a task whose worker or machine
dies is started again elsewhere and goes on. All machines must see the data set and the output at the same paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolkit.errors import InputError, MissingDependency, ToolkitError, raise_faults
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import PreparedDataset
from toolkit.train.distributed import Processes
from toolkit.train.folds import Fold, predict_fold, train_fold
from toolkit.train.progress import OnProgress, Progress, silent

LOCAL = "local"


@dataclass(frozen=True)
class Cluster:
    """Where tasks run and what each takes."""

    address: str = LOCAL
    """``local`` starts Ray on this machine; ``auto`` or ``HOST:PORT`` joins a running cluster."""
    cpus: float = 1.0
    """CPU cores of a task: a training, or the predictions of a fold."""
    gpus: float = 0.0
    """GPUs of a task; a fraction shares one."""
    retries: int = 3
    """How often a task whose worker died is started again."""


def run_on_cluster(
    data: PreparedDataset,
    config: TrainConfig,
    folds: Sequence[Fold],
    cluster: Cluster,
    *,
    loaders: int,
    on_progress: OnProgress,
) -> None:
    """Train and predict these folds; return when all are done.

    Raises
    ------
    MissingDependency
        If Ray is not installed.
    InputError
        If the cluster cannot be joined, or with every task that failed; the others are finished all the same.
    """
    with _ray(cluster) as ray:
        limits = {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus, "max_retries": cluster.retries}
        train, predict = ray.remote(**limits)(_train), ray.remote(**limits)(_predict)
        shared = ray.put((data, config))
        tasks: dict[Any, str] = {}
        for fold in folds:
            trained = [train.remote(shared, fold, stream, loaders) for stream in config.streams]
            tasks.update({task: f"fold {fold.group}, {s}" for task, s in zip(trained, config.streams, strict=True)})
            tasks[predict.remote(shared, fold, *trained)] = f"fold {fold.group}, predictions"
        faults = _collect(ray, tasks, on_progress)
    raise_faults(InputError, "Some tasks failed; the others are finished. Run the same command again to go on", faults)


def _collect(ray: Any, tasks: dict[Any, str], on_progress: OnProgress) -> list[str]:
    """Wait for all tasks and return what went wrong, each cause once."""
    faults: dict[str, str] = {}
    waiting, total = list(tasks), len(tasks)
    on_progress(Progress("cluster", 0, total, "tasks"))
    while waiting:
        (done,), waiting = ray.wait(waiting, num_returns=1)
        try:
            ray.get(done)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            reason = str(cause) if isinstance(cause, ToolkitError) else str(error).strip().splitlines()[-1]
            # A fold's predictions fail for its training's reason, which is said once.
            faults.setdefault(reason, f"{tasks[done]}: {reason}")
        on_progress(Progress("cluster", total - len(waiting), total, "tasks", tasks[done]))
    return list(faults.values())


def _train(shared: tuple[PreparedDataset, TrainConfig], fold: Fold, stream: Stream, loaders: int) -> None:
    data, config = shared
    train_fold(data, config, fold, (stream,), loaders=loaders, processes=Processes(), on_progress=silent)


def _predict(shared: tuple[PreparedDataset, TrainConfig], fold: Fold, *trained: None) -> None:
    del trained
    data, config = shared
    predict_fold(data, config, fold, silent)


@contextmanager
def _ray(cluster: Cluster) -> Iterator[Any]:
    # A laboratory's cluster reports to nobody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingDependency("Ray is not installed. Install it: pip install 'toolkit[cluster]'") from error
    address = None if cluster.address == LOCAL else cluster.address
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"the Ray cluster {cluster.address!r} cannot be joined ({error}). Start one (ray start --head), or use "
            f"{LOCAL!r} for this machine."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
