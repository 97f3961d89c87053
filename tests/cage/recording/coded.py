"""Pictures that carry their number as sixteen black and white blocks, which survive an encoder, and a camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import Reason
from toolkit.cage.cameras import CameraInfo
from toolkit.frames import NS_PER_S, Frame

BITS = 16


def coded(number: int, size: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8: four by four blocks, the lowest bit first."""
    width, height = size
    bits = np.array([number >> bit & 1 for bit in range(BITS)], dtype=np.uint8).reshape(4, 4)
    grey = np.kron(20 + 200 * bits, np.ones((height // 4, width // 4), dtype=np.uint8))
    image = np.full((height, width, 3), 20, dtype=np.uint8)
    image[: grey.shape[0], : grey.shape[1]] = grey[..., np.newaxis]
    return image


def number_of(image: NDArray[np.uint8]) -> int:
    """Return the number; fails where a block is neither black nor white."""
    height, width = image.shape[0] // 4, image.shape[1] // 4
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, 4)
        block = image[row * height : (row + 1) * height, column * width : (column + 1) * width]
        level = float(np.median(block))
        assert abs(level - 20) < 20 or abs(level - 220) < 20, level
        number |= (level > 120) << bit
    return number


class CodedCamera:
    """Delivers numbered pictures at the pace of the clock; `count` None: for ever."""

    def __init__(self, count: int | None, *, fps: float = 30.0, size: tuple[int, int] = (64, 48)) -> None:
        self._count, self._size = count, size
        self.info = CameraInfo("coded", size[0], size[1], fps, live=True, frames=count, hole=Reason.CAMERA_LOST)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        begin_ns = time.monotonic_ns()
        index = 0
        while self._count is None or index < self._count:
            due_ns = begin_ns + round(index * NS_PER_S / self.info.fps)
            if stop.wait(max(0.0, (due_ns - time.monotonic_ns()) / NS_PER_S)):
                return
            yield Frame(index, due_ns, coded(index, self._size))
            index += 1
