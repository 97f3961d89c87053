"""A V4L2 camera, set up and dated. No V4L2 device can exist where the tests run: `MockCapture` is a mock of OpenCV's.

Its numbers follow V4L2: a control that does not exist reads -1, exposure counts 100 µs, and manual exposure is 1.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise, repeat
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cage.cameras.test_gstreamer import some
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras import DeviceCamera
from toolkit.errors import CameraError

DEVICE = "/dev/v4l/by-id/usb-mock-index0"
MS = 1_000_000
MJPG = 0x47504A4D
BGR = np.full((48, 64, 3), (10, 20, 30), dtype=np.uint8)


class MockCapture:
    """A mock of `cv2.VideoCapture`: takes what `accept` lets it, and stamps its pictures as `stamp_ns` says."""

    opened: Any = True
    picture: NDArray[Any] = BGR
    pictures = 10**9
    controls: dict[int, float]
    accept: Callable[[int, float], float] = staticmethod(lambda _key, value: value)  # type: ignore[assignment]
    stamp_ns: Callable[[int], int] = staticmethod(lambda _number: time.monotonic_ns() - 7 * MS)  # type: ignore[assignment]
    live = 0

    def __init__(self, device: str | int, backend: int) -> None:
        assert backend == cv2.CAP_V4L2
        assert device in (DEVICE, 3)
        type(self).live += 1
        self._read = 0
        self._stamp_ns = 0
        self._values = dict(self.controls)

    def isOpened(self) -> bool:  # noqa: N802
        return bool(self.opened)

    def release(self) -> None:
        type(self).live -= 1

    def set(self, key: int, value: float) -> bool:
        if key in self._values:
            self._values[key] = self.accept(key, value)
        return True

    def get(self, key: int) -> float:
        return self._stamp_ns / MS if key == cv2.CAP_PROP_POS_MSEC else self._values.get(key, -1.0)

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        if self._read == self.pictures:
            return False, None
        self._stamp_ns = self.stamp_ns(self._read)
        self._read += 1
        return True, self.picture


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> type[MockCapture]:
    class Mock(MockCapture):
        controls = {  # noqa: RUF012
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FRAME_WIDTH: 64,
            cv2.CAP_PROP_FRAME_HEIGHT: 48,
            cv2.CAP_PROP_FOURCC: 0x56595559,
            cv2.CAP_PROP_AUTO_EXPOSURE: 3,
            cv2.CAP_PROP_EXPOSURE: 156,
            cv2.CAP_PROP_GAIN: 0,
        }

    monkeypatch.setattr(cv2, "VideoCapture", Mock)
    return Mock


def camera(**wishes: Any) -> DeviceCamera:
    return DeviceCamera(CameraTable(device=DEVICE, **wishes))


def test_what_a_camera_is(mock: type[MockCapture]) -> None:
    info = camera().info
    assert (info.name, info.width, info.height, info.fps) == (DEVICE, 64, 48, 30.0)
    assert (info.live, info.recovers, info.refused) == (True, True, ())
    assert DeviceCamera(CameraTable(device="3")).info.name == "3"
    assert mock.live == 0


def test_settings_that_are_taken(mock: type[MockCapture]) -> None:
    asked: dict[int, float] = {}
    mock.accept = staticmethod(lambda key, value: asked.setdefault(key, value))  # type: ignore[assignment]
    info = camera(
        width=1280, height=720, fps=60, pixel_format="MJPG", auto_exposure=False, exposure_ms=12.5, gain=4
    ).info
    assert asked == {
        cv2.CAP_PROP_FOURCC: MJPG,
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FPS: 60,
        cv2.CAP_PROP_AUTO_EXPOSURE: 1,
        cv2.CAP_PROP_EXPOSURE: 125,
        cv2.CAP_PROP_GAIN: 4,
    }
    # Manual exposure before its time, which a UVC camera refuses otherwise.
    order = list(asked)
    assert order.index(cv2.CAP_PROP_AUTO_EXPOSURE) < order.index(cv2.CAP_PROP_EXPOSURE)
    assert (info.refused, info.warnings, info.fps) == ((), (), 60)


def test_settings_that_a_driver_refuses(mock: type[MockCapture]) -> None:
    """It has no gain, keeps exposing by itself, and rounds 12.5 ms to 12.6 ms, which is near enough."""
    kept = {cv2.CAP_PROP_AUTO_EXPOSURE: 3.0, cv2.CAP_PROP_EXPOSURE: 126.0, cv2.CAP_PROP_FOURCC: 0x56595559}
    mock.accept = staticmethod(lambda key, value: kept.get(key, value))  # type: ignore[assignment]
    del mock.controls[cv2.CAP_PROP_GAIN]
    info = camera(pixel_format="MJPG", auto_exposure=False, exposure_ms=12.5, gain=4).info
    assert [text.split(". Choose")[0] for text in info.refused] == [
        'pixel_format = "MJPG" was asked for, and the camera has "YUYV"',
        "auto_exposure = false was asked for, and the camera has true",
        "gain = 4 was asked for, and the camera has no such control",
    ]
    assert f"v4l2-ctl -d {DEVICE}" in info.refused[0]
    kept[cv2.CAP_PROP_EXPOSURE] = 156
    (*_, exposure, _) = camera(auto_exposure=False, exposure_ms=12.5, gain=4).info.refused
    assert exposure.startswith("exposure_ms = 12.5 was asked for, and the camera has 15.6.")


@pytest.mark.parametrize(("control", "warns"), [(3, True), (0, True), (2, True), (1, False), (None, False)])
def test_exposure_that_is_left_to_the_camera(mock: type[MockCapture], control: int | None, warns: bool) -> None:
    if control is None:
        del mock.controls[cv2.CAP_PROP_AUTO_EXPOSURE]
    else:
        mock.controls[cv2.CAP_PROP_AUTO_EXPOSURE] = control
    warnings = camera().info.warnings
    assert [text.split(",")[0] for text in warnings] == ["it chooses its exposure"] * warns


def test_frames_are_dated_by_their_buffers(mock: type[MockCapture]) -> None:
    stamps = [time.monotonic_ns() - (900 - 33 * number) * MS for number in range(4)]
    mock.stamp_ns = staticmethod(lambda number: stamps[number])  # type: ignore[assignment]
    source = camera()
    assert source.info.dated_by == "the driver's buffers"
    frames = some(source, 4)
    # Through a float of milliseconds.
    assert [frame.capture_time_ns for frame in frames] == pytest.approx(stamps, abs=1000)
    assert mock.live == 0


@pytest.mark.parametrize(
    "stamp_ns",
    [lambda: 0, time.time_ns, lambda: time.monotonic_ns() - 1_500 * MS, lambda: time.monotonic_ns() + 50 * MS],
    ids=["none", "utc", "old", "future"],
)
def test_a_driver_with_another_clock(mock: type[MockCapture], stamp_ns: Callable[[], int]) -> None:
    mock.stamp_ns = staticmethod(lambda _number: stamp_ns())  # type: ignore[assignment]
    source = camera()
    assert source.info.dated_by == "their arrival"
    began_ns = time.monotonic_ns()
    frames = some(source, 3)
    assert began_ns <= frames[0].capture_time_ns <= frames[-1].capture_time_ns <= time.monotonic_ns()


def test_a_time_that_comes_twice(mock: type[MockCapture]) -> None:
    stamp_ns = time.monotonic_ns() - 100 * MS
    mock.stamp_ns = staticmethod(lambda _number: stamp_ns)  # type: ignore[assignment]
    assert all(a.capture_time_ns < b.capture_time_ns for a, b in pairwise(some(camera(), 3)))


@pytest.mark.parametrize(
    ("picture", "pixel"),
    [
        (BGR, [30, 20, 10]),
        (np.full((48, 64), 77, np.uint8), [77] * 3),
        (np.full((48, 64, 1), 77, np.uint8), [77] * 3),
        (np.full((48, 64), 77 * 256 + 200, np.uint16), [77] * 3),
    ],
    ids=["bgr", "grey", "grey1", "grey16"],
)
def test_every_picture_becomes_rgb(mock: type[MockCapture], picture: NDArray[Any], pixel: list[int]) -> None:
    mock.picture = picture
    (frame,) = some(camera(), 1)
    assert frame.image.shape == (48, 64, 3)
    assert frame.image.dtype == np.uint8
    assert frame.image[47, 63].tolist() == pixel


def test_cameras_that_fail(mock: type[MockCapture]) -> None:
    source = camera()
    mock.pictures = 5
    frames = source.frames(threading.Event())
    assert [next(frames).index for _ in range(5)] == list(range(5))
    with pytest.raises(CameraError, match="delivered no frame after 5"):
        next(frames)
    mock.pictures = 0
    with pytest.raises(CameraError, match="delivered no frame after 0"):
        camera()
    mock.pictures = 1
    mock.controls[cv2.CAP_PROP_FPS] = 0
    with pytest.raises(CameraError, match=r"does not say its frame rate.*Set \[camera\] fps"):
        camera()
    mock.opened = False
    with pytest.raises(CameraError, match="cannot be opened"):
        camera()
    assert mock.live == 0


def test_it_stops(mock: type[MockCapture]) -> None:
    stop = threading.Event()
    frames = camera().frames(stop)
    next(frames)
    stop.set()
    assert next(frames, None) is None
    assert mock.live == 0


def test_the_mock_knows_no_other_backend(mock: type[MockCapture]) -> None:
    with pytest.raises(AssertionError):
        next(map(mock, [DEVICE], repeat(cv2.CAP_ANY)))
