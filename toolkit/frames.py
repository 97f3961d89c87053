"""Frames and where they come from: the video-file reader, and what makes a run of frames consecutive.

The reader decodes with PyAV, in presentation order, and refuses what would silently misdate a row: a file that
ends early, a frame rate that varies, a picture that cannot be decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from toolkit.errors import VideoError

NS_PER_S = 1_000_000_000

MAX_STEP = 1.5
"""Frames further apart than this many frame intervals are not consecutive."""

LEAST_DECIMATION = 4 / 3
"""A source must be this many times faster to be decimated: below, a dropped frame leaves a gap over `MAX_STEP`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and when it was taken."""

    index: int
    """Position in the source, counting every frame it delivered, from 0."""
    capture_time_ns: int
    """Time on the source's own steady clock, ns: from the first frame of a file, monotonic for a camera."""
    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file's header declares."""

    path: Path
    width: int
    height: int
    fps: Fraction
    """Frames per second."""
    frames: int | None
    """Declared frame count, or None where the container does not say."""
    codec: str


def count_frames(path: Path) -> int:
    """Return a video's frame count: the header's, or its packets counted without decoding them.

    Raises
    ------
    VideoError
        If the file is missing, empty or not a video.
    """
    with _open(path) as container:
        declared = _info(path, container).frames
        if declared is not None:
            return declared
        return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)


def probe(path: Path) -> VideoInfo:
    """Read a video's header.

    Raises
    ------
    VideoError
        If the file is missing, empty, not a video, or declares no frame rate.
    """
    with _open(path) as container:
        return _info(path, container)


def read_frames(path: Path) -> Iterator[Frame]:
    """Decode a video from its first frame to its last.

    Yields
    ------
    Frame
        In presentation order. `capture_time_ns` counts from the first frame and `image` is the decoder's own
        buffer, not to be written to.

    Raises
    ------
    VideoError
        If the file cannot be decoded, holds no frame, ends before its declared frame count, or if two
        successive frames are closer than half or further than one and a half frame intervals.
    """
    with _open(path) as container:
        info = _info(path, container)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        interval_s = 1 / info.fps
        first_s: float | None = None
        previous_s = 0.0
        count = 0
        try:
            for picture in container.decode(stream):
                time_s = picture.time
                if time_s is None:
                    time_s = previous_s + float(interval_s) if count else 0.0
                if first_s is None:
                    first_s = time_s
                elif not 0.5 <= (time_s - previous_s) * info.fps <= MAX_STEP:
                    raise VideoError(
                        f"{path}: frame {count} comes {1000 * (time_s - previous_s):.1f} ms after the one before "
                        f"it, where {float(info.fps):.3f} frames per second were declared. Expected a constant "
                        f"frame rate. Convert it: ffmpeg -i {path.name} -vsync cfr -r {float(info.fps):g} OUT.mp4"
                    )
                previous_s = time_s
                yield Frame(count, round((time_s - first_s) * NS_PER_S), picture.to_ndarray(format="rgb24"))
                count += 1
        except av.error.FFmpegError as error:
            raise VideoError(
                f"{path}: frame {count} cannot be decoded ({error.strerror}). The file is damaged or incomplete; "
                "copy it again from the camera, or cut it before this frame."
            ) from error
    if count == 0:
        raise VideoError(f"{path}: no frame could be decoded. Expected a video with at least one frame.")
    if info.frames is not None and count < info.frames:
        raise VideoError(
            f"{path}: ended after {count} of {info.frames} declared frames. The file is truncated; copy it again, "
            "or rewrite its header: ffmpeg -i IN.mp4 -c copy OUT.mp4"
        )


class FrameRateGate:
    """Brings a source to the network's frame rate by dropping frames by capture time.

    Parameters
    ----------
    fps
        Wanted frames per second.
    source_fps
        The source's nominal rate. Below `fps` times `LEAST_DECIMATION` nothing is dropped.

    Examples
    --------
    >>> gate = FrameRateGate(15.0, source_fps=30.0)
    >>> [gate.accept(index * NS_PER_S // 30) for index in range(4)]
    [True, False, True, False]
    """

    def __init__(self, fps: float, source_fps: float) -> None:
        self._interval_ns = NS_PER_S / fps
        self._keeps_all = source_fps < fps * LEAST_DECIMATION
        self._origin_ns: int | None = None
        self._previous_slot = 0

    def accept(self, capture_time_ns: int) -> bool:
        """Say whether the frame taken at this time is kept."""
        if self._keeps_all:
            return True
        if self._origin_ns is None:
            self._origin_ns = capture_time_ns
            return True
        # Camera times jitter: a frame up to a quarter interval early still belongs to its slot.
        slot = int((capture_time_ns - self._origin_ns) / self._interval_ns + 0.25)
        if slot <= self._previous_slot:
            return False
        self._previous_slot = slot
        return True

    def restart(self) -> None:
        """Forget the past: the next frame is kept, whatever its time."""
        self._origin_ns = None
        self._previous_slot = 0


def is_consecutive(previous_ns: int, current_ns: int, fps: float) -> bool:
    """Say whether two frames of an `fps` source follow one another without a gap (DESIGN.md, Clip)."""
    return 0 < (current_ns - previous_ns) * fps / NS_PER_S <= MAX_STEP


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise VideoError(f"{path}: no such video file. Check the path.")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes). Copy it again from the camera.")
    try:
        container = av.open(str(path))
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}: not a readable video ({error.strerror}). Expected a container that FFmpeg knows, complete "
            "to its end; copy it again, or convert it to MP4."
        ) from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path}: holds no video stream. Expected a video file.")
    return container


def _info(path: Path, container: av.container.InputContainer) -> VideoInfo:
    stream = container.streams.video[0]
    fps = stream.average_rate or stream.guessed_rate
    if not fps:
        raise VideoError(f"{path}: declares no frame rate. Convert it: ffmpeg -i {path.name} -r FPS OUT.mp4")
    return VideoInfo(
        path=path,
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        fps=Fraction(fps),
        frames=stream.frames or None,
        codec=stream.codec_context.name,
    )
