"""One cage's part of a picture, the right way up: by hand on a small picture."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cage.cameras.test_gstreamer import some
from toolkit.behaviour_log import Reason
from toolkit.cage.cameras import CameraInfo, PlacedCamera
from toolkit.errors import CameraError
from toolkit.frames import Frame


class OnePicture:
    """A camera in memory that shows one picture twice."""

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        self.picture = picture
        height, width = picture.shape[:2]
        self.info = CameraInfo("memory", width, height, 30.0, live=True, frames=2, hole=Reason.CAMERA_LOST)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        for index in range(2):
            if stop.is_set():
                return
            yield Frame(index, 1000 + index, self.picture)


def letters(text: str) -> NDArray[np.uint8]:
    """Return a picture whose pixels are the letters of the text's rows."""
    rows = np.array([list(row.encode()) for row in text.split()], dtype=np.uint8)
    return np.repeat(rows[:, :, None], 3, axis=2)


def shown(picture: NDArray[np.uint8]) -> str:
    return " ".join(row.tobytes().decode() for row in picture[:, :, 0])


@pytest.mark.parametrize(
    ("roi", "rotate", "expected"),
    [
        (None, 0, "abcd efgh ijkl"),
        (None, 90, "iea jfb kgc lhd"),
        (None, 180, "lkji hgfe dcba"),
        (None, 270, "dhl cgk bfj aei"),
        ((1, 0, 3, 2), 0, "bcd fgh"),
        ((1, 1, 2, 2), 90, "jf kg"),
        ((3, 2, 1, 1), 180, "l"),
    ],
)
def test_cut_and_turned(roi: tuple[int, int, int, int] | None, rotate: int, expected: str) -> None:
    source = OnePicture(letters("abcd efgh ijkl"))
    placed = PlacedCamera(source, roi, rotate)
    frames = some(placed, 2)
    assert [(frame.index, frame.capture_time_ns, shown(frame.image)) for frame in frames] == [
        (0, 1000, expected),
        (1, 1001, expected),
    ]
    assert frames[0].image.shape == (placed.info.height, placed.info.width, 3)
    assert frames[0].image.flags.c_contiguous
    assert frames[0].image.base is None
    assert (placed.info.name, placed.info.fps, placed.info.live) == ("memory", 30.0, True)


@pytest.mark.parametrize("roi", [(1, 0, 4, 3), (0, 1, 4, 3), (4, 0, 1, 1)])
def test_a_region_outside_the_picture(roi: tuple[int, int, int, int]) -> None:
    with pytest.raises(CameraError, match=r"its picture has 4 x 3 px. Expected roi = \[.*within it"):
        PlacedCamera(OnePicture(letters("abcd efgh ijkl")), roi, 0)


def test_a_camera_that_changes_its_picture() -> None:
    """A region of another picture could be of another cage."""
    source = OnePicture(letters("abcd efgh ijkl"))
    placed = PlacedCamera(source, (0, 0, 2, 2), 0)
    source.picture = letters("abcde fghij klmno")
    with pytest.raises(CameraError, match=r"delivers 5 x 3 px now\. Expected 4 x 3 px"):
        some(placed, 1)
