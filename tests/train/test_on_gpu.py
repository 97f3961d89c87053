"""A training step on a real GPU, by every architecture and recipe: that it runs, and in FP32 as on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from toolkit.train.config import train_config
from toolkit.train.distributed import Processes
from toolkit.train.finetune import amp_dtype, begin, memory_format, move, train_one_epoch
from toolkit.train.metrics import EpochMetrics
from toolkit.train.networks import build_network

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    # I3D's pooling has no deterministic backward, and old torches warn of more.
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def trained(
    device: torch.device, stream: Any, *, steps: int = 3, **settings: Any
) -> tuple[EpochMetrics, torch.nn.Module]:
    """Take steps with made-up clips; the same on every device."""
    config = train_config({"resize": 72, "crop": 64, "batch": 3, "dropout": 0.0, **settings}).of(stream)
    spec = config.stream_input(stream)
    torch.manual_seed(0)
    network = build_network(config.architecture, channels=spec.channels, classes=8, dropout=config.dropout)
    move(network, device, config, memory_format(config, device))
    course = begin(network, config, 10, device)
    clips = torch.randn(steps, 3, spec.channels, config.clip.frames, spec.crop, spec.crop)
    batches = [(batch, torch.arange(3), 3) for batch in clips]
    return train_one_epoch(network, course, batches, config, device, 1, lambda _seen, _line: None, Processes()), network


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("amp", ["off", "auto"])
@pytest.mark.parametrize("preset", ["paper", "modern"])
@pytest.mark.parametrize("architecture", ["i3d", "r2plus1d-18", "r2plus1d-small"])
def test_every_recipe_takes_steps(architecture: str, preset: str, amp: str, stream: str) -> None:
    row, network = trained(GPU, stream, architecture=architecture, preset=preset, amp=amp)
    assert torch.isfinite(torch.tensor(row.loss))
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


@pytest.mark.parametrize("preset", ["paper", "modern"])
@pytest.mark.parametrize("architecture", ["i3d", "r2plus1d-small"])
def test_in_float32_the_loss_is_the_cpu_s(architecture: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    settings = {"architecture": architecture, "preset": preset, "amp": "off"}
    # The first loss is the forward pass's. AdamW's first steps take a gradient's sign, whatever rounding made of it.
    for steps, tolerance in ((1, 1e-3), (3, 0.03)):
        cpu, gpu = (trained(device, "rgb", steps=steps, **settings)[0].loss for device in (CPU, GPU))
        assert gpu == pytest.approx(cpu, rel=tolerance)


def test_mixed_precision_is_on_where_the_recipe_asks_for_it() -> None:
    assert amp_dtype(train_config({"preset": "modern"}).of("rgb"), GPU) in (torch.float16, torch.bfloat16)
    assert amp_dtype(train_config({"preset": "paper"}).of("rgb"), GPU) is None
