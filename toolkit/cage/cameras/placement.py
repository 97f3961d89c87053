"""One cage's part of a camera's picture, the right way up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np

from toolkit.cage.cameras.contract import Camera
from toolkit.errors import CameraError
from toolkit.frames import Frame


class PlacedCamera:
    """A camera whose picture is cut to a region and turned.

    Parameters
    ----------
    roi
        [x, y, width, height], px of the camera's picture; None: all of it.
    rotate
        Degrees clockwise, of 0, 90, 180 and 270, after cutting.

    Raises
    ------
    CameraError
        If the region reaches outside the picture.
    """

    def __init__(self, camera: Camera, roi: tuple[int, int, int, int] | None, rotate: int) -> None:
        info = camera.info
        self._camera = camera
        self._size = info.width, info.height
        self._roi = x, y, width, height = roi or (0, 0, info.width, info.height)
        self._turns = rotate // 90
        if x + width > info.width or y + height > info.height:
            raise CameraError(
                f"{info.name}: its picture has {info.width} x {info.height} px. Expected roi = {list(self._roi)} "
                "([x, y, width, height]) within it. Correct [camera] roi, or set the camera to a larger picture."
            )
        if self._turns % 2:
            width, height = height, width
        self.info = replace(info, width=width, height=height)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the camera's frames, cut and turned; see `Camera.frames`."""
        x, y, width, height = self._roi
        with closing(self._camera.frames(stop)) as frames:  # type: ignore[type-var]
            for frame in frames:
                if frame.image.shape[1::-1] != self._size:
                    found = " x ".join(map(str, frame.image.shape[1::-1]))
                    raise CameraError(
                        f"{self.info.name}: delivers {found} px now. Expected {self._size[0]} x {self._size[1]} px, as "
                        "at the start. Set the camera back, or start the daemon again."
                    )
                part = np.rot90(frame.image[y : y + height, x : x + width], -self._turns)
                # A copy: a view would keep the whole picture in memory for as long as its part waits.
                yield Frame(frame.index, frame.capture_time_ns, part.copy())
