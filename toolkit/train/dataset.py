"""From an annotated data set to what training and evaluation draw from: labelled, prepared videos and their clips.

Every tensor is made by `StreamInput.network_frame`, as in a cage: the same frame gives the same tensor.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.annotations import UNLABELLED, AnnotatedDataset, AnnotatedVideo
from toolkit.clips import ClipGeometry, clip_indices
from toolkit.errors import DatasetError, raise_faults
from toolkit.ethogram import Ethogram
from toolkit.flow import FlowEncoding
from toolkit.flow.select import estimator_factory
from toolkit.flow.store import FlowRecipe, Preparation, PreparedVideo, prepare
from toolkit.preprocess import Stream, StreamInput
from toolkit.train.config import TrainConfig
from toolkit.train.progress import OnProgress, Progress

CACHE = ".prepared"
HELD_IN_MEMORY = 1 << 30
"""Bytes of frames or flow that a training without loader processes keeps decompressed."""


@dataclass(frozen=True)
class LabelledVideo:
    """A prepared video, a segment of its own, and what the mouse does in its frames."""

    name: str
    """Path relative to the data set's folder."""
    group: str
    """What is held out together."""
    fps: float
    """Frames per second of the source, whose frames were annotated."""
    prepared: PreparedVideo
    labels: NDArray[np.int8]
    """(N,) int8: each kept frame's behaviour, or `UNLABELLED`."""
    intervals: tuple[tuple[int, int], ...]
    """Start and stop of every annotated interval, in kept frames; those that decimation left empty are missing."""

    @property
    def frames(self) -> int:
        """N, kept frames."""
        return len(self.labels)


@dataclass(frozen=True)
class Split:
    """Videos by what they are for; no group is in two parts."""

    training: tuple[LabelledVideo, ...]
    validation: tuple[LabelledVideo, ...]
    """What is chosen is chosen on these."""
    held_out: tuple[LabelledVideo, ...]
    """What is reported is reported on these."""


@dataclass(frozen=True)
class PreparedDataset:
    """A data set's labelled, prepared videos."""

    root: Path
    ethogram: Ethogram
    videos: tuple[LabelledVideo, ...]
    sha256: str
    """Hash over the videos' contents, names, groups and labels."""
    recipe: FlowRecipe
    preparation: Preparation
    """What preparing it took."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted."""
        return tuple(sorted({video.group for video in self.videos}))

    def split(self, held_out_groups: Collection[str], validation_groups: Collection[str] = ()) -> Split:
        """Return the videos by what they are for.

        Raises
        ------
        DatasetError
            If a group does not exist, is named twice, or none is left to train on.
        """
        named = [*held_out_groups, *validation_groups]
        faults = [
            f"{group!r}: no such group among {', '.join(self.groups)}" for group in named if group not in self.groups
        ]
        faults += [
            f"{group!r} is both held out and for validation" for group in held_out_groups if group in validation_groups
        ]
        if not faults and set(self.groups) <= set(named):
            faults.append("no group is left to train on")
        raise_faults(DatasetError, "The videos cannot be divided", faults)
        return Split(
            training=tuple(video for video in self.videos if video.group not in named),
            validation=tuple(video for video in self.videos if video.group in validation_groups),
            held_out=tuple(video for video in self.videos if video.group in held_out_groups),
        )


def prepare_dataset(
    dataset: AnnotatedDataset,
    config: TrainConfig,
    *,
    cache: Path | None = None,
    workers: int = 1,
    on_progress: OnProgress | None = None,
) -> PreparedDataset:
    """Prepare a data set's videos (see `toolkit.flow.store`) and label their frames.

    Parameters
    ----------
    cache
        Folder of the prepared videos; None takes ``.prepared`` in the data set's folder.

    Raises
    ------
    VideoError
        With every video that cannot be used.
    """
    recipe = config.recipe()
    task = "prepare frames and flow" if recipe.parameters else "prepare frames"
    preparation = prepare(
        [video.path for video in dataset.videos],
        recipe,
        cache or dataset.root / CACHE,
        workers=workers,
        estimator=estimator_factory(config.flow_by),
        on_progress=on_progress and (lambda done, total: on_progress(Progress(task, done, total, "frames"))),
    )
    videos = tuple(
        _labelled(video, prepared, dataset) for video, prepared in zip(dataset.videos, preparation.videos, strict=True)
    )
    sha256 = _dataset_sha256(dataset, preparation.videos)
    return PreparedDataset(dataset.root, dataset.ethogram, videos, sha256, recipe, preparation)


