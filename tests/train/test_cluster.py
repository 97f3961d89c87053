"""Folds spread by a real local Ray: the same results as here, and a worker that is killed in the middle of a fold."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from toolkit.annotations import AnnotatedDataset
from toolkit.errors import InputError
from toolkit.train import cross_validate
from toolkit.train.cluster import Cluster
from toolkit.train.config import TrainConfig
from toolkit.train.crossval import load_evaluation
from toolkit.train.progress import Progress

pytest.importorskip("ray")
# Ray's own; ours are errors in every other test of the same code.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def kill_one_training(out: Path, killed: list[int]) -> None:
    """Once a fold's flow network has an epoch behind it, kill the worker that trains it."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not killed:
        time.sleep(0.02)
        if not list(out.glob("folds/*/flow.unfinished/state.pt")):
            continue
        for process in psutil.process_iter(["cmdline", "name"]):
            if "ray::_train" in " ".join(process.info["cmdline"] or [process.info["name"]]):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                return


@pytest.mark.timeout(480)
def test_a_killed_worker_costs_nothing_but_time(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers import the package from where these tests do, wherever it is installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    short = config.model_copy(update={"clips_per_epoch": 60, "epochs": 4, "evaluation_stride": 6})
    here = cross_validate(squares, short, tmp_path / "here", workers=0)
    killed: list[int] = []
    killer = threading.Thread(target=kill_one_training, args=(tmp_path / "spread", killed), daemon=True)
    killer.start()
    seen: list[Progress] = []
    spread = cross_validate(
        squares, short, tmp_path / "spread", workers=0, cluster=Cluster(cpus=1), on_progress=seen.append
    )
    assert killed, "a training was killed"
    assert spread.evaluation == here.evaluation
    assert load_evaluation(tmp_path / "spread") == here.evaluation
    assert [(p.done, p.total) for p in seen if p.task == "cluster"] == [(done, 9) for done in range(10)]


@pytest.mark.timeout(480)
def test_a_task_that_fails_is_named_and_the_others_are_finished(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    short = config.model_copy(update={"clips_per_epoch": 16, "epochs": 2, "evaluation_stride": 24})

    def interrupt(progress: Progress) -> None:
        if progress.task.endswith("train flow") and progress.done > 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validate(squares, short, tmp_path / "spread", workers=0, on_progress=interrupt)
    (state,) = (tmp_path / "spread").glob("folds/*/flow.unfinished/state.pt")
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError) as info:
        cross_validate(squares, short, tmp_path / "spread", workers=0, cluster=Cluster(cpus=1))
    summary, *faults = str(info.value).splitlines()
    assert "the others are finished. Run the same command again to go on" in summary
    fold = state.parents[1].name.split("-", 1)[1]
    assert len(faults) == 1, "the fold's predictions fail for the same reason, which is said once"
    assert f"fold {fold}, flow: {state}: damaged" in faults[0]
    shutil.rmtree(state.parent)
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "spread").glob("folds/*/*/last.pt")}
    assert len(trained) == 5
    spread = cross_validate(squares, short, tmp_path / "spread", workers=0, cluster=Cluster(cpus=1))
    assert all(path.stat().st_mtime_ns == written for path, written in trained.items())
    assert load_evaluation(tmp_path / "spread") == spread.evaluation


def test_a_cluster_that_is_not_there_is_said(squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Ray cluster 'auto' cannot be joined(.|\n)*ray start --head"):
        cross_validate(squares, config, tmp_path / "cv", workers=0, cluster=Cluster("auto"))
