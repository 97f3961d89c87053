"""When a camera is opened again: what counts as a stall, how long to wait, and when to give it up.

Waits double from `retry_s` to `retry_max_s`, each shortened at random by up to a half, so that the cages of a rack do
not all ask one switch at once; the first frame brings them back to `retry_s`. A camera that is merely away is asked for
ever: at the default settings at most 25 times in `WINDOW_S`. `max_restarts` is for one that comes and goes: each of
its restarts costs frames, and somebody must look at it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.cage.cameras import Camera
from toolkit.errors import CameraError
from toolkit.frames import Frame

WINDOW_S = 600.0
"""More than `max_restarts` in so many seconds are a crash loop."""

HANGING = 4
"""Threads that hang in a camera's driver, at most: none can be ended, and each keeps its memory."""

CLOSE_S = 2.0
"""How long a stalled source may take to close before its thread is left behind."""

LOOK_S = 0.25
"""Longest time without looking for a stall."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """When a source is opened again; see `toolkit.cage.config.CameraTable`."""

    stall_s: float
    retry_s: float
    retry_max_s: float
    max_restarts: int


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source does."""

    restarts: int = 0
    fault: str | None = None
    """Why it was closed; None once frames come again."""
    given_up: bool = False


class Reader:
    """One opening of a camera, read in a thread of its own, which is left behind where it hangs in a driver."""

    def __init__(self, camera: Camera, offer: Callable[[Frame], None]) -> None:
        self._camera = camera
        self._offer = offer
        self._stop = threading.Event()
        self._ended = threading.Event()
        # Held while a frame is handed over, so that none comes after `_close`.
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._heard_s = time.monotonic()
        self.frames = 0
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)

    @property
    def hangs(self) -> bool:
        """Whether its thread was left behind and has not come back."""
        return self._thread.is_alive()

    def follow(self, stop: threading.Event, stall_s: float, on_frames: Callable[[], None]) -> CameraError | None:
        """Read until the source fails or stalls; return why, or None at its end and on `stop`.

        Parameters
        ----------
        stall_s
            Without a frame for so long, from its opening on, it has stalled.
        on_frames
            Told again and again that frames come.

        Raises
        ------
        BaseException
            What the source raised, unless it is a `CameraError`.
        """
        self._thread.start()
        while not self._ended.wait(min(LOOK_S, stall_s / 4)) and not stop.is_set():
            if self.frames:
                on_frames()
            silent_s = time.monotonic() - self._heard_s
            if silent_s > stall_s:
                self._close()
                return CameraError(
                    f"{self._camera.info.name}: no frame for {silent_s:.0f} s. Expected one within stall_s = "
                    f"{stall_s:g} s. Check its cable, power and network."
                )
        self._close()
        if self._error is None or isinstance(self._error, CameraError):
            return self._error
        raise self._error

    def _close(self) -> None:
        with self._lock:
            self._stop.set()
        self._thread.join(timeout=CLOSE_S)

    def _read(self) -> None:
        try:
            for frame in self._camera.frames(self._stop):
                with self._lock:
                    if self._stop.is_set():
                        return
                    self._offer(frame)
                self._heard_s = time.monotonic()
                self.frames += 1
        except BaseException as error:  # noqa: BLE001  `follow` returns or raises it
            self._error = error
        finally:
            self._ended.set()


def opened_when_there(
    opening: Callable[[], Camera],
    recovery: Recovery,
    *,
    stop: threading.Event,
    on_absent: Callable[[CameraError], None],
) -> Camera:
    """Return a camera once it can be opened, however long it is away.

    Parameters
    ----------
    opening
        Opens it.
    stop
        Ends the wait.
    on_absent
        Told, before each wait, why it could not be opened.

    Raises
    ------
    CameraError
        If `stop` was set before it came.
    """
    wait_s = recovery.retry_s
    while True:
        try:
            return opening()
        except CameraError as error:
            on_absent(error)
            if stop.wait(wait_s * random.uniform(0.5, 1.0)):
                raise CameraError(f"stopped while the camera was away: {error}") from error
        wait_s = min(2 * wait_s, recovery.retry_max_s)


class Restarts:
    """The waits before a source's restarts, and the end of them."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self._random = random.Random()
        self._times_s: deque[float] = deque()
        self._failures = 0
        self._left_behind: list[Reader] = []

    def wait_s(self, reader: Reader, now_s: float) -> float | None:
        """Return the seconds to wait before the next restart, or None where the source is to be given up.

        Parameters
        ----------
        reader
            The opening that has failed.
        now_s
            Monotonic time.
        """
        while self._times_s and now_s - self._times_s[0] > WINDOW_S:
            self._times_s.popleft()
        self._left_behind = [left for left in (*self._left_behind, reader) if left.hangs]
        if len(self._times_s) >= self._recovery.max_restarts or len(self._left_behind) >= HANGING:
            return None
        self._times_s.append(now_s)
        self._failures = 0 if reader.frames else min(self._failures + 1, 32)
        longest_s = min(self._recovery.retry_s * 2.0**self._failures, self._recovery.retry_max_s)
        return longest_s * self._random.uniform(0.5, 1.0)
