"""The training loop: its reproducibility, its going on after a kill, and what it leaves of each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.annotations import AnnotatedDataset
from toolkit.errors import InputError
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import PreparedDataset, prepare_dataset
from toolkit.train.distributed import Processes
from toolkit.train.finetune import TrainedNetwork, amp_dtype, choose_device, train_stream
from toolkit.train.progress import OnProgress, Progress, silent


@pytest.fixture(scope="module")
def data(squares: AnnotatedDataset, config: TrainConfig) -> PreparedDataset:
    return prepare_dataset(squares, config, workers=0)


def trained(
    data: PreparedDataset,
    config: TrainConfig,
    folder: Path,
    *,
    state: dict[str, object] | None = None,
    validation: bool = False,
    loaders: int = 0,
    on_progress: OnProgress = silent,
) -> TrainedNetwork:
    folder.mkdir(exist_ok=True)
    split = data.split([], ["video3"] if validation else [])
    return train_stream(
        split.training,
        split.validation,
        4,
        "flow",
        config,
        folder,
        state,
        loaders=loaders,
        processes=Processes(),
        on_progress=on_progress,
    )


def weights(made: TrainedNetwork) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in made.network.state_dict().values()])


def test_the_same_seed_gives_the_same_weights(data: PreparedDataset, config: TrainConfig, tmp_path: Path) -> None:
    def of_seed(seed: int) -> torch.Tensor:
        torch.rand(seed + 3)  # what ran before does not matter
        chosen = config.model_copy(update={"seed": seed, "clips_per_epoch": 16, "epochs": 2, "dropout": 0.3})
        return weights(trained(data, chosen, tmp_path / str(seed)))

    first = of_seed(0)
    assert torch.equal(first, of_seed(0))
    assert not torch.equal(first, of_seed(1))


def test_clips_made_ahead_by_other_processes_are_the_same(
    data: PreparedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    short = config.model_copy(update={"clips_per_epoch": 12, "epochs": 2})
    here = trained(data, short, tmp_path / "here")
    assert torch.equal(weights(here), weights(trained(data, short, tmp_path / "ahead", loaders=2)))


@pytest.mark.parametrize("recipe", [{}, {"ema": 0.9, "label_smoothing": 0.1, "amp": "bf16", "optimiser": "sgd"}])
def test_a_training_goes_on_to_the_bit(
    data: PreparedDataset, config: TrainConfig, tmp_path: Path, recipe: Mapping[str, object]
) -> None:
    settings = config.model_copy(update={"clips_per_epoch": 12, "epochs": 3, "dropout": 0.3, **recipe})
    whole = trained(data, settings, tmp_path / "whole", validation=True)

    def interrupt(progress: Progress) -> None:
        if progress.done > 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(data, settings, tmp_path / "cut", validation=True, on_progress=interrupt)
    state = torch.load(tmp_path / "cut" / "state.pt", weights_only=True)
    assert len(state["metrics"]) == 2
    gone_on = trained(data, settings, tmp_path / "cut", validation=True, state=state)
    assert torch.equal(weights(whole), weights(gone_on))
    for one, other in zip(whole.metrics, gone_on.metrics, strict=True):
        assert (one.loss, one.accuracy, one.validation_accuracy) == (
            other.loss,
            other.accuracy,
            other.validation_accuracy,
        )
    best = [torch.load(tmp_path / name / "best.pt", weights_only=True) for name in ("whole", "cut")]
    assert best[0]["epoch"] == best[1]["epoch"]
    assert all(torch.equal(tensor, best[1]["state_dict"][name]) for name, tensor in best[0]["state_dict"].items())


def test_the_best_checkpoint_is_the_first_best_epochs(
    data: PreparedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    settings = config.model_copy(update={"clips_per_epoch": 40, "epochs": 3, "validation_stride": 4})
    made = trained(data, settings, tmp_path / "run", validation=True)
    accuracies = [row.validation_accuracy for row in made.metrics]
    assert None not in accuracies
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert best["epoch"] == 1 + int(np.argmax(accuracies))
    if best["epoch"] == 3:
        assert all(torch.equal(t, best["state_dict"][name]) for name, t in made.network.state_dict().items())


def test_without_validation_there_is_no_best(data: PreparedDataset, config: TrainConfig, tmp_path: Path) -> None:
    made = trained(data, config.model_copy(update={"clips_per_epoch": 8}), tmp_path / "run")
    assert made.metrics[0].validation_accuracy is None
    assert not (tmp_path / "run" / "best.pt").exists()


def test_training_leaves_torch_as_it_was(data: PreparedDataset, config: TrainConfig, tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    settings = config.model_copy(update={"clips_per_epoch": 4, "threads": 1, "deterministic": True})
    trained(data, settings, tmp_path / "run")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_progress_reaches_its_total(data: PreparedDataset, config: TrainConfig, tmp_path: Path) -> None:
    seen: list[Progress] = []
    short = config.model_copy(update={"clips_per_epoch": 20, "batch": 8, "epochs": 2})
    made = trained(data, short, tmp_path / "run", on_progress=seen.append)
    done = [p.done for p in seen]
    assert done == sorted(done)
    assert {p.total for p in seen} == {40}
    assert {20, 40} <= set(done)
    assert "clips/s" in seen[-1].detail
    assert [row.epoch for row in made.metrics] == [1, 2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_missing(config: TrainConfig) -> None:
    with pytest.raises(InputError, match="no GPU"):
        choose_device(config.model_copy(update={"device": "cuda"}))
    assert choose_device(config.model_copy(update={"device": "auto"})).type == "cpu"


def test_mixed_precision_is_left_off_where_there_is_no_gpu(config: TrainConfig) -> None:
    cpu = torch.device("cpu")
    assert amp_dtype(config.model_copy(update={"amp": "auto"}), cpu) is None
    assert amp_dtype(config.model_copy(update={"amp": "bf16"}), cpu) is torch.bfloat16
