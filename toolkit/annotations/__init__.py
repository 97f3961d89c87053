"""Labelled intervals of videos, and the three forms in which a data set folder holds them.

- ``annotations.csv`` beside the videos, one interval a row: ``video,start_frame,stop_frame,behaviour`` or, in seconds,
  ``video,start_s,stop_s,behaviour``. The header says the unit. Intervals are half-open and do not overlap; frames in
  none of them are unlabelled.
- ``<behaviour>/<video>_<...>.<ext>``: every file is a clip of one behaviour, cut from the video that it names, as in
  the clipped database of Jhuang et al. 2010. Every clip is a segment of its own.
- ``<video>_<behaviour>_<number>.<ext>`` in one folder: the clipped database as published.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.annotations.clipped import NamedClip, named_clips
from toolkit.errors import AnnotationError, DatasetError, VideoError, raise_faults
from toolkit.ethogram import MOUSE_HOME_CAGE, Ethogram, ethogram_from_names
from toolkit.frames import count_frames, probe

ANNOTATIONS = "annotations.csv"
VIDEO_SUFFIXES = (".mp4", ".mpg", ".mpeg", ".avi", ".mkv", ".mov", ".webm", ".m4v")
UNLABELLED = -1

_HEADERS = {
    ("video", "start_frame", "stop_frame", "behaviour"): False,
    ("video", "start_s", "stop_s", "behaviour"): True,
}


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
    """``FILE: reason`` for each video that was left out."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted."""
        return tuple(sorted({video.group for video in self.videos}))


def load_dataset(
    folder: Path, *, behaviours: Sequence[str] | None = None, group_pattern: str | None = None
) -> AnnotatedDataset:
    """Read a data set folder and check its annotations against its videos.

    Parameters
    ----------
    folder
        Holds ``annotations.csv``, or one folder per behaviour, or clips named as in the clipped database
        (``video5_groom_163.mpg``).
    behaviours
        The ethogram's names in order. By default the eight of the home cage for ``annotations.csv``, and those that
        were found otherwise.
    group_pattern
        Regular expression with one group, searched in each video's path relative to `folder`; what the group
        matches is held out together, e.g. ``(animal[0-9]+)``. By default the video's file name without its suffix,
        and of clips what precedes the first underscore.

    Raises
    ------
    DatasetError
        If the folder holds none of these, or the pattern matches a video's name nowhere.
    AnnotationError
        With every fault found: unknown behaviours, missing videos, negative, empty, overlapping or too long
        intervals.
    VideoError
        If a video's header cannot be read.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder. Expected a data set: videos and {ANNOTATIONS}.")
    skipped: list[str] = []
    if (folder / ANNOTATIONS).is_file():
        ethogram = ethogram_from_names(behaviours) if behaviours else MOUSE_HOME_CAGE
        videos = _videos_of_table(folder, ethogram, group_pattern)
    elif (found := named_clips(_clips(folder)))[0]:
        clips, skipped = found
        present = {clip.behaviour for clip in clips}
        # A name that is none of the eight is more likely misspelt than a ninth.
        ethogram = ethogram_from_names(behaviours or _in_order(present & set(MOUSE_HOME_CAGE.names) or present))
        videos = _videos_of_clips(clips, folder, ethogram, group_pattern)
    else:
        names = behaviours or _behaviour_folders(folder)
        ethogram = ethogram_from_names(names)
        videos = _videos_of_layout(folder, ethogram, group_pattern)
    if not videos:
        raise DatasetError(f"{folder}: no annotated video. Expected at least one row or one clip.")
    return AnnotatedDataset(folder, ethogram, tuple(videos), tuple(skipped))


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


def _videos_of_table(folder: Path, ethogram: Ethogram, group_pattern: str | None) -> list[AnnotatedVideo]:
    table = folder / ANNOTATIONS
    rows = _rows(table)
    faults: list[str] = []
    videos = []
    for name in dict.fromkeys(row.video for row in rows):
        path = folder / name
        if not path.is_file():
            lines = [row.line for row in rows if row.video == name]
            faults.append(f"line {lines[0]}: video {name!r} is not in {folder}" + _also(lines))
            continue
        info, frames = probe(path), count_frames(path)
        mine = [row for row in rows if row.video == name]
        intervals = _checked_intervals(mine, float(info.fps), frames, ethogram, faults)
        group = _group(Path(name), group_pattern, Path(name).stem)
        videos.append(AnnotatedVideo(path, group, float(info.fps), frames, intervals))
    raise_faults(AnnotationError, f"{table} does not fit its videos", faults)
    return videos


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    video: str
    start: float
    stop: float
    behaviour: str
    seconds: bool


def _rows(table: Path) -> list[_Row]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{table}: not a CSV file in UTF-8 ({error}). Save it as CSV, UTF-8.") from error
    header = tuple(cell.strip() for cell in lines[0]) if lines else ()
    if header not in _HEADERS:
        expected = " or ".join(",".join(names) for names in _HEADERS)
        raise AnnotationError(f"{table}: expected the header {expected}, found {','.join(header)!r}.")
    seconds = _HEADERS[header]
    faults, rows = [], []
    for line, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        try:
            video, start, stop, behaviour = (cell.strip() for cell in cells)
            convert = float if seconds else int
            rows.append(_Row(line, video, convert(start), convert(stop), behaviour, seconds))
        except ValueError:
            unit = "seconds" if seconds else "whole frames"
            faults.append(f"line {line}: expected video, start, stop in {unit}, behaviour; found {','.join(cells)!r}")
    raise_faults(AnnotationError, f"{table} cannot be read", faults)
    return rows


def _checked_intervals(
    rows: Iterable[_Row], fps: float, frames: int, ethogram: Ethogram, faults: list[str]
) -> tuple[Interval, ...]:
    intervals: list[tuple[Interval, int]] = []
    for row in rows:
        rate = fps if row.seconds else 1.0
        interval = Interval(round(row.start * rate), round(row.stop * rate), row.behaviour)
        where = f"line {row.line}: {row.video}, {row.behaviour} from {row.start:g} to {row.stop:g}"
        if row.behaviour not in ethogram.names:
            faults.append(f"line {row.line}: unknown behaviour {row.behaviour!r}{_guess(row.behaviour, ethogram)}")
        elif row.start < 0:
            faults.append(f"{where}: starts before the video")
        elif interval.stop_frame <= interval.start_frame:
            faults.append(f"{where}: the stop must come after the start")
        elif interval.stop_frame > frames:
            faults.append(f"{where}: ends at frame {interval.stop_frame}, the video has {frames}")
        else:
            intervals.append((interval, row.line))
    intervals.sort(key=lambda pair: pair[0].start_frame)
    for (earlier, first), (later, second) in pairwise(intervals):
        if later.start_frame < earlier.stop_frame:
            faults.append(
                f"lines {first} and {second}: {earlier.behaviour} and {later.behaviour} overlap in frames "
                f"{later.start_frame} to {min(earlier.stop_frame, later.stop_frame)}"
            )
    return tuple(interval for interval, _ in intervals)


def _behaviour_folders(folder: Path) -> list[str]:
    found = sorted(child.name for child in folder.iterdir() if child.is_dir() and _clips(child))
    if not found:
        raise DatasetError(
            f"{folder}: not a data set. Expected {ANNOTATIONS}, folders <behaviour>/<video>_<...>.<ext>, or clips "
            f"named like video5_groom_163.mpg ({', '.join(VIDEO_SUFFIXES)})."
        )
    return _in_order(set(found))


def _in_order(names: set[str]) -> list[str]:
    """Return the names in the home cage's order where it has all of them, else sorted."""
    if names <= set(MOUSE_HOME_CAGE.names):
        return [name for name in MOUSE_HOME_CAGE.names if name in names]
    return sorted(names)


