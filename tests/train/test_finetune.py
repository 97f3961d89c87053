"""The training loop's parts against hand-derived values, and its reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toolkit.annotations import AnnotatedDataset
from toolkit.errors import InputError
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import PreparedDataset, prepare_dataset
from toolkit.train.finetune import choose_device, learning_rate_factor, make_optimiser, train_stream
from toolkit.train.networks import build_network
from toolkit.train.progress import Progress, silent


@pytest.fixture(scope="module")
def data(squares: AnnotatedDataset, config: TrainConfig) -> PreparedDataset:
    return prepare_dataset(squares, config, workers=0)


@pytest.mark.parametrize("schedule", ["exponential", "cosine"])
def test_the_learning_rate_decays_from_its_first_to_its_last_value(schedule: str) -> None:
    config = TrainConfig.model_validate({"schedule": schedule})
    rates = [1e-3 * learning_rate_factor(step, 101, config) for step in range(101)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[100] == pytest.approx(5e-5)
    middle = {"exponential": (1e-3 * 5e-5) ** 0.5, "cosine": (1e-3 + 5e-5) / 2}
    assert rates[50] == pytest.approx(middle[schedule])
    assert np.all(np.diff(rates) < 0)


def test_warm_up_rises_to_the_first_value() -> None:
    config = TrainConfig(warm_up=0.2)
    factors = [learning_rate_factor(step, 10, config) for step in range(10)]
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert factors[9] == pytest.approx(0.05)


def test_a_single_step_uses_the_first_rate() -> None:
    assert learning_rate_factor(0, 1, TrainConfig()) == 1.0


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_only_kernels_decay(optimiser: str) -> None:
    network = build_network("r2plus1d-small", channels=2, classes=4)
    made, _ = make_optimiser(network, TrainConfig.model_validate({"optimiser": optimiser}), 10)
    decay = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d | torch.nn.Linear):
            assert decay[id(module.weight)] == 7e-7
        elif isinstance(module, torch.nn.BatchNorm3d):
            assert decay[id(module.weight)] == decay[id(module.bias)] == 0
    assert decay[id(network.fc.bias)] == 0
    assert len(decay) == len(list(network.parameters()))


def test_the_same_seed_gives_the_same_weights(data: PreparedDataset, config: TrainConfig) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.rand(seed + 3)  # what ran before does not matter
        chosen = config.model_copy(update={"seed": seed, "clips_per_epoch": 16, "epochs": 2, "dropout": 0.3})
        network, _, _ = train_stream(data.videos, data, "flow", chosen, silent)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    first = weights(0)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


def test_training_leaves_torch_as_it_was(data: PreparedDataset, config: TrainConfig) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    train_stream(data.videos, data, "rgb", config.model_copy(update={"clips_per_epoch": 4, "threads": 1}), silent)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_progress_reaches_its_total(data: PreparedDataset, config: TrainConfig) -> None:
    seen: list[Progress] = []
    short = config.model_copy(update={"clips_per_epoch": 20, "batch": 8, "epochs": 2})
    _, metrics, _ = train_stream(data.videos, data, "rgb", short, seen.append)
    assert [(p.done, p.total) for p in seen] == [(n, 40) for n in (8, 16, 20, 28, 36, 40)]
    assert [row.epoch for row in metrics] == [1, 2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_missing(config: TrainConfig) -> None:
    with pytest.raises(InputError, match="no GPU"):
        choose_device(config.model_copy(update={"device": "cuda"}))
    assert choose_device(config.model_copy(update={"device": "auto"})).type == "cpu"
