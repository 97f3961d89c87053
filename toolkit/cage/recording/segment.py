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
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray

from toolkit.cage.recording.encoder import TIME_BASE
from toolkit.errors import VideoError
from toolkit.frames import NS_PER_S

_NAME = re.compile(r"_(\d{8}T\d{6})\.(\d{3})Z\.mp4$")
_FORMAT = "%Y%m%dT%H%M%S"

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


def find_frame(folder: Path, time_ns: int) -> tuple[Path, NDArray[np.uint8]] | None:
    """Return the picture of a row of the log.

    Parameters
    ----------
    folder
        The cage's folder of recordings.
    time_ns
        The row's time, UTC ns.

    Returns
    -------
    tuple or None
        The file, and (H, W, 3) uint8 RGB; None if that picture was not recorded.

    Raises
    ------
    VideoError
        If the file that should hold it cannot be read.
    """
    begun = [path for start_ns, path in segments(folder) if start_ns <= time_ns]
    if not begun:
        return None
    for found_ns, image in read_segment(begun[-1], time_ns):
        return (begun[-1], image) if found_ns == time_ns // 1000 * 1000 else None
    return None


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