def _videos_of_clips(
    clips: Sequence[NamedClip], folder: Path, ethogram: Ethogram, group_pattern: str | None
) -> list[AnnotatedVideo]:
    faults: list[str] = []
    videos = []
    for clip in clips:
        if clip.behaviour not in ethogram.names:
            faults.append(f"{clip.path.name}: unknown behaviour{_guess(clip.behaviour, ethogram)}")
            continue
        group = _group(clip.path.relative_to(folder), group_pattern, clip.video)
        videos += _whole_clip(clip.path, clip.behaviour, group, faults)
    raise_faults(AnnotationError, f"{folder} cannot be used", faults)
    return videos


def _whole_clip(path: Path, behaviour: str, group: str, faults: list[str]) -> list[AnnotatedVideo]:
    """Return the clip, all of whose frames show its behaviour, or none and a fault."""
    try:
        info, frames = probe(path), count_frames(path)
    except VideoError as error:
        faults.append(str(error))
        return []
    return [AnnotatedVideo(path, group, float(info.fps), frames, (Interval(0, frames, behaviour),))]


def _videos_of_layout(folder: Path, ethogram: Ethogram, group_pattern: str | None) -> list[AnnotatedVideo]:
    faults: list[str] = []
    videos = []
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        clips = _clips(child)
        if clips and child.name not in ethogram.names:
            faults.append(f"folder {child.name}: unknown behaviour{_guess(child.name, ethogram)}")
            continue
        for path in clips:
            group = _group(path.relative_to(folder), group_pattern, path.stem.split("_")[0])
            videos += _whole_clip(path, child.name, group, faults)
    raise_faults(AnnotationError, f"{folder} cannot be used", faults)
    return videos


def _clips(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)


def _group(relative: Path, pattern: str | None, default: str) -> str:
    if pattern is None:
        return default
    try:
        match = re.search(pattern, str(relative))
        return match.group(1) if match else _no_group(relative, pattern)
    except (re.error, IndexError) as error:
        raise DatasetError(
            f"group pattern {pattern!r}: {error}. Expected a regular expression with one group, as in (animal[0-9]+)."
        ) from error


def _no_group(relative: Path, pattern: str) -> str:
    raise DatasetError(f"group pattern {pattern!r} does not match {relative}. Every video must belong to a group.")


def _guess(name: str, ethogram: Ethogram) -> str:
    close = get_close_matches(name, ethogram.names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f"; expected one of {', '.join(ethogram.names)}"


def _also(lines: Sequence[int]) -> str:
    return f" (and {len(lines) - 1} more rows)" if len(lines) > 1 else ""
