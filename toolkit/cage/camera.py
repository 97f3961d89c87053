"""Where a cage's frames come from: small sources behind one contract, timed on the monotonic clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2

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
    recovers: bool = False
    """Whether it is opened again where it fails or falls silent: a device or a stream, never a file."""


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
        self.info = CameraInfo(
            device, width, height, fps, live=True, frames=None, hole=Reason.CAMERA_LOST, recovers=True
        )

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
                        "cable and power."
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


def _open_device(device: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(int(device) if device.isdigit() else device)
    if not capture.isOpened():
        capture.release()
        raise CameraError(
            f"camera {device}: cannot be opened. Expected a camera that this user may read. Check that it is plugged "
            "in (ls -l /dev/v4l/by-id), that no other program uses it, and that the user is in the group video."
        )
    return capture
