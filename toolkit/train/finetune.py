"""Training a stream's network: the recipe of Nguyen et al. 2019, section 2.4, as a plain loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from toolkit.annotations import UNLABELLED
from toolkit.errors import InputError
from toolkit.preprocess import STREAMS, Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import LabelledVideo, evaluation_clips, held_in_memory
from toolkit.train.distributed import Processes, broadcast, shared, summed
from toolkit.train.initial import initial_network
from toolkit.train.loader import Batch, TrainingBatches, stream_of_batches
from toolkit.train.memory import memory_advice
from toolkit.train.metrics import EpochMetrics, MetricsLog
from toolkit.train.optimisation import MovingAverage, make_optimiser
from toolkit.train.pretrained import Pretrained
from toolkit.train.progress import OnProgress, Progress
from toolkit.train.run_folder import BEST, checkpoint
from toolkit.train.unfinished import STATE, save_tensors

_REPORT_EVERY_S = 0.2


@dataclass(frozen=True)
class TrainedNetwork:
    """What a stream's training leaves."""

    network: nn.Module
    """With its last weights (their moving average where there is one), on the CPU, in evaluation mode."""
    metrics: tuple[EpochMetrics, ...]
    """A row per epoch."""
    weights: Pretrained | None
    """What it started from; None for random weights."""


