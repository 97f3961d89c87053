"""Frames of any GStreamer pipeline, which runs in a process of its own.

``gst-launch-1.0`` runs the pipeline and writes its pictures, with their times, to a pipe. A process can be killed where
a camera's driver or nvarguscamerasrc hangs, which no thread can; and neither an OpenCV built with GStreamer nor
Python bindings are needed.
"""

from __future__ import annotations

import fcntl
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.behaviour_log import Reason
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras.contract import CameraInfo
from toolkit.cage.cameras.gdp import CAPS, HEADER, PICTURE, Caps, parse_caps, parse_header, picture_of
from toolkit.cage.cameras.sensor_clock import SensorClock
from toolkit.errors import CameraError, MissingDependency
from toolkit.frames import Frame

OPEN_S = 20.0
"""How long a pipeline may take to its first picture when it is looked at for the first time."""

LOOK_S = 0.25
"""Longest time without looking whether to stop."""

CLOSE_S = 1.0
"""How long a pipeline may take to end by itself: killed at once, it would leave a CSI camera open in nvargus-daemon."""

PIPE_BYTES = 1 << 20

_STDERR_BYTES = 1 << 14

_PACKAGES = (
    "Install them: apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad (gdppay is in the last)."
)


class GStreamerCamera:
    """A pipeline whose pictures are a camera's; it must be live.

    Parameters
    ----------
    name
        What messages call it.
    pipeline
        As ``gst-launch-1.0`` takes it, up to any raw picture.
    fps
        Frames per second, for a pipeline that does not say.
    warnings
        Passed on as `CameraInfo.warnings`.

    Raises
    ------
    CameraError
        If the pipeline fails, brings no picture within `OPEN_S`, or has no frame rate.
    MissingDependency
        If GStreamer's command or its ``gdppay`` is not installed.
    """

    def __init__(self, name: str, pipeline: str, *, fps: float | None = None, warnings: tuple[str, ...] = ()) -> None:
        self._name = name
        try:
            self._arguments = shlex.split(pipeline)
        except ValueError as error:
            raise CameraError(
                f"{name}: cannot be read as gst-launch-1.0 would ({error}). Correct its quotes."
            ) from error
        with _Process(name, self._arguments) as process:
            pictures = process.pictures(threading.Event(), time.monotonic() + OPEN_S)
            pts_ns, _, image = next(pictures)
            rate = fps or process.caps.fps
        if rate is None:
            raise CameraError(
                f"{name}: does not say its frame rate. Expected frames per second above 0. Set [camera] fps."
            )
        height, width = image.shape[:2]
        self.info = CameraInfo(
            name,
            width,
            height,
            rate,
            live=True,
            frames=None,
            hole=Reason.CAMERA_LOST,
            recovers=True,
            dated_by="GStreamer's times" if pts_ns is not None else "their arrival",
            warnings=warnings,
        )

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the pipeline's pictures; see `Camera.frames`."""
        clock = SensorClock(self._name)
        index = 0
        with _Process(self._name, self._arguments) as process:
            for pts_ns, arrival_ns, image in process.pictures(stop):
                time_ns = arrival_ns if pts_ns is None else clock.date(pts_ns, arrival_ns)
                if time_ns is not None:
                    yield Frame(index, time_ns, image)
                    index += 1


def csi_camera(table: CameraTable) -> GStreamerCamera:
    """Return a Jetson's CSI camera. Its pipeline has never run on a Jetson yet.

    Raises
    ------
    CameraError, MissingDependency
        As `GStreamerCamera`.
    """
    settings = [f"sensor-id={table.csi}"]
    if table.exposure_ms is not None:
        exposure_ns = round(table.exposure_ms * 1e6)
        settings.append(f'exposuretimerange="{exposure_ns} {exposure_ns}"')
    if table.gain is not None:
        settings.append(f'gainrange="{table.gain:g} {table.gain:g}"')
    if table.auto_exposure is False:
        settings.append("aelock=true")
    caps = ["video/x-raw(memory:NVMM)"]
    if table.width is not None:
        caps += [f"width={table.width}", f"height={table.height}"]
    if table.fps is not None:
        caps.append(f"framerate={round(table.fps * 1000)}/1000")
    warnings = () if table.exposure_ms is None and table.gain is None else ("exposure and gain cannot be read back.",)
    return GStreamerCamera(
        f"CSI camera {table.csi}",
        f"nvarguscamerasrc {' '.join(settings)} ! '{','.join(caps)}' ! nvvidconv ! 'video/x-raw,format=BGRx'",
        warnings=warnings,
    )


