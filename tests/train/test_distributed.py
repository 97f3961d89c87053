"""Two processes train as one does: torchrun with gloo on the CPU, and the parts it is made of."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.annotations import AnnotatedDataset
from toolkit.errors import ConfigError
from toolkit.train import train
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import PreparedDataset, prepare_dataset
from toolkit.train.distributed import Processes, processes_of
from toolkit.train.loader import TrainingBatches, stream_of_batches


@pytest.fixture(scope="module")
def data(squares: AnnotatedDataset, config: TrainConfig) -> PreparedDataset:
    return prepare_dataset(squares, config, workers=0)


def torchrun(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    # The launcher's own warnings are not ours; ours are errors elsewhere in the tests.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [*launcher, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    # 22 clips in batches of 4: the last batch has 2. The batch norms see whole batches, or the curves would part.
    settings = {"streams": ("flow",), "clips_per_epoch": 22, "epochs": 3, "optimiser": "sgd", "learning_rate": 2e-3}
    one = TrainConfig.model_validate(config.model_dump() | settings | {"schedule": "cosine"})
    (tmp_path / "settings.toml").write_text(toml_of(one))
    train(squares, one, tmp_path / "one", validation_groups=("video3",))
    arguments = ["--config", "settings.toml", "--out", "two", "--validate", "video3", "--behaviours"]
    command = str(Path(sys.executable).with_name("toolkit"))
    result = torchrun(command, "train", str(squares.root), *arguments, ",".join(squares.ethogram.names), cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("run folder") == 1, "one of the processes reports"
    curves = [_losses(tmp_path / name / "flow" / "metrics.csv") for name in ("one", "two")]
    assert len(curves[0]) == 3
    np.testing.assert_allclose(curves[1], curves[0], rtol=5e-4)
    states = [torch.load(tmp_path / name / "flow" / "last.pt", weights_only=True) for name in ("one", "two")]
    assert list(states[0]["state_dict"]) == list(states[1]["state_dict"])
    for name, tensor in states[0]["state_dict"].items():
        torch.testing.assert_close(states[1]["state_dict"][name], tensor, rtol=1e-2, atol=1e-3)


def test_shares_of_a_batch_make_the_whole(data: PreparedDataset, config: TrainConfig) -> None:
    settings = config.model_copy(update={"clips_per_epoch": 10, "batch": 4})

    def batches(rank: int, count: int) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
        made = TrainingBatches(data.videos, "rgb", settings, [0, 0], Processes(rank, count, rank))
        return list(stream_of_batches(made, range(1, 3), 0))

    whole, first, second = batches(0, 1), batches(0, 2), batches(1, 2)
    assert [size for *_, size in whole] == [4, 4, 2, 4, 4, 2]
    for (clips, labels, size), one, other in zip(whole, first, second, strict=True):
        assert torch.equal(torch.cat([one[0], other[0]]), clips)
        assert torch.equal(torch.cat([one[1], other[1]]), labels)
        assert one[2] == other[2] == size


def test_a_last_batch_too_small_to_share_is_left_out(data: PreparedDataset, config: TrainConfig) -> None:
    settings = config.model_copy(update={"clips_per_epoch": 9, "batch": 4})
    assert TrainingBatches(data.videos, "rgb", settings, [0, 0], Processes(0, 1)).per_epoch == 3
    shared = TrainingBatches(data.videos, "rgb", settings, [0, 0], Processes(0, 2))
    assert (shared.per_epoch, shared.samples) == (2, 8)


def test_more_processes_than_clips_in_a_batch_are_refused(data: PreparedDataset, config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match=r"batch: 4 clips .* cannot be shared by 5 processes"):
        TrainingBatches(data.videos, "rgb", config, [0, 0], Processes(0, 5))


def test_the_environment_says_who_takes_part() -> None:
    assert processes_of({}) == Processes()
    told = processes_of({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert (told.rank, told.count, told.local_rank, told.is_first) == (3, 4, 1, False)
    with pytest.raises(ConfigError, match="torchrun"):
        processes_of({"WORLD_SIZE": "4"})


def _losses(path: Path) -> list[float]:
    with path.open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def toml_of(config: TrainConfig) -> str:
    values = config.model_dump(mode="json", exclude_none=True)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {_value(value)}" for key, value in values.items() if key not in tables]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    return repr(value).replace("'", '"').replace("True", "true").replace("False", "false")
