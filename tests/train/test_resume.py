"""An interrupted `toolkit train`: killed for real, gone on with, and refused where it would be another training."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.train.test_distributed import toml_of
from toolkit.annotations import AnnotatedDataset
from toolkit.errors import ConfigError, InputError
from toolkit.train import train
from toolkit.train.config import TrainConfig
from toolkit.train.progress import Progress


@pytest.fixture(scope="module")
def short(config: TrainConfig) -> TrainConfig:
    return config.model_copy(update={"streams": ("flow",), "clips_per_epoch": 40, "epochs": 4, "dropout": 0.3})


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, squares: AnnotatedDataset, short: TrainConfig) -> Path:
    run = tmp_path_factory.mktemp("interrupted") / "run"

    def interrupt(progress: Progress) -> None:
        if progress.task == "train flow" and progress.done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(squares, short, run, workers=0, on_progress=interrupt)
    return run


def checkpoint(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run / "flow" / "last.pt", weights_only=True)
    assert content["epoch"] == 4
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_bit(squares: AnnotatedDataset, short: TrainConfig, tmp_path: Path) -> None:
    train(squares, short, tmp_path / "whole", workers=0)
    (tmp_path / "settings.toml").write_text(toml_of(short))
    command = [
        *(str(Path(sys.executable).with_name("toolkit")), "train", str(squares.root), "--config", "settings.toml"),
        *("--behaviours", ",".join(squares.ethogram.names), "--out", "run"),
    ]
    state = tmp_path / "run" / "flow.unfinished" / "state.pt"
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not state.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = len(torch.load(state, weights_only=True)["metrics"])
    assert 1 <= done < 4
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert "Pass --resume to go on" in refused.stderr
    resumed = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert resumed.returncode == 0, resumed.stderr
    assert not (tmp_path / "run" / "flow.unfinished").exists()
    assert sorted(child.name for child in (tmp_path / "run" / "flow").iterdir()) == [
        *("config.json", "last.pt", "metrics.csv", "provenance.json", "split.json", "tensorboard"),
    ]
    one, other = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "run")
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_another_configuration_is_refused_by_its_keys(
    interrupted: Path, squares: AnnotatedDataset, short: TrainConfig
) -> None:
    other = short.model_copy(update={"batch": 8, "label_smoothing": 0.1})
    with pytest.raises(ConfigError, match=r"begun otherwise(.|\n)*batch: 8, not 4\n.*label_smoothing: 0.1, not 0"):
        train(squares, other, interrupted, workers=0, resume=True)
    with pytest.raises(ConfigError, match=r"training: other than when(.|\n)*validation: other than when"):
        train(squares, short, interrupted, workers=0, resume=True, validation_groups=("video1",))
    assert (interrupted / "flow.unfinished" / "state.pt").exists(), "nothing is lost"


def test_a_damaged_state_is_refused(
    interrupted: Path, squares: AnnotatedDataset, short: TrainConfig, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(interrupted, run)
    state = run / "flow.unfinished" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"state.pt: damaged(.|\n)*--overwrite"):
        train(squares, short, run, workers=0, resume=True)
    train(squares, short.model_copy(update={"epochs": 1}), run, workers=0, overwrite=True)
    assert not (run / "flow.unfinished").exists()


def test_a_finished_stream_is_kept(squares: AnnotatedDataset, short: TrainConfig, tmp_path: Path) -> None:
    brief = short.model_copy(update={"clips_per_epoch": 8, "epochs": 1})
    first = train(squares, brief, tmp_path / "run", workers=0, resume=True)
    written = (tmp_path / "run" / "flow" / "last.pt").stat().st_mtime_ns
    again = train(squares, brief, tmp_path / "run", workers=0, resume=True)
    assert (tmp_path / "run" / "flow" / "last.pt").stat().st_mtime_ns == written
    assert again.metrics["flow"][0].epoch == first.metrics["flow"][0].epoch == 1
    with pytest.raises(ConfigError, match="seed: 5, not 0"):
        train(squares, brief.model_copy(update={"seed": 5}), tmp_path / "run", workers=0, resume=True)


def test_two_trainings_into_one_folder_are_refused(
    squares: AnnotatedDataset, short: TrainConfig, tmp_path: Path
) -> None:
    brief = short.model_copy(update={"clips_per_epoch": 8, "epochs": 1})
    refused: list[str] = []

    def train_too(progress: Progress) -> None:
        if progress.task == "train flow" and not refused:
            with pytest.raises(InputError) as info:
                train(squares, brief, tmp_path / "run", workers=0, overwrite=True)
            refused.append(str(info.value))

    train(squares, brief, tmp_path / "run", workers=0, on_progress=train_too)
    assert f"is being trained by process {os.getpid()} on " in refused[0]
    assert (tmp_path / "run" / "flow" / "last.pt").exists(), "the first goes on"
    train(squares, brief, tmp_path / "run", workers=0, overwrite=True)