class _Process:
    """A running pipeline; leaving the context ends it.

    Raises
    ------
    MissingDependency
        On entering: if there is no ``gst-launch-1.0``.
    """

    def __init__(self, name: str, arguments: list[str]) -> None:
        self._name = name
        self._arguments = arguments
        self._stderr = b""
        self._caps: Caps | None = None

    def __enter__(self) -> Self:
        program = shutil.which("gst-launch-1.0")
        if program is None:
            raise MissingDependency(f"{self._name}: needs GStreamer, and there is no gst-launch-1.0 here. {_PACKAGES}")
        self._pipe, write_end = os.pipe()
        with suppress(OSError):
            # Fewer wake-ups per picture; where it is refused, the pipe stays as it is.
            fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        # Not its standard output, to which plugins of Jetson's talk.
        tail = f"! videoconvert dither=none ! video/x-raw,format=RGB ! gdppay ! fdsink fd={write_end} sync=false"
        try:
            self._child = subprocess.Popen(
                [program, "-q", *self._arguments, *tail.split()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[write_end],
                env={**os.environ, "LC_ALL": "C.UTF-8", "GST_DEBUG_NO_COLOR": "1"},
                # A terminal's Ctrl-C is the daemon's, which ends the pipeline itself.
                start_new_session=True,
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(write_end)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._selector.register(self._errors, selectors.EVENT_READ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._selector.close()
        self._child.send_signal(signal.SIGINT)
        os.close(self._pipe)
        try:
            self._child.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stderr.close()  # type: ignore[union-attr]

    @property
    def caps(self) -> Caps:
        """Format of the picture that was read last."""
        if self._caps is None:
            raise ValueError("expected the format before the first picture")
        return self._caps

    def pictures(
        self, stop: threading.Event, end_s: float | None = None
    ) -> Iterator[tuple[int | None, int, NDArray[np.uint8]]]:
        """Yield (PTS in ns, monotonic arrival in ns, picture) until `stop` is set.

        Raises
        ------
        CameraError
            If the pipeline ends, writes what cannot be understood, or has brought nothing by `end_s` (monotonic).
        """
        head = np.empty(HEADER, np.uint8)
        while self._read(head, stop, end_s):
            # When its first bytes are here: the rest of a large picture takes milliseconds.
            arrival_ns = time.monotonic_ns()
            try:
                header = parse_header(head.tobytes())
                payload = np.empty(header.payload_bytes, np.uint8)
                if not self._read(payload, stop, end_s):
                    return
                if header.kind == CAPS:
                    self._caps = parse_caps(payload.tobytes())
                elif header.kind == PICTURE:
                    yield header.pts_ns, arrival_ns, picture_of(payload, self.caps)
            except ValueError as error:
                raise CameraError(
                    f"{self._name}: sent what cannot be understood ({error}). Expected pictures of one format; "
                    "name it in the pipeline, e.g. video/x-raw,format=RGB."
                ) from error

    @property
    def _errors(self) -> int:
        return self._child.stderr.fileno()  # type: ignore[union-attr]

    def _read(self, into: NDArray[np.uint8], stop: threading.Event, end_s: float | None) -> bool:
        """Fill an array from the pipe; False on `stop`."""
        rest = into.data
        while len(rest):
            if stop.is_set():
                return False
            if end_s is not None and time.monotonic() > end_s:
                raise CameraError(
                    f"{self._name}: no picture within {OPEN_S:g} s. Expected one. Run it by hand: {self._by_hand()}"
                )
            ready = {key.fd for key, _ in self._selector.select(LOOK_S)}
            if self._errors in ready:
                self._listen()
            if self._pipe in ready:
                count = os.readv(self._pipe, [rest])
                if not count:
                    raise self._ended()
                rest = rest[count:]
        return True

    def _listen(self) -> bool:
        """Keep the end of what the pipeline says; False once it says no more."""
        said = os.read(self._errors, _STDERR_BYTES)
        if not said:
            self._selector.unregister(self._errors)
        self._stderr = (self._stderr + said)[-_STDERR_BYTES:]
        return bool(said)

    def _ended(self) -> CameraError | MissingDependency:
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(CLOSE_S)
        os.set_blocking(self._errors, False)
        with suppress(BlockingIOError, KeyError):
            while self._listen():
                pass
        cause = _cause(self._stderr.decode(errors="replace"))
        if 'no element "gdppay"' in cause:
            return MissingDependency(f"{self._name}: needs GStreamer's gdppay. {_PACKAGES}")
        plugin = "Install the plugin that has it (nvarguscamerasrc: JetPack's own). " if "no element" in cause else ""
        return CameraError(
            f"{self._name}: its pipeline ended ({cause or _ending(self._child.returncode)}). Expected it to go on. "
            f"{plugin}Run it by hand: {self._by_hand()}"
        )

    def _by_hand(self) -> str:
        return f"gst-launch-1.0 {shlex.join(self._arguments)} ! fakesink".replace("'!'", "!")


_ERROR = re.compile(
    r"^(?:ERROR: from element (?:\S*/)?|WARNING: erroneous pipeline: |ERROR: )(?P<what>.+)"
    # Under it: a headline, where in GStreamer's source it was, and often the reason.
    r"(?:\nAdditional debug info:\n.*:\n(?P<why>.+))?",
    re.MULTILINE,
)


def _cause(said: str) -> str:
    """Return the first error that ``gst-launch-1.0`` told, in one line."""
    found = _ERROR.search(said)
    return "; ".join(part.rstrip(".") for part in found.groups() if part) if found is not None else ""


def _ending(code: int | None) -> str:
    if code is None:
        return "its pipe was closed"
    return f"killed by signal {-code}" if code < 0 else f"end of the stream, exit status {code}"
