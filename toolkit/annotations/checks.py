"""Annotations against their videos: the checks that every reader shares."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.annotations.contract import VIDEO_SUFFIXES, AnnotatedVideo, Interval, Request
from toolkit.annotations.names import unknown
from toolkit.errors import DatasetError, VideoError
from toolkit.ethogram import Ethogram
from toolkit.frames import count_frames, probe

MAX_RATE_DIFFERENCE = 0.0005
"""An annotation's frame rate may differ from its video's by this share: enough for rounding, not for 29.97 and 30."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A behaviour from `start` up to `stop`, as a file says it."""

    where: str
    """File and line, for messages."""
    start: float
    stop: float
    behaviour: str
    seconds: bool
    """Whether start and stop are in seconds, from the video's first frame; else they are frames."""


def opened(path: Path, group: str, faults: list[str]) -> AnnotatedVideo | None:
    """Return the video with its rate and frame count and no interval yet, or None and a fault."""
    try:
        return AnnotatedVideo(path, group, float(probe(path).fps), count_frames(path), ())
    except VideoError as error:
        faults.append(str(error))
        return None


def checked_intervals(
    stretches: Iterable[Stretch], video: AnnotatedVideo, ethogram: Ethogram, faults: list[str]
) -> tuple[Interval, ...]:
    """Return the stretches as intervals in frames, in order; what is impossible is a fault, and each unknown name."""
    intervals: list[tuple[Interval, str]] = []
    nameless: dict[str, list[str]] = {}
    for stretch in stretches:
        rate = video.fps if stretch.seconds else 1.0
        interval = Interval(round(stretch.start * rate), round(stretch.stop * rate), stretch.behaviour)
        said = f"{stretch.where}: {video.path.name}, {stretch.behaviour} from {stretch.start:g} to {stretch.stop:g}"
        if stretch.behaviour not in ethogram.names:
            nameless.setdefault(stretch.behaviour, []).append(stretch.where)
        elif stretch.start < 0:
            faults.append(f"{said}: starts before the video")
        elif interval.stop_frame <= interval.start_frame:
            faults.append(f"{said}: the stop must come after the start")
        elif interval.stop_frame > video.frames:
            faults.append(f"{said}: ends at frame {interval.stop_frame}, the video has {video.frames}")
        else:
            intervals.append((interval, stretch.where))
    for name, places in nameless.items():
        where = places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"
        faults.append(f"{where}: {unknown(name, ethogram)}")
    intervals.sort(key=lambda pair: pair[0].start_frame)
    faults += _overlaps(intervals, video.path.name)
    return tuple(interval for interval, _ in intervals)


def _overlaps(intervals: list[tuple[Interval, str]], video: str) -> Iterator[str]:
    longest: tuple[Interval, str] | None = None
    for interval, where in intervals:
        if longest and interval.start_frame < longest[0].stop_frame:
            yield (
                f"{longest[1]} and {where}: {longest[0].behaviour} and {interval.behaviour} overlap in frames "
                f"{interval.start_frame} to {min(longest[0].stop_frame, interval.stop_frame)} of {video}"
            )
        if longest is None or interval.stop_frame > longest[0].stop_frame:
            longest = (interval, where)


def videos_in(folder: Path) -> list[Path]:
    """Return the video files that lie in a folder itself, sorted."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files with these suffixes in a folder and below it, sorted; what is hidden is not looked at."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def group_of(path: Path, request: Request, default: str) -> str:
    """Return what a video is held out with: what the user's pattern matches in its path, else `default`.

    Raises
    ------
    DatasetError
        If the pattern is not a regular expression with one group, or does not match.
    """
    pattern, relative = request.group_pattern, os.path.relpath(path, request.folder)
    if pattern is None:
        return default
    try:
        match = re.search(pattern, relative)
        if match is None:
            raise DatasetError(
                f"group pattern {pattern!r} does not match {relative}. Every video must belong to a group."
            )
        return match.group(1)
    except (re.error, IndexError) as error:
        raise DatasetError(
            f"group pattern {pattern!r}: {error}. Expected a regular expression with one group, as in (animal[0-9]+)."
        ) from error
