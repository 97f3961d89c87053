"""What every source of frames is to the daemon: what it says of itself, and frames timed on a steady clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from toolkit.behaviour_log import Reason
from toolkit.frames import Frame


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """What a source is."""

    name: str
    """Never holds a password."""
    width: int
    """px."""
    height: int
    """px."""
    fps: float
    """Nominal frames per second."""
    live: bool
    """Whether frames come at the pace of the clock: then the queue drops, otherwise the source waits for it."""
    frames: int | None
    """Frames that it will deliver; None where it does not end or does not say."""
    hole: Reason
    """Why there is a hole between two of its frames, where none was dropped."""
    recovers: bool = False
    """Whether it is opened again where it fails or falls silent: a device or a stream, never a file."""
    begin_utc_ns: int | None = None
    """UTC ns of a recording's moment 0, from which its frames' times count; None: the system's clock dates them."""
    dated_by: str = "their arrival"
    """What gives its frames their times."""
    refused: tuple[str, ...] = ()
    """Settings that were asked for and that it did not take, one sentence each."""
    warnings: tuple[str, ...] = ()
    """What else is not as it should be, one sentence each."""


class Camera(Protocol):
    """A source of frames. Constructing reads what the source says of itself and leaves nothing open."""

    @property
    def info(self) -> CameraInfo:
        """Size, rate and nature."""
        ...

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames until the source ends or `stop` is set.

        A frame's time is monotonic ns, as near to its exposure as the source tells, and later than the frame's before.
        Of a recording with dates of its own (`CameraInfo.begin_utc_ns`) it counts from the recording's first frame.

        Raises
        ------
        CameraError, VideoError
            If the source cannot be opened, fails or stops delivering.
        """
        ...
