"""The pictures of labelled rows: which rows have one, and the very frames of a clip, from a video (docs/review.md)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from toolkit.errors import VideoError
from toolkit.frames import count_frames, probe

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a clip lies in its source: from its first row to the row after its last, and the row that is scored."""

    start_frame: int
    centre_frame: int
    stop_frame: int
    start_ns: int
    centre_ns: int
    stop_ns: int


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip's pictures."""

    images: list[Image]
    """(H, W, 3) uint8 RGB each."""
    centre: int
    """Which of them is scored."""
    fps: Fraction
    """Nominal frames per second."""


class Pictures(Protocol):
    """What was filmed while rows were labelled."""

    def runs(self, frame: NDArray[np.int64], time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (N,) for each row the number of the run of consecutive pictures that its own lies in; -1: it has none.

        Parameters
        ----------
        frame, time_ns
            (N,) the rows' frame numbers and times, increasing.
        """
        ...

    def read(self, span: Span) -> Clip:
        """Return a clip's pictures.

        Raises
        ------
        VideoError
            If they cannot be read, or are not all there.
        """
        ...


class VideoPictures:
    """A video whose frame numbers the rows have.

    Parameters
    ----------
    path
        The video, of constant frame rate.

    Raises
    ------
    VideoError
        If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames = count_frames(path)
        self.fps = probe(path).fps
        with av.open(str(path)) as container:
            first = next(container.decode(container.streams.video[0]), None)
        self._first_s = 0.0 if first is None or first.time is None else first.time

    def runs(self, frame: NDArray[np.int64], time_ns: NDArray[np.int64]) -> NDArray[np.int64]:  # noqa: ARG002
        """See `Pictures`; the rows' frame numbers were checked against the video."""
        return np.where((frame >= 0) & (frame < self.frames), 0, -1)

    def read(self, span: Span) -> Clip:
        """See `Pictures`."""
        wanted = range(span.start_frame, span.stop_frame)
        images = self._decoded(wanted, seek=True)
        if images is None:
            # Containers without an index find no place, or the wrong one: count from the first.
            images = self._decoded(wanted, seek=False)
        if images is None:
            raise VideoError(
                f"{self.path}: frames {wanted.start} to {wanted.stop - 1} cannot be read. Expected a whole video of "
                "constant frame rate, the very one that was labelled; copy it again."
            )
        return Clip(images, span.centre_frame - span.start_frame, self.fps)

    def _decoded(self, wanted: range, *, seek: bool) -> list[Image] | None:
        images: list[Image] = []
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                if seek and wanted.start and stream.time_base:
                    begin_s = self._first_s + float((wanted.start - 0.5) / self.fps)
                    container.seek(int(begin_s / stream.time_base), stream=stream)
                for place, picture in enumerate(container.decode(stream)):
                    number = place
                    if seek:
                        if picture.time is None:
                            return None
                        number = round((picture.time - self._first_s) * float(self.fps))
                    if number < wanted.start:
                        continue
                    if number != wanted.start + len(images):
                        return None
                    images.append(picture.to_ndarray(format="rgb24"))
                    if len(images) == len(wanted):
                        return images
        except av.error.FFmpegError:
            return None
        return None
