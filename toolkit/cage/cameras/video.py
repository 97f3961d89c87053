"""A video file that stands in for a camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from toolkit.behaviour_log import Reason
from toolkit.cage.cameras.contract import CameraInfo
from toolkit.frames import NS_PER_S, Frame, probe, read_frames


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

    Raises
    ------
    VideoError
        If the file cannot be read.
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
            dated_by="the file, from now on",
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