def held_in_memory(
    videos: Sequence[LabelledVideo], stream: Stream, most_bytes: int = HELD_IN_MEMORY
) -> tuple[LabelledVideo, ...]:
    """Return the videos with what the stream reads decompressed, where all of it takes at most so many bytes.

    Training reads every frame many times over. A small data set is decompressed once; a large one stays on disk.
    """
    arrays = [video.prepared.frames if stream == "rgb" else video.prepared.flow_steps for video in videos]
    sizes = [math.prod(array.shape) * array.dtype.itemsize for array in arrays if array is not None]
    if len(sizes) < len(videos) or sum(sizes) > most_bytes:
        return tuple(videos)
    return tuple(replace(video, prepared=_decompressed(video.prepared, stream)) for video in videos)


def _decompressed(prepared: PreparedVideo, stream: Stream) -> PreparedVideo:
    if stream == "rgb":
        return replace(prepared, frames=np.asarray(prepared.frames))
    return replace(prepared, flow_steps=np.asarray(prepared.flow_steps))


def check_behaviours(videos: Sequence[LabelledVideo], ethogram: Ethogram, part: str) -> None:
    """Raise DatasetError unless every behaviour labels at least one frame of these videos.

    `part` names them in the message, e.g. ``the training part of fold video3``.
    """
    present = set(np.concatenate([video.labels for video in videos]).tolist()) if videos else set()
    absent = [name for index, name in enumerate(ethogram.names) if index not in present]
    if absent:
        raise DatasetError(
            f"{part} has no frame of {', '.join(absent)}. A network cannot learn what it is not shown: annotate more "
            "videos, or leave these behaviours out of the ethogram."
        )


def samples_per_epoch(videos: Sequence[LabelledVideo], config: TrainConfig) -> int:
    """Return how many samples `training_centres` draws."""
    if config.sampling == "balanced":
        return config.clips_per_epoch
    return sum(len(video.intervals) for video in videos)


