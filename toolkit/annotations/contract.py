"""What every form of a data set folder is read into, and what a reader of one form promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from toolkit.ethogram import Ethogram

ANNOTATIONS = "annotations.csv"
VIDEO_SUFFIXES = (".mp4", ".mpg", ".mpeg", ".avi", ".mkv", ".mov", ".webm", ".m4v")
UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class Interval:
    """A behaviour from `start_frame` up to, not including, `stop_frame`."""

    start_frame: int
    stop_frame: int
    behaviour: str


@dataclass(frozen=True, slots=True)
class AnnotatedVideo:
    """A video, or a clip of one, and what the mouse does in it."""

    path: Path
    group: str
    """What leave-one-out holds out together: the video that a clip comes from, or the animal."""
    fps: float
    """Frames per second."""
    frames: int
    """Frame count."""
    intervals: tuple[Interval, ...]
    """In order, not overlapping."""

    def labels(self, ethogram: Ethogram) -> NDArray[np.int8]:
        """Return (frames,) int8: each frame's behaviour in `ethogram`, or `UNLABELLED`."""
        labels = np.full(self.frames, UNLABELLED, dtype=np.int8)
        for interval in self.intervals:
            labels[interval.start_frame : interval.stop_frame] = ethogram.index(interval.behaviour)
        return labels


@dataclass(frozen=True, slots=True)
class AnnotatedDataset:
    """The videos of a data set folder."""

    root: Path
    ethogram: Ethogram
    videos: tuple[AnnotatedVideo, ...]
    skipped: tuple[str, ...] = ()
    """``FILE: reason`` for each video or event that was left out."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted."""
        return tuple(sorted({video.group for video in self.videos}))


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks of a data set folder."""

    folder: Path
    behaviours: Sequence[str] | None = None
    """The ethogram's names in order, or None to take it from the folder."""
    group_pattern: str | None = None
    """Regular expression with one group, searched in each video's path relative to `folder`."""
    video: Path | None = None
    """The only video that is wanted, wherever it lies now: it stands for the one of its name, or the only one."""

    def meant(self, names: Iterable[str]) -> list[str]:
        """Return which of the videos that a file names are wanted, each once."""
        distinct = list(dict.fromkeys(names))
        if self.video is None or len(distinct) <= 1:
            return distinct
        return [name for name in distinct if not self.renamed(name)]

    def renamed(self, name: str) -> list[str]:
        """Return what there is to say where the wanted video is not called what a file calls it."""
        # Reads / and \ alike: annotators' machines are often not this one's kind.
        if self.video is None or PureWindowsPath(name).name == self.video.name:
            return []
        return [f"annotations of {name} are taken for those of {self.video.name}"]


@dataclass(slots=True)
class Reading:
    """What a reader found; it collects every fault instead of raising the first."""

    ethogram: Ethogram
    videos: list[AnnotatedVideo] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """One sentence each, with file and line."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form that a data set folder can have."""

    name: str
    find: Callable[[Path], list[Path]]
    """Return the files of this form in a folder, known by their content; none if it has another form."""
    read: Callable[[Request, list[Path]], Reading]
    """Read those files. Raises AnnotationError only where a file's structure is past reading."""


def intervals_from_labels(labels: NDArray[np.int8], ethogram: Ethogram) -> tuple[Interval, ...]:
    """Return the runs of equal labels in (N,) int8 labels as intervals, leaving out `UNLABELLED`."""
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts = [0, *edges.tolist()] if len(labels) else []
    stops = [*edges.tolist(), len(labels)]
    return tuple(
        Interval(start, stop, ethogram.names[labels[start]])
        for start, stop in zip(starts, stops, strict=False)
        if labels[start] != UNLABELLED
    )
