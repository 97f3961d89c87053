"""Recorded video files as one source, dated by their names: what a recorder left, logged after the fact.

A file's name holds the UTC of its first frame, ``20270115T100000Z`` or ``2027-01-15T10-00-00.250Z``, anywhere in it. A
file's modification time is not taken: it is when the file was copied.

Where nothing is missing, a file still begins a little off the end of the one before it: names count whole seconds, and
a frame rate is what a recorder declares. Such a file goes on where the other ended. One that begins later leaves a gap;
one that begins earlier shows what is known already, and its frames are left out up to the other's end.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from toolkit.behaviour_log import Reason
from toolkit.cage.cameras.contract import CameraInfo
from toolkit.errors import VideoError, raise_faults
from toolkit.frames import NS_PER_S, Frame, VideoInfo, probe, read_frames

JOIN_S = 1.0
"""A file that begins within so many seconds of the end of the one before it goes on from there."""

JOIN_FRACTION_S = 0.1
"""The same for a file that begins later, where both names have fractions of seconds."""

SAME_RATE = 0.01
"""Files whose declared rates differ by less than this part are of one rate: a container derives it from its times."""

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"})
"""Files that are taken from a folder; a pattern takes what it names."""

_START = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d)-?(\d\d)-?(\d\d)(?:\.(\d{1,9}))?Z")


@dataclass(frozen=True, slots=True)
class _Segment:
    start_ns: int
    """UTC ns of its first frame, as its name has it."""
    whole_seconds: bool
    """Whether its name has no fraction of a second."""
    video: VideoInfo


class SegmentsCamera:
    """Recorded files in the order of their times, as fast as they are taken; dated, so it is never paced.

    Parameters
    ----------
    place
        A folder, a pattern, or one file.

    Raises
    ------
    VideoError
        If there is no file; with every file whose name has no time, cannot be read, or has another size or frame rate
        than the first.
    """

    def __init__(self, place: Path) -> None:
        self._segments = _segments(place)
        first = self._segments[0].video
        counts = [segment.video.frames for segment in self._segments]
        self.info = CameraInfo(
            name=str(place),
            width=first.width,
            height=first.height,
            fps=float(first.fps),
            live=False,
            frames=None if None in counts else sum(count or 0 for count in counts),
            hole=Reason.CAMERA_LOST,
            begin_utc_ns=self._segments[0].start_ns,
            dated_by="the files' names",
        )

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield every file's frames; times count from the first file's first frame. See `Camera.frames`."""
        begin_ns, interval_ns = self._segments[0].start_ns, round(NS_PER_S / self.info.fps)
        index, newest_ns = 0, -interval_ns
        before = self._segments[0]
        for segment in self._segments:
            start_ns = segment.start_ns - begin_ns
            late_s = (start_ns - newest_ns - interval_ns) / NS_PER_S
            if -JOIN_S <= late_s <= (JOIN_S if before.whole_seconds or segment.whole_seconds else JOIN_FRACTION_S):
                start_ns = newest_ns + interval_ns
            before = segment
            for frame in read_frames(segment.video.path):
                if stop.is_set():
                    return
                time_ns = start_ns + frame.capture_time_ns
                if time_ns <= newest_ns + interval_ns // 2:
                    continue
                newest_ns = time_ns
                yield Frame(index, newest_ns, frame.image)
                index += 1


def _segments(place: Path) -> list[_Segment]:
    if place.is_dir():
        paths = [path for path in place.iterdir() if path.suffix.lower() in SUFFIXES]
    elif place.is_file():
        paths = [place]
    else:
        paths = list(Path(place.anchor).glob(str(place.relative_to(place.anchor))))
    if not paths:
        raise VideoError(
            f"{place}: no recorded video. Expected a folder with {', '.join(sorted(SUFFIXES))} files, a pattern or a "
            "file. Check [camera] segments."
        )
    found: list[_Segment] = []
    faults: list[str] = []
    for path in sorted(paths):
        try:
            found.append(_Segment(*_start(path), probe(path)))
        except VideoError as error:
            faults.append(str(error))
    found.sort(key=lambda segment: segment.start_ns)
    for segment in found[1:]:
        one, other = found[0].video, segment.video
        if (one.width, one.height) != (other.width, other.height) or abs(other.fps / one.fps - 1) > SAME_RATE:
            faults.append(f"{other.path}: {_kind(other)}, where {one.path.name} has {_kind(one)}")
    raise_faults(VideoError, f"{place} cannot be used", faults)
    return found


def _start(path: Path) -> tuple[int, bool]:
    """Return what a name says: UTC ns, and whether in whole seconds."""
    matches = list(_START.finditer(path.name))
    try:
        (match,) = matches
        *parts, fraction = match.groups()
        start = datetime(*map(int, parts), tzinfo=timezone.utc)  # type: ignore[arg-type, misc]
    except ValueError as error:
        found = " and ".join(match[0] for match in matches) or "none"
        raise VideoError(
            f"{path}: its name does not say when it begins. Expected one UTC time in it, e.g. "
            f"cage3_20270115T100000Z.mp4 or cage3_2027-01-15T10-00-00.250Z.mp4; found {found}. Rename it."
        ) from error
    return int(start.timestamp()) * NS_PER_S + int((fraction or "0").ljust(9, "0")), fraction is None


def _kind(video: VideoInfo) -> str:
    return f"{video.width} x {video.height} px at {float(video.fps):.3f} frames per second"
