"""The optimiser, the learning rate's course, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from toolkit.train.config import TrainConfig


def make_optimiser(network: nn.Module, config: TrainConfig, steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return the optimiser, which decays kernels only, and the learning rate's course over `steps` steps."""
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser: torch.optim.Optimizer
    if config.optimiser == "sgd":
        optimiser = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    else:
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))
    return optimiser, LambdaLR(optimiser, lambda step: learning_rate_factor(step, steps, config))


def learning_rate_factor(step: int, steps: int, config: TrainConfig) -> float:
    """Return the learning rate of a step relative to the first one's."""
    rising = round(config.warm_up * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    last = config.final_learning_rate / config.learning_rate
    course = min(1.0, (step - rising) / max(1, steps - 1 - rising))
    if config.schedule == "steps":
        passed = [rate for start, rate in config.learning_rate_steps if start <= step]
        return (passed[-1] if passed else config.learning_rate) / config.learning_rate
    if config.schedule == "exponential":
        return float(last**course)
    return last + (1 - last) * (1 + math.cos(math.pi * course)) / 2


class MovingAverage:
    """Exponential moving average of a network's weights and batch statistics.

    Over the first steps the decay is (1 + n) / (10 + n) where that is smaller, so that a short training does not keep
    its start.

    Parameters
    ----------
    network
        What is averaged; its copy is `network`.
    decay
        In (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        share = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        for mean, current in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(current.to(mean.dtype), share)
            else:
                mean.copy_(current)
        self._steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on."""
        return {"steps": self._steps, "network": self.network.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a stored state."""
        self._steps = int(state["steps"])
        self.network.load_state_dict(state["network"])
