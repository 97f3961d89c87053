"""The pictures that a daemon recorded beside its log, found by the rows' times (docs/recording.md)."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from toolkit.cage.recording import origin_of, read_segment, segments
from toolkit.errors import VideoError
from toolkit.frames import MAX_STEP, NS_PER_S
from toolkit.sampling.footage import Clip, Image, Span

LONGEST_SEGMENT_NS = 3601 * NS_PER_S
"""No recorded file is longer."""

_NEAR = 0.0003
"""Share by which a camera's measured rate may differ from its nominal one: 29.97 and 30 are 0.001 apart."""

_US_PER_S = 1_000_000


class RecordedPictures:
    """What a daemon recorded, found by the rows' times (docs/recording.md).

    Parameters
    ----------
    folder
        The cage's folder of recordings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments = segments(folder)
        self._step_us = 0.0

    def runs(self, frame: NDArray[np.int64], time_ns: NDArray[np.int64]) -> NDArray[np.int64]:  # noqa: ARG002
        """See `Pictures`: pictures further apart than 1.5 of their usual step are not consecutive."""
        none = np.full(len(time_ns), -1, dtype=np.int64)
        if not len(time_ns):
            return none
        first_ns, last_ns = int(time_ns[0]) - LONGEST_SEGMENT_NS, int(time_ns[-1])
        near = [path for begin_ns, path in self._segments if first_ns <= begin_ns <= last_ns]
        times_us = np.concatenate([np.empty(0, dtype=np.int64), *map(picture_times_us, near)])
        if len(times_us) < 2:
            return none
        steps_us = np.diff(times_us)
        self._step_us = float(np.median(steps_us))
        run = np.concatenate([[0], np.cumsum((steps_us <= 0) | (steps_us > MAX_STEP * self._step_us))])
        rows_us = time_ns // 1000
        place = np.minimum(np.searchsorted(times_us, rows_us), len(times_us) - 1)
        return np.where(times_us[place] == rows_us, run[place], none)

    def read(self, span: Span) -> Clip:
        """See `Pictures`."""
        images: list[Image] = []
        times_us: list[int] = []
        # A file's name gives its beginning in whole ms: the first picture can be the last of the file before.
        before = [path for begin_ns, path in self._segments if begin_ns <= span.start_ns][-2:]
        later = [path for begin_ns, path in self._segments if span.start_ns < begin_ns < span.stop_ns]
        for path in (*before, *later):
            # A daemon that runs removes its old files; what is then missing is said below.
            with suppress(FileNotFoundError):
                for time_ns, image in read_segment(path, span.start_ns):
                    if time_ns // 1000 >= span.stop_ns // 1000:
                        break
                    times_us.append(time_ns // 1000)
                    images.append(image)
        centre_us = span.centre_ns // 1000
        whole = times_us[:1] == [span.start_ns // 1000] and centre_us in times_us
        steps_us = np.diff([*times_us, span.stop_ns // 1000])
        if not whole or np.any(steps_us <= 0) or np.any(steps_us > MAX_STEP * self._step_us):
            raise VideoError(
                f"{self.folder}: the pictures from UTC {span.start_ns} to {span.stop_ns} ns are not there any more. "
                "Recordings are removed when they are old; draw the sample again."
            )
        return Clip(images, times_us.index(centre_us), nominal_rate(_US_PER_S / self._step_us))


def nominal_rate(measured: float) -> Fraction:
    """Return the rate that a camera of a measured one has: a whole number or NTSC's share of it, where it is that near.

    Examples
    --------
    >>> nominal_rate(30.0003), nominal_rate(29.9697), nominal_rate(24.5)
    (Fraction(30, 1), Fraction(30000, 1001), Fraction(49, 2))
    """
    whole = Fraction(round(measured))
    for rate in (whole, whole * Fraction(1000, 1001)):
        if rate and abs(measured / float(rate) - 1) < _NEAR:
            return rate
    return Fraction(measured).limit_denominator(1000)


def picture_times_us(path: Path) -> NDArray[np.int64]:
    """Return the (N,) UTC times of a file's pictures, microseconds, without decoding them; none of a file that is gone.

    Raises
    ------
    VideoError
        If it is no segment.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return np.empty(0, dtype=np.int64)
    try:
        start_us = origin_of(path).start_us
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            times = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}: cannot be read ({error.strerror}). Expected a segment that `toolkit cage run` recorded. Copy it "
            "again, or move it aside."
        ) from error
    return start_us + np.array(times, dtype=np.int64)
