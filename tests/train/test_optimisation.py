"""The optimiser's groups, the learning rate's course and the weights' average, against hand-derived values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toolkit.train.config import TrainConfig
from toolkit.train.networks import build_network
from toolkit.train.optimisation import MovingAverage, learning_rate_factor, make_optimiser


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


def test_the_average_follows_the_weights() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    average = MovingAverage(layer, decay=0.2)
    means, expected, mean = [], [], 0.0
    for step, value in enumerate((1.0, 3.0, -2.0, 5.0)):
        layer.weight.data.fill_(value)
        average.update(layer)
        means.append(float(average.network.weight))
        # (1 + n) / (10 + n) is 0.1, 0.18, 0.25 ...: below the wanted decay for the first two steps only.
        decay = min(0.2, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * value
        expected.append(mean)
    assert means == pytest.approx(expected)
    assert not average.network.weight.requires_grad


def test_the_average_takes_batch_statistics_along() -> None:
    norm = torch.nn.BatchNorm3d(1)
    average = MovingAverage(norm, decay=0.9)
    norm(torch.full((2, 1, 2, 2, 2), 7.0))
    average.update(norm)
    # The norm's own momentum is 0.1, the average's first decay 0.1.
    assert float(average.network.running_mean) == pytest.approx(0.9 * 0.7)
    assert int(average.network.num_batches_tracked) == 1
