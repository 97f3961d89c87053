"""Recorded files: `FOLDER/CAGE/YYYY-MM-DD/CAGE_YYYYmmddTHHMMSS.fffZ.mp4`, which are their own index.

A picture's time in the file is its row's time in the log, in microseconds from the file's first picture, whose time
is in the file's name and, to the microsecond, in its metadata. No index lies beside the files, so none can disagree
with them after a kill. The files are fragmented MP4: what was written plays, and a kill costs the newest fragment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from toolkit.cage.recording.encoder import TIME_BASE
from toolkit.errors import InputError, VideoError
from toolkit.files import atomic_write
from toolkit.frames import NS_PER_S

_NAME = re.compile(r"_(\d{8}T\d{6})\.(\d{3})Z\.mp4$")
_FORMAT = "%Y%m%dT%H%M%S"

LONGEST_S = 1.0
"""A picture stands for no more time than this."""

_OPTIONS = {
    # The headers are made of the first packet, so the file stays empty until the second key frame.
    "movflags": "frag_keyframe+delay_moov+default_base_moof",
    "video_track_timescale": str(TIME_BASE.denominator),
    "flush_packets": "1",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file's pictures come from; kept in its metadata as JSON."""

    cage: str
    session: str
    """The log session's UUID."""
    start_us: int
    """UTC time of the first picture, as its row in the log has it, truncated to microseconds."""


class SegmentWriter:
    """One file in the making.

    Parameters
    ----------
    folder
        The cage's folder of recordings.
    origin
        What the file is of.
    width, height
        px.

    Raises
    ------
    OSError, av.error.FFmpegError
        Here or later: if it cannot be written.
    """

    def __init__(self, folder: Path, origin: Origin, width: int, height: int) -> None:
        self.path = segment_path(folder, origin.cage, 1000 * origin.start_us)
        self.start_us = origin.start_us
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self.path), "w", options=_OPTIONS)
        self._container.metadata["comment"] = json.dumps(asdict(origin))
        self._stream = self._container.add_mux_stream("h264", width=width, height=height, time_base=TIME_BASE)

    def write(self, packet: Packet[Any], time_us: int) -> None:
        """Append a picture taken at UTC `time_us`, microseconds; the first must be a key frame."""
        packet.pts = packet.dts = time_us - self.start_us
        packet.stream = self._stream
        self._container.mux(packet)

    def close(self) -> None:
        """Write what is still in memory."""
        self._container.close()


def segment_path(folder: Path, cage: str, start_ns: int) -> Path:
    """Return where the segment that begins at UTC `start_ns` lies, below a cage's folder."""
    begin = datetime.fromtimestamp(start_ns // NS_PER_S, timezone.utc)
    ms = start_ns % NS_PER_S // 1_000_000
    return folder / begin.strftime("%Y-%m-%d") / f"{cage}_{begin.strftime(_FORMAT)}.{ms:03d}Z.mp4"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Return a cage's recorded files, oldest first, each with the UTC ms at which it begins, in ns."""
    found = []
    for path in folder.glob("????-??-??/*.mp4"):
        if match := _NAME.search(path.name):
            begin = datetime.strptime(match[1], _FORMAT).replace(tzinfo=timezone.utc)
            found.append((int(begin.timestamp()) * NS_PER_S + int(match[2]) * 1_000_000, path))
    return sorted(found)


def read_segment(path: Path, from_ns: int | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield a file's pictures with their times.

    Parameters
    ----------
    from_ns
        UTC ns; pictures before it are left out.

    Yields
    ------
    tuple
        UTC ns, truncated to microseconds, and (H, W, 3) uint8 RGB. A file that a kill cut short ends where it was cut.

    Raises
    ------
    VideoError
        If it is no segment.
    """
    if path.stat().st_size == 0:
        return
    try:
        with av.open(str(path)) as container:
            start_us = _origin(path, container).start_us
            stream = container.streams.video[0]
            wanted_us = 0 if from_ns is None else from_ns // 1000 - start_us
            if wanted_us > 0:
                container.seek(wanted_us, stream=stream)
            try:
                for picture in container.decode(stream):
                    if picture.pts is not None and picture.pts >= wanted_us:
                        yield 1000 * (start_us + picture.pts), picture.to_ndarray(format="rgb24")
            except av.error.InvalidDataError:
                return
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}: cannot be read ({error.strerror}). Expected a segment that `toolkit cage run` recorded. Copy it "
            "again."
        ) from error


@dataclass(frozen=True)
class Picture:
    """A picture that was found in a recording."""

    path: Path
    time_ns: int
    """UTC ns, truncated to microseconds."""
    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""

    @property
    def utc(self) -> str:
        """Its time in ISO 8601."""
        begin = datetime.fromtimestamp(self.time_ns // NS_PER_S, timezone.utc)
        return f"{begin:%Y-%m-%dT%H:%M:%S}.{self.time_ns % NS_PER_S // 1000:06d}Z"

    def save(self, png: Path) -> None:
        """Write it as a PNG file."""
        with atomic_write(png) as beside:
            beside.write_bytes(cv2.imencode(".png", np.ascontiguousarray(self.image[..., ::-1]))[1].tobytes())


def picture_at(folder: Path, time_ns: int) -> Picture | None:
    """Return what the camera saw at a time: the newest picture up to then, at most `LONGEST_S` older.

    Parameters
    ----------
    folder
        The cage's folder of recordings.
    time_ns
        UTC ns; a row's time finds the row's own picture, if that was recorded.

    Raises
    ------
    VideoError
        If the file that should hold it cannot be read.
    """
    begun = [path for start_ns, path in segments(folder) if start_ns <= time_ns]
    # A file's name gives its beginning in whole ms: the picture can be the last of the file before.
    for path in begun[:-3:-1]:
        found: Picture | None = None
        for found_ns, image in read_segment(path, time_ns - round(LONGEST_S * NS_PER_S)):
            if found_ns > time_ns:
                break
            found = Picture(path, found_ns, image)
        if found is not None:
            return found
    return None


def time_ns_of(utc: str) -> int:
    """Return the UTC ns of a time in ISO 8601; without a zone it is UTC.

    Raises
    ------
    InputError
        If it is no time.

    Examples
    --------
    >>> time_ns_of("1970-01-01T00:00:02.000001Z")
    2000001000
    """
    try:
        # Python 3.10 does not know the letter.
        at = datetime.fromisoformat(utc.removesuffix("Z"))
    except ValueError as error:
        raise InputError(f"expected a time such as 2026-11-26T08:00:00.5, found {utc!r}.") from error
    at = at.replace(tzinfo=at.tzinfo or timezone.utc)
    return int(at.replace(microsecond=0).timestamp()) * NS_PER_S + at.microsecond * 1000


def origin_of(path: Path) -> Origin:
    """Return what a file is of.

    Raises
    ------
    VideoError
        If it is no segment.
    """
    with av.open(str(path)) as container:
        return _origin(path, container)


def _origin(path: Path, container: av.container.InputContainer) -> Origin:
    try:
        return Origin(**json.loads(container.metadata["comment"]))
    except (KeyError, TypeError, ValueError) as error:
        raise VideoError(
            f"{path}: does not say which cage and session it is of. Expected a segment that `toolkit cage run` "
            "recorded."
        ) from error
