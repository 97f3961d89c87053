"""The advice on a GPU that is too small, with a network that says how many clips it holds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toolkit.errors import InputError
from toolkit.train import memory
from toolkit.train.config import TrainConfig
from toolkit.train.memory import largest_batch, memory_advice


class Holds(nn.Module):
    """Stands for a network on a GPU whose memory holds so many clips."""

    def __init__(self, clips: int) -> None:
        super().__init__()
        self.clips = clips
        self.dense = nn.Linear(1, 4)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        if len(clips) > self.clips:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        logits: torch.Tensor = self.dense(clips.mean(dim=(1, 2, 3, 4))[:, None])
        return logits


@pytest.mark.parametrize(("holds", "advice"), [(11, "11 do. Pass --batch 11"), (1, "1 do"), (0, "nor does one")])
def test_the_batch_that_fits_is_said(holds: int, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Holds(holds)
    monkeypatch.setattr(memory, "untrained_network", lambda *_: network)
    config = TrainConfig(batch=16, crop=16, resize=16)
    with (
        pytest.raises(InputError, match=rf"16 clips of rgb do not fit \(CUDA out of memory(.|\n)*{advice}"),
        memory_advice(config, "rgb", 4, torch.device("cpu")),
    ):
        network(torch.zeros(16, 3, 16, 16, 16))


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), memory_advice(TrainConfig(), "rgb", 4, torch.device("cpu")):
        raise ZeroDivisionError


@pytest.mark.parametrize("limit", range(9))
def test_bisection_finds_the_largest_batch(limit: int) -> None:
    tried = []

    def attempt(batch: int) -> None:
        tried.append(batch)
        if batch > limit:
            raise torch.OutOfMemoryError

    assert largest_batch(8, attempt) == limit
    assert len(tried) <= 4
