"""A network camera is a real RTSP server on loopback, which is stopped, silenced, killed and started again."""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.cage.cameras.test_gstreamer import BARS, assert_shows_the_bars, some, wait_until
from tests.cage.parts import config, parts
from tests.cage.test_daemon import assert_covered_once
from tests.cage.test_page import free_port
from toolkit.behaviour_log import Reason, read_log
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras import RtspCamera
from toolkit.cage.capture import CaptureThread
from toolkit.cage.config import CageConfig
from toolkit.cage.daemon import camera_of, run
from toolkit.cage.health import STATUS, ailments
from toolkit.cage.recovery import Recovery
from toolkit.cage.watch import Parts
from toolkit.errors import CameraError, ConfigError, VideoError
from toolkit.frames import NS_PER_S

SERVER = Path(__file__).with_name("rtsp_server.py")

PYTHON = "/usr/bin/python3"
"""The system's, which has GStreamer's bindings where they are installed."""

PASSWORD = "p@ss:w%rd/"
QUICK = {"stall_s": 0.8, "retry_s": 0.1, "retry_max_s": 0.3, "max_restarts": 200}


@functools.cache
def has_server() -> bool:
    bindings = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        return subprocess.run([PYTHON, "-c", bindings], capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


class Server:
    """A camera at /cage of a port of its own."""

    def __init__(self, size: str, secret: tuple[str, ...], source: str) -> None:
        self._port = free_port()
        self.address = f"rtsp://127.0.0.1:{self._port}/cage"
        launch = (
            f"( {source} ! video/x-raw,{size},framerate=30/1 ! videoconvert ! video/x-raw,format=I420 ! "
            "x264enc tune=zerolatency key-int-max=10 ! rtph264pay name=pay0 pt=96 )"
        )
        self._command = [PYTHON, str(SERVER), str(self._port), launch, *secret]
        self.process: psutil.Popen | None = None

    def start(self) -> None:
        self.process = psutil.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None


class Voice:
    """Keeps what is said to the service manager."""

    def __init__(self) -> None:
        self.said: list[dict[str, str | int]] = []

    def send(self, **variables: str | int) -> bool:
        self.said.append(variables)
        return True

    def ping(self) -> None:
        return None

    def close(self) -> None:
        return None


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts a server."""
    if not has_server():
        pytest.skip("needs /usr/bin/python3 with GstRtspServer (apt-get install gir1.2-gst-rtsp-server-1.0)")
    servers = []

    def start(
        size: str = "width=320,height=240",
        secret: tuple[str, ...] = (),
        source: str = "videotestsrc is-live=true pattern=smpte100",
    ) -> Server:
        servers.append(Server(size, secret, source))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def secret_file(folder: Path, text: str, mode: int = 0o640) -> Path:
    path = folder / "camera.secret"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_pictures_and_times(serve: Serve, transport: str) -> None:
    server = serve()
    camera = RtspCamera(CameraTable(rtsp=server.address, rtsp_transport=transport))
    began_ns = time.monotonic_ns()
    frames = some(camera, 30)
    info = camera.info
    assert (info.name, info.width, info.height, info.fps) == (server.address, 320, 240, 30.0)
    assert (info.live, info.recovers, info.dated_by) == (True, True, "RTP's times")
    assert [frame.index for frame in frames] == list(range(30))
    for frame in frames:
        assert_shows_the_bars(frame.image, 14)
    assert began_ns < frames[0].capture_time_ns
    assert frames[-1].capture_time_ns <= time.monotonic_ns()
    apart_ns = [after.capture_time_ns - before.capture_time_ns for before, after in pairwise(frames)]
    # RTP counts in 1/90000 s, and the first frames may still teach the clock an earlier floor.
    assert max(apart_ns) == pytest.approx(NS_PER_S / 30, abs=40_000)
    assert np.median(apart_ns) == pytest.approx(NS_PER_S / 30, abs=40_000)


def test_a_user_and_a_password(serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server = serve(secret=("mouse", PASSWORD))
    right = secret_file(tmp_path, f"mouse:{PASSWORD}\n")
    table = CameraTable(rtsp=server.address, rtsp_secret_file=right)
    camera = RtspCamera(table)
    (frame,) = some(camera, 1)
    assert_shows_the_bars(frame.image, 14)
    right.write_text(f"mouse:not-{PASSWORD}")
    for wrong in (table, CameraTable(rtsp=server.address)):
        with pytest.raises(CameraError, match="refuses user and password") as caught:
            RtspCamera(wrong)
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert PASSWORD not in shown
        assert "%2F" not in shown
        assert f"mouse:{PASSWORD[0]}" not in shown
    assert "not set" in str(caught.value)
    assert PASSWORD not in repr(camera.info)
    output = "".join(capfd.readouterr())
    assert "p@ss" not in output
    assert "p%40ss" not in output


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("mouse:hunter2", 0o644, "can be used by every user. Close it: chmod 640"),
        ("mouse", 0o640, "holds something else. Expected one line, user:password"),
        ("mouse:hun\nter2", 0o640, "holds no single line of printable text. Expected one line, user:password"),
        ("", 0o640, "holds no single line"),
        (None, 0o640, r"cannot be read \(No such file"),
    ],
)
def test_a_secret_that_cannot_be_used(tmp_path: Path, text: str | None, mode: int, message: str) -> None:
    path = tmp_path / "none" if text is None else secret_file(tmp_path, text, mode)
    with pytest.raises(ConfigError, match=message) as caught:
        RtspCamera(CameraTable(rtsp="rtsp://127.0.0.1:1/cage", rtsp_secret_file=path))
    assert "hun" not in str(caught.value)


def test_a_stream_that_is_not_there(serve: Serve) -> None:
    address = serve().address
    with pytest.raises(CameraError, match=rf"{address}s: has no such stream"):
        RtspCamera(CameraTable(rtsp=address + "s"))
    with pytest.raises(CameraError, match=r"failed \(Connection refused\)"):
        RtspCamera(CameraTable(rtsp=f"rtsp://127.0.0.1:{free_port()}/cage"))


def test_a_host_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began_s = time.monotonic()
        with pytest.raises(CameraError, match=r"sent nothing for 0.4 s"):
            RtspCamera(CameraTable(rtsp=f"rtsp://127.0.0.1:{listener.getsockname()[1]}/cage", stall_s=0.4))
        assert time.monotonic() - began_s < 5


@contextmanager
def captured(server: Server) -> Iterator[CaptureThread]:
    table = CameraTable(rtsp=server.address, **QUICK)
    recovery = Recovery(table.stall_s, table.retry_s, table.retry_max_s, table.max_restarts)
    with CaptureThread(RtspCamera(table), 4096, recovery) as capture:
        wait_until(lambda: capture.queue.captured > 10)
        yield capture


def test_a_camera_that_falls_silent_and_comes_back(serve: Serve) -> None:
    """A server that is stopped keeps its connections and says nothing."""
    server = serve("width=64,height=48")
    with captured(server) as capture:
        assert server.process is not None
        server.process.suspend()
        wait_until(
            lambda: "sent nothing" in (capture.source.fault or "") or "no frame for" in (capture.source.fault or "")
        )
        server.process.resume()
        seen = capture.queue.captured
        wait_until(lambda: capture.queue.captured > seen + 10)
        wait_until(lambda: capture.source.fault is None)
    assert not any(thread.name == "camera" for thread in threading.enumerate())


def test_a_camera_that_is_killed_and_comes_back_in_the_log(serve: Serve, tmp_path: Path) -> None:
    """From the server to the log: rows, one interval of absence, rows again, and nothing of it twice or dated back."""
    server = serve("width=64,height=48")
    camera = RtspCamera(CameraTable(rtsp=server.address, **QUICK))
    settings = config(tmp_path, camera={"video": None, "rtsp": server.address, **QUICK})
    stop = threading.Event()
    rows: list[int] = []
    daemon = threading.Thread(
        target=lambda: run(settings, stop=stop, on_progress=lambda p: rows.append(p.rows), parts=parts(camera))
    )
    daemon.start()
    try:
        wait_until(lambda: bool(rows) and rows[-1] > 20)
        server.kill()
        killed_ns = time.time_ns()
        seen = len(rows)
        wait_until(lambda: len(rows) > seen + 3)
        before = rows[-1]
        server.start()
        started_ns = time.time_ns()
        wait_until(lambda: rows[-1] > before + 20)
    finally:
        stop.set()
        daemon.join(20)
    assert not daemon.is_alive()
    log = read_log(tmp_path / "log" / "a1")
    assert_covered_once(log)
    assert log.source_index.tolist() == list(range(len(log.source_index)))
    assert (np.diff(log.time_ns) > 0).all()
    gaps = [gap for gap in log.unobserved if gap.start_ns > log.time_ns[0] and gap.stop_ns <= log.time_ns[-1]]
    (gap,) = (gap for gap in gaps if gap.stop_ns > killed_ns)
    assert gap.reason is Reason.CAMERA_LOST
    assert abs(gap.start_ns - killed_ns) < NS_PER_S // 2
    assert started_ns < gap.stop_ns < started_ns + 8 * NS_PER_S
    assert gaps == [gap]


def test_a_camera_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """As after a power cut, when a camera takes longer than the computer that watches it."""
    if not has_server():
        pytest.skip("needs /usr/bin/python3 with GstRtspServer (apt-get install gir1.2-gst-rtsp-server-1.0)")
    server = Server("width=64,height=48", (), "videotestsrc is-live=true pattern=smpte100")
    (tmp_path / "log" / "a1").mkdir(parents=True)
    settings = config(tmp_path, camera={"video": None, "rtsp": server.address, **QUICK})
    stop, rows, voice = threading.Event(), list[int](), Voice()

    def opening(config: CageConfig, *, on_absent: Callable[[CameraError], None], **_: object) -> Parts:
        return parts(camera_of(config.camera, stop, on_absent))

    daemon = threading.Thread(
        target=lambda: run(settings, stop=stop, on_progress=lambda p: rows.append(p.rows), opening=opening, voice=voice)
    )
    daemon.start()
    try:
        status = tmp_path / "log" / "a1" / STATUS
        wait_until(status.exists)
        (ailment,) = ailments(json.loads(status.read_text()), 0.0)
        assert ailment.startswith(f"starting: waiting for the camera: {server.address}: ")
        wait_until(lambda: sum("EXTEND_TIMEOUT_USEC" in said for said in voice.said) >= 3)
        assert not any("READY" in said for said in voice.said)
        server.start()
        wait_until(lambda: bool(rows) and rows[-1] > 20)
        wait_until(lambda: any("READY" in said for said in voice.said))
    finally:
        stop.set()
        daemon.join(20)
        server.kill()
    assert not daemon.is_alive()
    log = read_log(tmp_path / "log" / "a1")
    assert_covered_once(log)
    assert json.loads(status.read_text())["source_fault"] is None


def test_the_wait_for_a_camera_can_be_ended(tmp_path: Path) -> None:
    stop, told = threading.Event(), list[str]()

    def absent(error: CameraError) -> None:
        told.append(str(error))
        if len(told) == 3:
            stop.set()

    table = CameraTable(rtsp=f"rtsp://127.0.0.1:{free_port()}/cage", **QUICK)
    with pytest.raises(CameraError, match="stopped while the camera was away: rtsp"):
        camera_of(table, stop, absent)
    assert len(told) == 3
    # Whoever does not want to wait is told at once; and a file that is not there will not come.
    with pytest.raises(CameraError, match="rtsp"):
        camera_of(table, threading.Event(), None)
    with pytest.raises(VideoError):
        camera_of(CameraTable(video=tmp_path / "absent.mp4"), threading.Event(), absent)


def test_bars_are_the_pattern() -> None:
    """The oracle: SMPTE's bars run from the brightest to the darkest."""
    luma = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in BARS]
    assert luma == sorted(luma, reverse=True)
