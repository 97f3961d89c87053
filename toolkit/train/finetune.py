"""Training a stream's network: the recipe of Nguyen et al. 2019, section 2.4, as a plain loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from toolkit.errors import InputError
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import (
    LabelledVideo,
    PreparedDataset,
    fill_training_clip,
    samples_per_epoch,
    training_centres,
)
from toolkit.train.initial import initial_network
from toolkit.train.pretrained import Pretrained
from toolkit.train.progress import OnProgress, Progress
from toolkit.train.run_folder import STREAMS, EpochMetrics

Batch = tuple[torch.Tensor, torch.Tensor]
"""(B, C, T, H, W) float32 clips and (B,) int64 behaviours."""


def train_stream(
    videos: Sequence[LabelledVideo],
    data: PreparedDataset,
    stream: Stream,
    config: TrainConfig,
    on_progress: OnProgress,
) -> tuple[nn.Module, list[EpochMetrics], Pretrained | None]:
    """Train one stream's network; return it with its last weights, its metrics, and the weights that it started from.

    On a CPU the same seed and number of threads give the same weights.
    """
    device = choose_device(config)
    # Streams draw from seeds of their own, so that training one does not change the other.
    seeds = [config.seed, STREAMS.index(stream)]
    with reproducible(config, seeds):
        network, weights = initial_network(config, stream, len(data.ethogram))
        move(network, device)
        samples = samples_per_epoch(videos, config)
        optimiser, schedule = make_optimiser(network, config, config.epochs * math.ceil(samples / config.batch))
        metrics: list[EpochMetrics] = []
        for epoch in range(1, config.epochs + 1):

            def on_batch(seen: int, detail: str, before: int = (epoch - 1) * samples) -> None:
                total = config.epochs * samples
                on_progress(Progress(f"train {stream}", before + seen, total, "clips", detail))

            batches = training_batches(videos, stream, config, np.random.default_rng([*seeds, epoch]))
            metrics.append(train_one_epoch(network, batches, optimiser, schedule, device, epoch, on_batch))
    move(network, torch.device("cpu"), torch.contiguous_format)
    return network.eval(), metrics, weights


def train_one_epoch(
    network: nn.Module,
    batches: Iterable[Batch],
    optimiser: torch.optim.Optimizer,
    schedule: LambdaLR,
    device: torch.device,
    epoch: int,
    on_batch: Callable[[int, str], None],
) -> EpochMetrics:
    """Take one optimiser step per batch and return the epoch's metrics.

    `on_batch` is told the clips seen in this epoch and the metrics so far.
    """
    network.train()
    started_s = time.monotonic()
    loss_sum, right, seen = 0.0, 0, 0
    learning_rate = 0.0
    for clips, behaviours in batches:
        clips = clips.to(device, memory_format=memory_format(device))
        behaviours = behaviours.to(device)
        logits = network(clips)
        loss = functional.cross_entropy(logits, behaviours)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        learning_rate = float(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
        seen += len(clips)
        loss_sum += float(loss.detach()) * len(clips)
        right += int((logits.argmax(1) == behaviours).sum())
        on_batch(seen, f"epoch {epoch}, loss {loss_sum / seen:.3f}, accuracy {right / seen:.1%}")
    seconds = time.monotonic() - started_s
    return EpochMetrics(epoch, loss_sum / seen, right / seen, learning_rate, seconds, seen / seconds)


def evaluate(network: nn.Module, batches: Iterable[NDArray[np.float32]], device: torch.device) -> NDArray[np.float32]:
    """Return the (M, K) float32 logits of batches of (B, C, T, H, W) float32 clips."""
    network.eval()
    logits = []
    with torch.inference_mode():
        for clips in batches:
            tensor = torch.from_numpy(clips).to(device, memory_format=memory_format(device))
            logits.append(network(tensor).float().cpu().numpy())
    return np.concatenate(logits)


def training_batches(
    videos: Sequence[LabelledVideo], stream: Stream, config: TrainConfig, generator: np.random.Generator
) -> Iterator[Batch]:
    """Yield one epoch's batches, the last one possibly smaller."""
    spec = config.stream_input(stream)
    centres = training_centres(videos, config, generator)
    for start in range(0, len(centres), config.batch):
        chosen = centres[start : start + config.batch]
        clips = np.empty((len(chosen), spec.channels, config.clip.frames, spec.crop, spec.crop), dtype=np.float32)
        for clip, (video, centre) in zip(clips, chosen, strict=True):
            fill_training_clip(videos[video], int(centre), spec, config, generator, clip)
        behaviours = [int(videos[video].labels[centre]) for video, centre in chosen]
        yield torch.from_numpy(clips), torch.tensor(behaviours)


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


def choose_device(config: TrainConfig) -> torch.device:
    """Return the device that networks are trained on.

    Raises
    ------
    InputError
        If the configuration asks for a GPU that torch does not see.
    """
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise InputError('device = "cuda", but torch sees no GPU here. Use "cpu", or install torch with CUDA.')
    return torch.device("cuda" if available and config.device != "cpu" else "cpu")


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the layout of clips and kernels in which convolutions run fastest: channels last on a CPU."""
    return torch.channels_last_3d if device.type == "cpu" else torch.contiguous_format


def move(network: nn.Module, device: torch.device, layout: torch.memory_format | None = None) -> None:
    """Bring a network to a device in place, its kernels in the given layout or in the device's fastest."""
    network.to(device, memory_format=layout or memory_format(device))  # type: ignore[call-overload]


@contextmanager
def reproducible(config: TrainConfig, seeds: Sequence[int]) -> Iterator[None]:
    """Seed torch and set its threads for the duration, leaving both as they were found."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        torch.set_num_threads(config.threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
