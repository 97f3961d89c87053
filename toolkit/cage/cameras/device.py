"""Frames of a V4L2 camera, through OpenCV: set up as asked, read back, and dated by the driver where it can."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import Reason
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras.contract import CameraInfo
from toolkit.errors import CameraError
from toolkit.frames import NS_PER_S, Frame

OLDEST_NS = NS_PER_S
"""A buffer's time within so long before its arrival is of our monotonic clock; any other is of an unknown one."""

NEAR = 0.02
"""A driver rounds what it is set to; within this part of it, it has taken it."""

MANUAL, APERTURE_PRIORITY = 1, 3
"""V4L2_CID_EXPOSURE_AUTO's values; of the others, 0 and 2, a part is automatic too."""

STEPS_PER_MS = 10
"""V4L2_CID_EXPOSURE_ABSOLUTE counts 100 µs."""


class DeviceCamera:
    """A V4L2 camera: a device path such as ``/dev/v4l/by-id/...``, or a number.

    A frame's time is when its buffer was filled, which V4L2 tells (UVC cameras: the start of its transfer), if it is on
    the monotonic clock; else when it was handed over, which is later by the driver's queue.

    Parameters
    ----------
    table
        Its ``device`` is set.

    Raises
    ------
    CameraError
        If it cannot be opened, brings no picture or does not say its frame rate.
    """

    def __init__(self, table: CameraTable) -> None:
        self._table = table
        self._name = f"camera {table.device}"
        with self._opened() as (capture, refused):
            fps = float(capture.get(cv2.CAP_PROP_FPS))
            picture = self._read(capture, 0)
            by_driver = _buffer_time_ns(capture, time.monotonic_ns()) is not None
            exposes_itself = int(capture.get(cv2.CAP_PROP_AUTO_EXPOSURE)) in (0, 2, APERTURE_PRIORITY)
        if fps <= 0:
            raise CameraError(
                f"{self._name}: does not say its frame rate. Expected frames per second above 0. Set [camera] fps, or "
                "set the camera to a fixed rate (v4l2-ctl --set-parm=30)."
            )
        warning = (
            "it chooses its exposure, so the picture changes with the light. Fix it with auto_exposure = false and "
            "exposure_ms."
        )
        height, width = picture.shape[:2]
        self.info = CameraInfo(
            str(table.device),
            width,
            height,
            fps,
            live=True,
            frames=None,
            hole=Reason.CAMERA_LOST,
            recovers=True,
            refused=tuple(refused),
            dated_by="the driver's buffers" if by_driver else "their arrival",
            warnings=(warning,) if exposes_itself else (),
        )

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the camera's frames; see `Camera.frames`."""
        with self._opened() as (capture, _):
            index, newest_ns = 0, 0
            while not stop.is_set():
                picture = self._read(capture, index)
                arrival_ns = time.monotonic_ns()
                time_ns = _buffer_time_ns(capture, arrival_ns) or arrival_ns
                # Where a driver gives one time twice, the later picture came later.
                newest_ns = time_ns if time_ns > newest_ns else arrival_ns
                yield Frame(index, newest_ns, picture)
                index += 1

    @contextmanager
    def _opened(self) -> Iterator[tuple[cv2.VideoCapture, list[str]]]:
        device = str(self._table.device)
        capture = _open_quietly(int(device) if device.isdigit() else device)
        try:
            if not capture.isOpened():
                raise CameraError(
                    f"{self._name}: cannot be opened. Expected a camera that this user may read. Check that it is "
                    "plugged in (ls -l /dev/v4l/by-id), that no other program uses it, and that the user is "
                    "in the group video."
                )
            yield capture, _set_up(capture, self._table)
        finally:
            capture.release()

    def _read(self, capture: cv2.VideoCapture, index: int) -> NDArray[np.uint8]:
        delivered, picture = capture.read()
        if not delivered:
            raise CameraError(
                f"{self._name}: delivered no frame after {index}. Expected it to go on. Check its cable and power."
            )
        return _rgb(picture)


def _open_quietly(device: str | int) -> cv2.VideoCapture:
    """Open a device without OpenCV's own warning, which says less than the error that follows, at every attempt."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        return cv2.VideoCapture(device, cv2.CAP_V4L2)
    finally:
        cv2.utils.logging.setLogLevel(level)


def _set_up(capture: cv2.VideoCapture, table: CameraTable) -> list[str]:
    """Set a camera up as the table asks; return what it did not take."""
    wishes: list[tuple[str, int, float]] = []
    if table.pixel_format is not None:
        wishes.append(("pixel_format", cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*table.pixel_format)))
    if table.width is not None and table.height is not None:
        wishes.append(("width", cv2.CAP_PROP_FRAME_WIDTH, table.width))
        wishes.append(("height", cv2.CAP_PROP_FRAME_HEIGHT, table.height))
    if table.fps is not None:
        wishes.append(("fps", cv2.CAP_PROP_FPS, table.fps))
    if table.auto_exposure is not None:
        wishes.append(
            ("auto_exposure", cv2.CAP_PROP_AUTO_EXPOSURE, APERTURE_PRIORITY if table.auto_exposure else MANUAL)
        )
    if table.exposure_ms is not None:
        wishes.append(("exposure_ms", cv2.CAP_PROP_EXPOSURE, round(table.exposure_ms * STEPS_PER_MS)))
    if table.gain is not None:
        wishes.append(("gain", cv2.CAP_PROP_GAIN, table.gain))
    for _, control, value in wishes:
        capture.set(control, value)
    # Read back at the end: one setting can change another, as a larger picture lowers the rate.
    return [
        f"{key} = {_shown(key, value)} was asked for, and the camera has {_shown(key, found)}. Choose one that "
        f"`v4l2-ctl -d {table.device} --list-ctrls --list-formats-ext` shows."
        for key, control, value in wishes
        if abs((found := capture.get(control)) - value) > _tolerance(key, value)
    ]


def _tolerance(key: str, value: float) -> float:
    return NEAR * value if key in ("fps", "exposure_ms", "gain") else 0.0


def _shown(key: str, value: float) -> str:
    if value < 0:
        return "no such control"
    if key == "pixel_format":
        return f'"{int(value).to_bytes(4, "little").decode(errors="replace")}"'
    if key == "auto_exposure":
        return "false" if value == MANUAL else "true"
    return f"{value / STEPS_PER_MS if key == 'exposure_ms' else value:g}"


def _buffer_time_ns(capture: cv2.VideoCapture, now_ns: int) -> int | None:
    """Return when the newest picture's buffer was filled, monotonic ns, or None where the driver has another clock."""
    time_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
    return time_ns if 0 <= now_ns - time_ns <= OLDEST_NS else None


def _rgb(picture: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return what OpenCV delivers, BGR or grey, 8 or 16 bit, as (H, W, 3) uint8 RGB; of 16 bits the upper eight."""
    eight = (picture >> 8).astype(np.uint8) if picture.dtype == np.uint16 else picture
    grey = eight.ndim == 2 or eight.shape[2] == 1
    return np.asarray(cv2.cvtColor(eight, cv2.COLOR_GRAY2RGB if grey else cv2.COLOR_BGR2RGB), dtype=np.uint8)
