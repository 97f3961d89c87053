"""Batches of training clips, made in this process or in several that work ahead of the network.

Every clip draws its crop and flip from a seed of its own, so that the same batches come from any number of processes,
and a training that goes on after an interruption sees the clips that it would have seen.
"""

from __future__ import annotations

import pickle
import signal
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from toolkit.errors import ConfigError
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import LabelledVideo, fill_training_clip, samples_per_epoch, training_centres
from toolkit.train.distributed import Processes

Batch = tuple[torch.Tensor, torch.Tensor, int]
"""(B, C, T, H, W) float32 clips, (B,) int64 behaviours, and the clips of the whole batch over all processes."""

Place = tuple[int, int]
"""Epoch, from 1, and batch in it, from 0."""


class TrainingBatches(Dataset[Batch]):
    """All batches of a training, by epoch and place: this process's share of each.

    Parameters
    ----------
    videos
        To draw from.
    seeds
        Of this stream's training.
    processes
        Who shares each batch.

    Raises
    ------
    ConfigError
        If a batch has fewer clips than there are processes.
    """

    def __init__(
        self,
        videos: Sequence[LabelledVideo],
        stream: Stream,
        config: TrainConfig,
        seeds: Sequence[int],
        processes: Processes,
    ) -> None:
        self._videos, self._config, self._spec = videos, config, config.stream_input(stream)
        self._seeds, self._processes = list(seeds), processes
        self._epoch = 0
        self._centres = np.empty((0, 2), dtype=np.int64)
        samples = samples_per_epoch(videos, config)
        whole, rest = divmod(samples, config.batch)
        # A last batch with fewer clips than processes is left out: a batch norm cannot work on none.
        self.per_epoch = whole + (rest >= processes.count)
        self.samples = whole * config.batch + (rest if rest >= processes.count else 0)
        if config.batch < processes.count or not self.per_epoch:
            raise ConfigError(
                f"batch: {config.batch} clips (of {samples} in an epoch) cannot be shared by {processes.count} "
                "processes. Start fewer processes, or train with a larger batch."
            )

    def __getitem__(self, place: Place) -> Batch:
        epoch, number = place
        if epoch != self._epoch:
            generator = np.random.default_rng([*self._seeds, epoch])
            self._epoch, self._centres = epoch, training_centres(self._videos, self._config, generator)
        first = number * self._config.batch
        batch = np.arange(first, min(first + self._config.batch, len(self._centres)))
        mine = np.array_split(batch, self._processes.count)[self._processes.rank]
        spec = self._spec
        clips = np.empty((len(mine), spec.channels, self._config.clip.frames, spec.crop, spec.crop), dtype=np.float32)
        behaviours = torch.empty(len(mine), dtype=torch.int64)
        for row, position in enumerate(mine.tolist()):
            video, centre = self._centres[position].tolist()
            generator = np.random.default_rng(np.random.SeedSequence([*self._seeds, epoch], spawn_key=(position,)))
            fill_training_clip(self._videos[video], centre, spec, self._config, generator, clips[row])
            behaviours[row] = int(self._videos[video].labels[centre])
        return torch.from_numpy(clips), behaviours, len(batch)


def stream_of_batches(
    batches: TrainingBatches, epochs: range, loaders: int, *, pinned: bool = False
) -> Iterator[Batch]:
    """Yield the batches of these epochs in order.

    Parameters
    ----------
    loaders
        Processes that make batches ahead; 0 makes each here when it is asked for.
    pinned
        Copy them to pinned memory, from which a GPU reads faster.
    """
    places = [(epoch, number) for epoch in epochs for number in range(batches.per_epoch)]
    if loaders == 0 or not places:
        yield from (batches[place] for place in places)
        return
    with tempfile.TemporaryDirectory() as folder:
        # Spawned, not forked: a fork of a process with OpenCV's or torch's threads can hang.
        yield from DataLoader(
            _BatchesInFile.of(batches, Path(folder) / "batches.pickle"),
            batch_size=None,
            sampler=places,
            num_workers=loaders,
            multiprocessing_context="spawn",
            worker_init_fn=_start_loader,
            pin_memory=pinned,
        )


class _BatchesInFile(Dataset[Batch]):
    """`TrainingBatches` as loader processes are given them: each reads them from a file once it runs.

    What does not fit into the pipe that starts a process (64 KiB) is written only when that process, after its imports,
    reads: they would start one after the other, several seconds each.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, batches: TrainingBatches, path: Path) -> _BatchesInFile:
        """Write the batches to a file."""
        path.write_bytes(pickle.dumps(batches))
        return cls(path)

    @cached_property
    def _batches(self) -> TrainingBatches:
        batches: TrainingBatches = pickle.loads(self._path.read_bytes())
        return batches

    def __getitem__(self, place: Place) -> Batch:
        return self._batches[place]


def _start_loader(number: int) -> None:
    del number
    # Ctrl-C reaches the whole process group; the training process ends its loaders.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
