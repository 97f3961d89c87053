"""Where a cage's frames come from, and the thread that takes them without ever waiting for the networks.

A camera is a small source behind one contract. Its frames are timed on the monotonic clock. The capture thread puts
them into a bounded queue; when that is full, frames are dropped and counted until the backlog is processed. So a
daemon that cannot keep up still sees bursts of at least a queue's length of consecutive frames, with recorded gaps
between them, where dropping single frames would break every clip.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2
from typing_extensions import Self

from toolkit.behaviour_log import Reason
from toolkit.cage.config import CameraTable
from toolkit.errors import CameraError
from toolkit.frames import NS_PER_S, Frame, probe, read_frames


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """What a source is."""

    name: str
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


class Camera(Protocol):
    """A source of frames. Constructing opens nothing but may read what the source says of itself."""

    @property
    def info(self) -> CameraInfo:
        """Size, rate and nature.

        Raises
        ------
        CameraError, VideoError
            If the source cannot be opened.
        """
        ...

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames timed on the monotonic clock until the source ends or `stop` is set.

        Raises
        ------
        CameraError, VideoError
            If the source cannot be opened, fails or stops delivering.
        """
        ...


class VideoFileCamera:
    """A video file that stands in for a camera.

    A frame's time is the moment of the first frame plus its time in the file. At each turn of a loop one frame's time
    is left out, so that no clip crosses the cut.

    Parameters
    ----------
    realtime
        Deliver each frame when its time has come; otherwise at once.
    loop
        Begin again at the end.
    """

    def __init__(self, path: Path, *, realtime: bool, loop: bool = False) -> None:
        video = probe(path)
        self._path = path
        self._loop = loop
        self.info = CameraInfo(
            name=str(path),
            width=video.width,
            height=video.height,
            fps=float(video.fps),
            live=realtime,
            frames=None if loop else video.frames,
            hole=Reason.END_OF_SOURCE,
        )

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the file's frames; see `Camera.frames`."""
        begin_ns = time.monotonic_ns()
        index = 0
        while True:
            last_ns = begin_ns
            for frame in read_frames(self._path):
                last_ns = begin_ns + frame.capture_time_ns
                wait_s = (last_ns - time.monotonic_ns()) / NS_PER_S if self.info.live else 0.0
                if stop.wait(wait_s) if wait_s > 0 else stop.is_set():
                    return
                yield Frame(index, last_ns, frame.image)
                index += 1
            if not self._loop:
                return
            begin_ns = last_ns + round(2 * NS_PER_S / self.info.fps)


class DeviceCamera:
    """A camera that OpenCV can open: a device path such as ``/dev/v4l/by-id/...``, or a number.

    A frame's time is when it was handed over, which is after its exposure by the driver's delay.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        capture = _open_device(device)
        try:
            fps = float(capture.get(cv2.CAP_PROP_FPS))
            width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        finally:
            capture.release()
        if fps <= 0:
            raise CameraError(
                f"camera {device}: does not say its frame rate. Expected frames per second above 0. Set the camera to "
                "a fixed rate (v4l2-ctl --set-parm=30)."
            )
        self.info = CameraInfo(device, width, height, fps, live=True, frames=None, hole=Reason.CAMERA_LOST)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the camera's frames; see `Camera.frames`."""
        capture = _open_device(self._device)
        try:
            index = 0
            while not stop.is_set():
                delivered, picture = capture.read()
                if not delivered:
                    raise CameraError(
                        f"camera {self._device}: delivered no frame after {index}. Expected it to go on. Check its "
                        "cable and power, then start the daemon again."
                    )
                yield Frame(index, time.monotonic_ns(), cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
                index += 1
        finally:
            capture.release()


def open_camera(table: CameraTable) -> Camera:
    """Return the camera that a configuration names.

    Raises
    ------
    CameraError, VideoError
        If it cannot be opened.
    """
    if table.video is not None:
        return VideoFileCamera(table.video, realtime=table.pace == "real-time", loop=table.loop)
    return DeviceCamera(str(table.device))


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
    """Runs a camera in a thread of its own; a context manager that starts and stops it."""

    def __init__(self, camera: Camera, queue_frames: int) -> None:
        self._camera = camera
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._capture, name="capture", daemon=True)
        self.queue = FrameQueue(queue_frames)

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

        On `stop` the backlog is left: it would delay the end by as long as the daemon is behind.

        Raises
        ------
        CameraError, VideoError
            What the source raised, once its frames are taken.
        """
        while not stop.is_set():
            delivery = self.queue.take(tick_s)
            if delivery is None and self.queue.ended:
                break
            yield delivery
        if self._error is not None and not stop.is_set():
            raise self._error

    def _capture(self) -> None:
        live = self._camera.info.live
        try:
            for frame in self._camera.frames(self._stop):
                if live:
                    self.queue.offer(frame)
                else:
                    self.queue.put(frame, self._stop)
        except BaseException as error:  # noqa: BLE001  the daemon's thread raises it again
            self._error = error
        finally:
            self.queue.end()


def _open_device(device: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
    if not capture.isOpened():
        capture.release()
        raise CameraError(
            f"camera {device}: cannot be opened. Expected a camera that this user may read. Check that it is plugged "
            "in (ls -l /dev/v4l/by-id), that no other program uses it, and that the user is in the group video."
        )
    return capture