def training_centres(
    videos: Sequence[LabelledVideo], config: TrainConfig, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw one epoch's samples: (M, 2) int64 positions of the video and of the centre frame in it, shuffled."""
    if config.sampling == "clip":
        spans = np.array(
            [(index, start, stop) for index, video in enumerate(videos) for start, stop in video.intervals]
        )
        centres = generator.integers(spans[:, 1], spans[:, 2])
        drawn = np.stack([spans[:, 0], centres], axis=1)
    else:
        labels = np.concatenate([video.labels for video in videos])
        origins = np.concatenate(
            [np.stack([np.full(v.frames, i), np.arange(v.frames)], 1) for i, v in enumerate(videos)]
        )
        behaviours = np.unique(labels[labels != UNLABELLED])
        # Equal shares, the remainder at random, so that no epoch lacks a behaviour by chance.
        shares = np.resize(generator.permutation(behaviours), config.clips_per_epoch)
        drawn = np.empty((len(shares), 2), dtype=np.int64)
        for behaviour in behaviours:
            chosen = shares == behaviour
            pool = np.flatnonzero(labels == behaviour)
            drawn[chosen] = origins[generator.choice(pool, size=int(chosen.sum()))]
    return generator.permutation(drawn).astype(np.int64)


def fill_training_clip(
    video: LabelledVideo,
    centre: int,
    spec: StreamInput,
    config: TrainConfig,
    generator: np.random.Generator,
    out: NDArray[np.float32],
) -> None:
    """Write one randomly cropped and flipped clip into `out`, (C, T, crop, crop) float32."""
    margin = spec.resize - spec.crop
    y, x = (int(value) for value in generator.integers(0, margin + 1, size=2))
    mirror = bool(generator.random() < config.flip)
    indices = clip_indices(centre, video.frames, config.clip)
    for position, image in enumerate(_stream_images(video, indices, spec, config.encoding)):
        if position and indices[position] == indices[position - 1]:
            out[:, position] = out[:, position - 1]
            continue
        spec.network_frame(image, out[:, position], corner=(y, x), mirror=mirror)
        if mirror and spec.stream == "flow" and config.flip_flow == "as-published":
            out[0, position] *= -1


def evaluation_clips(
    video: LabelledVideo,
    centres: NDArray[np.int64],
    spec: StreamInput,
    clip: ClipGeometry,
    encoding: FlowEncoding,
    batch: int,
) -> Iterator[NDArray[np.float32]]:
    """Yield the centrally cropped clips of `centres`, ascending frames of one video, preprocessing each frame once.

    Memory holds the frames of one batch. Where clips wrap around, the video's first frames are made twice.

    Yields
    ------
    (B, C, T, crop, crop) float32
        The next at most `batch` clips.
    """
    known = np.empty(0, dtype=np.int64)
    made = np.empty((0, spec.channels, spec.crop, spec.crop), dtype=np.float32)
    for start in range(0, len(centres), batch):
        indices = np.stack([clip_indices(int(c), video.frames, clip) for c in centres[start : start + batch]])
        needed, gather = np.unique(indices, return_inverse=True)
        frames = np.empty((len(needed), *made.shape[1:]), dtype=np.float32)
        kept, from_known, from_needed = np.intersect1d(known, needed, assume_unique=True, return_indices=True)
        frames[from_needed] = made[from_known]
        new = np.flatnonzero(~np.isin(needed, kept))
        for position, image in zip(new, _stream_images(video, needed[new], spec, encoding), strict=True):
            spec.network_frame(image, frames[position])
        known, made = needed, frames
        yield np.ascontiguousarray(frames[gather.reshape(indices.shape)].transpose(0, 2, 1, 3, 4))


def _stream_images(
    video: LabelledVideo, indices: NDArray[np.int64], spec: StreamInput, encoding: FlowEncoding
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Read these frames, or their flow, in one go."""
    if spec.stream == "rgb":
        return np.asarray(video.prepared.frames[indices])
    if video.prepared.flow_steps is None:
        raise DatasetError(f"{video.name} was prepared without flow. Prepare it with a flow stream.")
    return encoding.decode(video.prepared.flow_steps[indices])


def _labelled(video: AnnotatedVideo, prepared: PreparedVideo, dataset: AnnotatedDataset) -> LabelledVideo:
    source_index = prepared.source_index
    labels = np.full(max(video.frames, int(source_index[-1]) + 1), UNLABELLED, dtype=np.int8)
    labels[: video.frames] = video.labels(dataset.ethogram)
    spans = [
        tuple(np.searchsorted(source_index, (interval.start_frame, interval.stop_frame)).tolist())
        for interval in video.intervals
    ]
    intervals = tuple((start, stop) for start, stop in spans if stop > start)
    return LabelledVideo(_name(video, dataset), video.group, video.fps, prepared, labels[source_index], intervals)


def _name(video: AnnotatedVideo, dataset: AnnotatedDataset) -> str:
    return video.path.relative_to(dataset.root).as_posix()


def _dataset_sha256(dataset: AnnotatedDataset, prepared: Sequence[PreparedVideo]) -> str:
    content = [
        [
            _name(video, dataset),
            video.group,
            made.video_sha256,
            [[i.start_frame, i.stop_frame, i.behaviour] for i in video.intervals],
        ]
        for video, made in zip(dataset.videos, prepared, strict=True)
    ]
    return hashlib.sha256(json.dumps([dataset.ethogram.names, sorted(content)]).encode()).hexdigest()
