"""Frames of a network camera over RTSP, decoded by PyAV and dated by the times in its RTP packets.

User and password come from a file and go to FFmpeg alone. FFmpeg wants them within the address, so no message of its
own is passed on but the meaning of its error's code.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import av
import numpy as np
from av.container import InputContainer

from toolkit.behaviour_log import Reason
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras.contract import CameraInfo
from toolkit.cage.cameras.sensor_clock import SensorClock
from toolkit.cage.secret import read_secret
from toolkit.errors import CameraError, ConfigError
from toolkit.frames import NS_PER_S, Frame

SILENT_S = 10.0
"""How long a camera may say nothing, while it is opened and afterwards; or `stall_s`, if that is less."""

ANALYSE_S = 5.0
"""How much of the stream is looked at to find its size and rate, at most; when it is opened again both are known."""

MOST_FPS = 1000.0
"""A higher rate is a time base that was taken for one."""


class RtspCamera:
    """A network camera.

    Parameters
    ----------
    table
        Its ``rtsp`` is set.

    Raises
    ------
    CameraError
        If it cannot be reached, refuses, or sends no video of a known size and rate.
    ConfigError
        If its file of user and password cannot be used.
    """

    def __init__(self, table: CameraTable) -> None:
        self._name = str(table.rtsp)
        self._table = table
        with self._opened(ANALYSE_S) as container:
            stream = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            rate = table.fps or float(stream.average_rate or stream.guessed_rate or 0)
        if not width or not height:
            raise CameraError(
                f"{self._name}: sent no picture within {ANALYSE_S:g} s of its stream. Expected video that FFmpeg "
                "decodes (H.264, H.265, MJPEG) with a key frame every second. Set the camera's codec and its "
                "key-frame interval."
            )
        if not 0 < rate <= MOST_FPS:
            raise CameraError(
                f"{self._name}: says {rate:g} frames per second. Expected its frame rate. Set [camera] fps to it."
            )
        self.info = CameraInfo(
            self._name,
            width,
            height,
            rate,
            live=True,
            frames=None,
            hole=Reason.CAMERA_LOST,
            recovers=True,
            dated_by="RTP's times",
        )

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the camera's frames; see `Camera.frames`. Damaged pictures are left out."""
        clock = SensorClock(self._name)
        index = 0
        with self._opened(0.0) as container:
            stream = container.streams.video[0]
            # Threads that each hold a frame back would delay every frame by as many.
            stream.thread_type = "SLICE"
            for packet in container.demux(stream):
                arrival_ns = time.monotonic_ns()
                for picture in packet.decode():
                    if stop.is_set():
                        return
                    time_ns: int | None = arrival_ns
                    if picture.pts is not None and picture.time_base is not None:
                        time_ns = clock.date(round(picture.pts * picture.time_base * NS_PER_S), arrival_ns)
                    if time_ns is None or picture.is_corrupt:
                        continue
                    yield Frame(index, time_ns, np.asarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8))
                    index += 1
                if stop.is_set():
                    return
        raise CameraError(
            f"{self._name}: ended its stream after {index} frames. Expected it to go on. Check the camera's power and "
            "network, and how many clients it serves at most."
        )

    @contextmanager
    def _opened(self, analyse_s: float) -> Iterator[InputContainer]:
        options = {
            "rtsp_transport": self._table.rtsp_transport,
            "allowed_media_types": "video",
            "fflags": "nobuffer",
            # FFmpeg takes 0 for its own default.
            "analyzeduration": str(max(1, round(analyse_s * 1e6))),
        }
        try:
            with av.open(self._address(), options=options, timeout=_patience_s(self._table)) as container:
                if not container.streams.video:
                    raise CameraError(f"{self._name}: sends no video. Expected a video stream. Check its path.")
                yield container
        except av.error.FFmpegError as error:
            # Without its cause, whose text has the address with user and password.
            raise CameraError(f"{self._name}: {_meaning(error, self._table)}") from None

    def _address(self) -> str:
        if self._table.rtsp_secret_file is None:
            return self._name
        user, password = _read_secret(self._table.rtsp_secret_file)
        parts = urlsplit(self._name)
        return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{parts.netloc}"))


def _patience_s(table: CameraTable) -> float:
    return min(SILENT_S, table.stall_s)


def _meaning(error: av.error.FFmpegError, table: CameraTable) -> str:
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        where = table.rtsp_secret_file or "none: rtsp_secret_file is not set"
        return f"refuses user and password ({where}). Expected those of the camera. Correct that file."
    if isinstance(error, av.error.HTTPNotFoundError):
        return "has no such stream. Expected the path of one. Look for it in the camera's manual; its case matters."
    # FFmpeg calls an answer that did not come in time invalid, too.
    if isinstance(error, av.error.ExitError | av.error.InvalidDataError | TimeoutError):
        return (
            f"sent nothing for {_patience_s(table):g} s, or nothing that can be understood. Expected RTSP and "
            "pictures. Check its power, its network and the address."
        )
    return f"failed ({error.strerror}). Expected a stream. Check its power, its network and the address."


def _read_secret(path: Path) -> tuple[str, str]:
    key, expected = "camera.rtsp_secret_file", "one line, user:password"
    user, colon, password = read_secret(key, path, expected, "utf-8").partition(":")
    if not colon or not user:
        raise ConfigError(f"{key}: {path} holds something else. Expected {expected}.")
    return user, password