@dataclass
class Course:
    """All that changes while a network is trained: what a resumed training goes on from."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler
    average: MovingAverage | None
    metrics: list[EpochMetrics] = field(default_factory=list)
    """Of the epochs done."""

    @property
    def evaluated(self) -> nn.Module:
        """The network whose weights count: the moving average where there is one."""
        return self.average.network if self.average else self.network

    @property
    def best(self) -> EpochMetrics | None:
        """The first epoch with the highest accuracy on the validation groups; None without them."""
        validated = [row for row in self.metrics if row.validation_accuracy is not None]
        return max(validated, key=lambda row: row.validation_accuracy or 0.0, default=None)

    def state(self) -> dict[str, Any]:
        """Return tensors and plain types that `load` goes on from, to the bit on a CPU."""
        return {
            "format": 1,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "metrics": [asdict(row) for row in self.metrics],
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.metrics = [EpochMetrics(**row) for row in state["metrics"]]
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available() and len(state["cuda_random"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda_random"])


def train_stream(
    training: Sequence[LabelledVideo],
    validation: Sequence[LabelledVideo],
    classes: int,
    stream: Stream,
    config: TrainConfig,
    folder: Path,
    state: dict[str, Any] | None,
    *,
    loaders: int,
    processes: Processes,
    on_progress: OnProgress,
) -> TrainedNetwork:
    """Train one stream's network, keeping its state in `folder` after every epoch.

    On a CPU the same seed and number of threads give the same weights, whether or not the training was interrupted.

    Parameters
    ----------
    training, validation
        Videos to learn from, and videos to predict after each epoch; may be empty.
    classes
        K, behaviours of the ethogram.
    config
        Of this stream: `TrainConfig.of`.
    folder
        Receives ``state.pt``, ``metrics.csv``, ``tensorboard/`` and, with validation videos, ``best.pt``.
    state
        To go on from, as `toolkit.train.unfinished` found it; None begins.
    loaders
        Processes that make clips ahead; 0 makes them between the steps.
    processes
        Who trains, met already (`toolkit.train.distributed.join`).

    Raises
    ------
    InputError
        If the GPU's memory does not hold a batch; the message says which batch it holds.
    """
    device = choose_device(config, processes)
    # Streams draw from seeds of their own, so that training one does not change the other.
    seeds = [config.seed, STREAMS.index(stream)]
    with reproducible(config, seeds), memory_advice(config, stream, classes, device):
        network, weights = initial_network(config, stream, classes)
        move(network, device, config)
        model = shared(network, processes, device)
        if processes.count > 1:
            torch.manual_seed(config.seed + processes.rank)
        if loaders == 0:
            training = held_in_memory(training, stream)
        batches = TrainingBatches(training, stream, config, seeds, processes)
        course = begin(network, config, config.epochs * batches.per_epoch, device)
        if state is not None:
            course.load(state)
        done = len(course.metrics)
        coming = stream_of_batches(batches, range(done + 1, config.epochs + 1), loaders, pinned=device.type == "cuda")
        with MetricsLog(folder, course.metrics, active=processes.is_first) as log:
            for epoch in range(done + 1, config.epochs + 1):

                def on_batch(seen: int, detail: str, before: int = (epoch - 1) * batches.samples) -> None:
                    total = config.epochs * batches.samples
                    on_progress(Progress(f"train {stream}", before + seen, total, "clips", detail))

                row = train_one_epoch(
                    model, course, islice(coming, batches.per_epoch), config, device, epoch, on_batch, processes
                )
                if processes.is_first:
                    course.metrics.append(validated(row, course.evaluated, validation, stream, config, device))
                    if course.best is course.metrics[-1]:
                        save_tensors(folder / BEST, checkpoint(stream, epoch, course.evaluated))
                    log.append(course.metrics[-1])
                    save_tensors(folder / STATE, course.state())
                course.metrics = broadcast(course.metrics, processes)
        final = course.evaluated
        move(final, torch.device("cpu"), config, torch.contiguous_format)
    return TrainedNetwork(final.eval(), tuple(course.metrics), weights)


def begin(network: nn.Module, config: TrainConfig, steps: int, device: torch.device) -> Course:
    """Return the course of a training of `steps` steps, before the first one."""
    optimiser, schedule = make_optimiser(network, config, steps)
    scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype(config, device) is torch.float16)
    return Course(network, optimiser, schedule, scaler, MovingAverage(network, config.ema) if config.ema else None)


def train_one_epoch(
    model: nn.Module,
    course: Course,
    batches: Iterable[Batch],
    config: TrainConfig,
    device: torch.device,
    epoch: int,
    on_batch: Callable[[int, str], None],
    processes: Processes,
) -> EpochMetrics:
    """Take one optimiser step per batch and return the epoch's metrics over all processes.

    `model` is the course's network, or averages its gradients over several processes. `on_batch` is told the clips seen
    in this epoch and the metrics so far; what a GPU computed is fetched only when it is due.
    """
    model.train()
    started_s = reported_s = time.monotonic()
    sums = torch.zeros(3, device=device)
    seen, learning_rate = 0, 0.0
    for clips, behaviours, whole_batch in batches:
        clips = clips.to(device, memory_format=memory_format(config, device), non_blocking=True)
        behaviours = behaviours.to(device, non_blocking=True)
        learning_rate = float(course.schedule.get_last_lr()[0])
        loss, right = _step(model, course, clips, behaviours, whole_batch, config, processes)
        sums += torch.stack([loss, right, loss.new_tensor(len(clips))])
        seen += whole_batch
        if time.monotonic() - reported_s > _REPORT_EVERY_S:
            reported_s = time.monotonic()
            on_batch(seen, _so_far(epoch, sums, seen, reported_s - started_s, learning_rate).line())
    row = _so_far(epoch, summed(sums, processes), seen, time.monotonic() - started_s, learning_rate)
    on_batch(seen, row.line())
    return row


def _so_far(epoch: int, sums: torch.Tensor, seen: int, seconds: float, learning_rate: float) -> EpochMetrics:
    """Return the metrics of (3,) sums: losses, right clips, clips."""
    loss, right, clips = sums.tolist()
    return EpochMetrics(epoch, loss / clips, right / clips, learning_rate, seconds, seen / seconds)


def _step(
    model: nn.Module,
    course: Course,
    clips: torch.Tensor,
    behaviours: torch.Tensor,
    whole_batch: int,
    config: TrainConfig,
    processes: Processes,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take one optimiser step; return the sum of this process's losses and how many clips it had right."""
    dtype = amp_dtype(config, clips.device)
    with torch.autocast(clips.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        logits = model(clips)
    loss = functional.cross_entropy(logits.float(), behaviours, reduction="sum", label_smoothing=config.label_smoothing)
    course.optimiser.zero_grad()
    # The mean over the whole batch; several processes' gradients are averaged, hence times their number.
    course.scaler.scale(loss * (processes.count / whole_batch)).backward()  # type: ignore[no-untyped-call]
    course.scaler.step(course.optimiser)
    course.scaler.update()
    course.schedule.step()
    if course.average:
        course.average.update(course.network)
    return loss.detach(), (logits.argmax(1) == behaviours).sum()


def validated(
    row: EpochMetrics,
    network: nn.Module,
    videos: Sequence[LabelledVideo],
    stream: Stream,
    config: TrainConfig,
    device: torch.device,
) -> EpochMetrics:
    """Return an epoch's metrics with accuracy and mean cross-entropy on the validation videos' labelled frames."""
    truth, logits = [], []
    for video in videos:
        centres = labelled_frames(video, config.validation_stride)
        if len(centres):
            logits.append(frame_logits(network, video, centres, stream, config, device))
            truth.append(video.labels[centres].astype(np.int64))
    if not truth:
        return row
    predicted, right = torch.from_numpy(np.concatenate(logits)), torch.from_numpy(np.concatenate(truth))
    return row.with_validation(
        accuracy=float((predicted.argmax(1) == right).double().mean()),
        loss=float(functional.cross_entropy(predicted, right)),
    )


def labelled_frames(video: LabelledVideo, stride: int) -> NDArray[np.int64]:
    """Return every `stride`-th labelled frame, as positions among the kept ones."""
    frames: NDArray[np.int64] = np.flatnonzero(video.labels != UNLABELLED)[::stride]
    return frames


def frame_logits(
    network: nn.Module,
    video: LabelledVideo,
    centres: NDArray[np.int64],
    stream: Stream,
    config: TrainConfig,
    device: torch.device,
    on_clips: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the (M, K) float32 logits of M >= 1 frames of a video, ascending, computed in single precision.

    `on_clips` is told the clips of each batch that is done.
    """
    spec = config.stream_input(stream)
    network.eval()
    logits = []
    with torch.inference_mode():
        for clips in evaluation_clips(video, centres, spec, config.clip, config.encoding, config.evaluation_batch):
            tensor = torch.from_numpy(clips).to(device, memory_format=memory_format(config, device))
            logits.append(network(tensor).float().cpu().numpy())
            if on_clips:
                on_clips(len(clips))
    return np.concatenate(logits)


def choose_device(config: TrainConfig, processes: Processes | None = None) -> torch.device:
    """Return the device that networks are trained on: of several processes on a machine, each has a GPU of its own.

    Raises
    ------
    InputError
        If the configuration asks for a GPU that torch does not see.
    """
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise InputError('device = "cuda", but torch sees no GPU here. Use "cpu", or install torch with CUDA.')
    if not available or config.device == "cpu":
        return torch.device("cpu")
    index = processes.local_rank if processes else 0
    if index >= torch.cuda.device_count():
        raise InputError(
            f"process {index} of this machine has no GPU: torch sees {torch.cuda.device_count()}. Start as many "
            "processes as there are GPUs (torchrun --nproc-per-node)."
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def amp_dtype(config: TrainConfig, device: torch.device) -> torch.dtype | None:
    """Return the type of the forward pass's mixed precision; None is single precision."""
    if config.amp == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[config.amp]


def memory_format(config: TrainConfig, device: torch.device) -> torch.memory_format:
    """Return the layout of clips and kernels."""
    last = config.memory_format == "channels-last" or (config.memory_format == "auto" and device.type == "cpu")
    return torch.channels_last_3d if last else torch.contiguous_format


def move(
    network: nn.Module, device: torch.device, config: TrainConfig, layout: torch.memory_format | None = None
) -> None:
    """Bring a network to a device in place, its kernels in the given or the configuration's layout."""
    network.to(device, memory_format=layout or memory_format(config, device))  # type: ignore[call-overload]


@contextmanager
def reproducible(config: TrainConfig, seeds: Sequence[int]) -> Iterator[None]:
    """Seed torch, set its threads and its choice of kernels for the duration, leaving all as they were found."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
        torch.set_num_threads(config.threads or threads)
        if config.deterministic:
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=warned_only)
