"""What every export is made of: a day of a log, or a labelled recording, as bouts, gaps and labels of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts import Bout
from toolkit.ethogram import Ethogram
from toolkit.frames import NS_PER_S

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of unobserved time, and why."""

    start_ns: int
    stop_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Recording:
    """The video that labels are of."""

    video: str
    """File name."""
    fps: float
    frames: int


@dataclass(frozen=True, eq=False)
class Piece:
    """One cage's labels over one stretch of time. Bouts and gaps are in time order and do not overlap."""

    cage: str
    name: str
    """Begins the names of its files."""
    ethogram: Ethogram
    start_ns: int
    stop_ns: int
    dated: bool
    """Whether times are UTC ns; else ns from the first frame of a recording of which nobody knows when it was made."""
    bouts: tuple[Bout, ...]
    """Of a recording without mean probabilities: NaN."""
    unobserved: tuple[Gap, ...]
    frame_labels: NDArray[np.int16]
    """(F,) int16 positions in the ethogram, `NO_LABEL` where there is none: of a recording's frames, of a log one per
    row interval from its first row on."""
    frame_interval_ns: int
    made_by: Mapping[str, Any]
    """Provenance, for JSON."""
    file: Path
    recording: Recording | None = None

    @property
    def observed(self) -> NDArray[np.int64]:
        """(N, 2) int64 spans, [start, stop) ns: the time that is in no gap."""
        edges = np.array([self.start_ns, *(t for gap in self.unobserved for t in (gap.start_ns, gap.stop_ns)), -1])
        edges[-1] = self.stop_ns
        spans = edges.reshape(-1, 2)
        return spans[spans[:, 1] > spans[:, 0]]


def moment(time_ns: int) -> datetime:
    """Return a time in UTC, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def utc_text(time_ns: int) -> str:
    """Return a time as ISO 8601 with nine decimals.

    Examples
    --------
    >>> utc_text(1_700_000_000_000_000_001)
    '2023-11-14T22:13:20.000000001Z'
    """
    return f"{moment(time_ns):%Y-%m-%dT%H:%M:%S}.{time_ns % NS_PER_S:09d}Z"


def seconds_text(time_ns: int, decimals: int = 9) -> str:
    """Return a span as seconds, rounded in whole nanoseconds and never by a float.

    Examples
    --------
    >>> seconds_text(1_234_567_890), seconds_text(1_234_567_890, 3)
    ('1.234567890', '1.235')
    """
    unit = 10 ** (9 - decimals)
    whole, rest = divmod((time_ns + unit // 2) // unit, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}"
