"""The thread that takes a camera's frames without ever waiting for the networks, and opens it again where it fails.

The capture thread puts frames into a bounded queue; when that is full, frames are dropped and counted until the backlog
is processed. So a daemon that cannot keep up still sees bursts of at least a queue's length of consecutive frames, with
recorded gaps between them, where dropping single frames would break every clip.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from typing_extensions import Self

from toolkit.cage.cameras import Camera
from toolkit.cage.recovery import Reader, Recovery, Restarts, SourceState
from toolkit.errors import CameraError
from toolkit.frames import Frame


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame taken from the queue."""

    frame: Frame
    dropped: int
    """Frames that were dropped between the delivery before and this one."""


class FrameQueue:
    """At most `size` frames on their way from the capture thread to the daemon.

    Once full it takes no more frames until it is empty: what it drops is one stretch of time, and what it takes next
    is a burst of consecutive frames.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._frames: deque[Delivery] = deque()
        self._changed = threading.Condition()
        self._draining = False
        self._dropped_since = 0
        self._ended = False
        self._newest_ns = 0
        self.captured = 0
        self.dropped = 0

    def offer(self, frame: Frame) -> None:
        """Add a camera's frame, or drop it; never waits."""
        with self._changed:
            self.captured += 1
            self._newest_ns = frame.capture_time_ns
            if self._draining:
                self.dropped += 1
                self._dropped_since += 1
                return
            self._append(frame)
            self._draining = len(self._frames) >= self._size

    def put(self, frame: Frame, stop: threading.Event) -> None:
        """Add a recording's frame, waiting for room."""
        with self._changed:
            while len(self._frames) >= self._size and not stop.is_set():
                self._changed.wait(0.1)
            self.captured += 1
            self._append(frame)

    def end(self) -> None:
        """Say that no frame follows."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Delivery | None:
        """Return the oldest frame, or None if there is none within `timeout_s` or at the end."""
        with self._changed:
            if not self._frames and not self._ended:
                self._changed.wait(timeout_s)
            if not self._frames:
                return None
            delivery = self._frames.popleft()
            if not self._frames:
                self._draining = False
            self._changed.notify_all()
            return delivery

    @property
    def ended(self) -> bool:
        """Whether every frame was taken and none follows."""
        with self._changed:
            return self._ended and not self._frames

    @property
    def dropped_until_ns(self) -> int | None:
        """Capture time of the newest frame, if it and all since the delivery before were dropped."""
        with self._changed:
            return self._newest_ns if self._dropped_since and not self._frames else None

    @property
    def overloaded(self) -> bool:
        """Whether frames are being dropped until the backlog is processed."""
        return self._draining

    def __len__(self) -> int:
        return len(self._frames)

    def _append(self, frame: Frame) -> None:
        self._frames.append(Delivery(frame, self._dropped_since))
        self._dropped_since = 0
        self._changed.notify_all()


class CaptureThread:
    """Runs a camera in a thread of its own; a context manager that starts and stops it.

    Parameters
    ----------
    recovery
        When a camera that recovers is opened again. Without it, and for any other camera, its error is the end.
    """

    def __init__(self, camera: Camera, queue_frames: int, recovery: Recovery | None = None) -> None:
        self._camera = camera
        self._recovery = recovery if camera.info.recovers else None
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._capture, name="capture", daemon=True)
        self._newest_ns = 0
        self.queue = FrameQueue(queue_frames)
        self.source = SourceState()
        """How the source does; replaced as a whole."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # A device that hangs in its driver must not keep the daemon from ending: the thread dies with the process.
        self._thread.join(timeout=5.0)

    def deliveries(self, stop: threading.Event, tick_s: float) -> Iterator[Delivery | None]:
        """Yield frames until the source ends or `stop` is set, and None after every `tick_s` without one.

        A source that is being opened again, or was given up, is silent; it does not end. On `stop` the backlog is left:
        it would delay the end by as long as the daemon is behind.

        Raises
        ------
        CameraError, VideoError
            What a source that does not recover raised, once its frames are taken.
        """
        while not stop.is_set():
            delivery = self.queue.take(tick_s)
            if delivery is None and self.queue.ended:
                break
            yield delivery
        if self._error is not None and not stop.is_set():
            raise self._error

    def _capture(self) -> None:
        try:
            if self._recovery is None:
                self._read_once()
            else:
                self._read_again_and_again(self._recovery)
        except BaseException as error:  # noqa: BLE001  the daemon's thread raises it again
            self._error = error
        finally:
            self.queue.end()

    def _read_once(self) -> None:
        live = self._camera.info.live
        for frame in self._camera.frames(self._stop):
            if live:
                self.queue.offer(frame)
            else:
                self.queue.put(frame, self._stop)

    def _read_again_and_again(self, recovery: Recovery) -> None:
        restarts = Restarts(recovery)
        while not self._stop.is_set():
            reader = Reader(self._camera, self._offer)
            fault = reader.follow(self._stop, recovery.stall_s, self._note_frames)
            if fault is None:
                return
            wait_s = restarts.wait_s(reader, time.monotonic())
            if wait_s is None:
                self.source = SourceState(self.source.restarts, str(fault), given_up=True)
                self._stop.wait()
                return
            self.source = SourceState(self.source.restarts + 1, str(fault))
            self._stop.wait(wait_s)

    def _note_frames(self) -> None:
        if self.source.fault is not None:
            self.source = SourceState(self.source.restarts)

    def _offer(self, frame: Frame) -> None:
        """Number a frame on from those before the restart, and take it if it fits to them."""
        info = self._camera.info
        height, width = frame.image.shape[:2]
        if (width, height) != (info.width, info.height):
            raise CameraError(
                f"{info.name}: delivers {width} x {height} px now. Expected {info.width} x {info.height} px, as at the "
                "start. Set the camera back, or start the daemon again."
            )
        if frame.capture_time_ns <= self._newest_ns:
            early_ms = (self._newest_ns - frame.capture_time_ns) / 1e6
            raise CameraError(
                f"{info.name}: a frame is dated {early_ms:.1f} ms before the one "
                "ahead of it. Expected times that increase. If this goes on, update the camera's firmware."
            )
        self._newest_ns = frame.capture_time_ns
        self.queue.offer(Frame(self.queue.captured, frame.capture_time_ns, frame.image))
