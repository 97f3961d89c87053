"""Real GStreamer pipelines in their own processes: pictures, times, and every way to end."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cage.cameras.conftest import pipelines
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras import Camera, GStreamerCamera, open_camera
from toolkit.cage.cameras.gdp import Caps, parse_caps, parse_header, picture_of
from toolkit.cage.cameras.gstreamer import csi_camera
from toolkit.cage.capture import CaptureThread
from toolkit.cage.recovery import Recovery
from toolkit.errors import CameraError, MissingDependency
from toolkit.frames import NS_PER_S, Frame

needs_gstreamer = pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs gst-launch-1.0")

RECOVERY = Recovery(stall_s=0.6, retry_s=0.05, retry_max_s=0.2, max_restarts=30)

BARS = [(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255)]
"""The seven bars of SMPTE's pattern from the left, in the full colours that videotestsrc gives them, RGB."""


def bars(size: str = "width=322,height=242", more: str = "") -> str:
    return f"videotestsrc is-live=true pattern=smpte100 ! video/x-raw,{size},framerate=30/1 {more}"


def some(camera: Camera, count: int) -> list[Frame]:
    stop = threading.Event()
    frames = []
    for frame in camera.frames(stop):
        frames.append(frame)
        if len(frames) == count:
            stop.set()
    return frames


def assert_shows_the_bars(image: NDArray[np.uint8], tolerance: int) -> None:
    """Look at the middle of each bar in two rows of the upper half, so that sheared rows are seen."""
    height, width = image.shape[:2]
    for row in (height // 20, height // 2):
        found = [image[row, int((bar + 0.5) * width / 7)].tolist() for bar in range(7)]
        assert found == [pytest.approx(colour, abs=tolerance) for colour in BARS]


def wait_until(happened: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@needs_gstreamer
def test_pictures_and_times() -> None:
    """322 px a row are 966 bytes, which GStreamer pads to 968."""
    camera = GStreamerCamera("bars", bars())
    began_ns = time.monotonic_ns()
    frames = some(camera, 40)
    info = camera.info
    assert (info.width, info.height, info.fps, info.live, info.recovers) == (322, 242, 30.0, True, True)
    assert info.dated_by == "GStreamer's times"
    assert [frame.index for frame in frames] == list(range(40))
    for frame in frames:
        assert frame.image.shape == (242, 322, 3)
        assert frame.image.flags.c_contiguous
        assert_shows_the_bars(frame.image, 2)
    assert began_ns < frames[0].capture_time_ns
    assert frames[-1].capture_time_ns <= time.monotonic_ns()
    # videotestsrc spaces its times exactly; the first frames may still teach the clock an earlier floor.
    apart_ns = [after.capture_time_ns - before.capture_time_ns for before, after in pairwise(frames)]
    assert max(apart_ns) == pytest.approx(NS_PER_S / 30, rel=1e-3)
    assert np.median(apart_ns) == pytest.approx(NS_PER_S / 30, rel=1e-3)


@needs_gstreamer
@pytest.mark.parametrize(
    ("pipeline", "tolerance"),
    [
        (bars("width=320,height=240", "! x264enc tune=zerolatency ! h264parse ! avdec_h264"), 12),
        (bars("format=RGB,width=320,height=240", "! videoconvert ! jpegenc quality=95 ! jpegdec"), 12),
        (bars("format=UYVY,width=321,height=240"), 12),
    ],
    ids=["h264", "mjpeg", "yuv422"],
)
def test_what_a_pipeline_decodes(pipeline: str, tolerance: int) -> None:
    (frame, *_) = some(GStreamerCamera("bars", pipeline), 2)
    assert_shows_the_bars(frame.image, tolerance)


@needs_gstreamer
@pytest.mark.parametrize(("depth", "rounding"), [("GRAY8", 0), ("GRAY16_LE", 1)])
def test_a_grey_camera(depth: str, rounding: int) -> None:
    grey = bars("format=RGB,width=321,height=241", f"! videoconvert ! video/x-raw,format={depth}")
    (frame,) = some(GStreamerCamera("grey", grey), 1)
    assert frame.image.shape == (241, 321, 3)
    assert np.ptp(frame.image, axis=2).max() <= rounding
    # BT.601's weights of red, green and blue; yellow is brighter than cyan, green than magenta, red than blue.
    found = [int(frame.image[20, int((bar + 0.5) * 321 / 7), 0]) for bar in range(7)]
    assert found == pytest.approx([0.299 * r + 0.587 * g + 0.114 * b for r, g, b in BARS], abs=3)


@needs_gstreamer
def test_a_cage_in_a_part_of_the_picture() -> None:
    """The fifth bar alone, on its side: [184, 0] is its left edge in 322 px."""
    table = CameraTable(pipeline=bars(), roi=(184, 0, 46, 100), rotate=90)
    camera = open_camera(table)
    (frame,) = some(camera, 1)
    assert frame.image.shape == (46, 100, 3) == (camera.info.height, camera.info.width, 3)
    assert frame.image[2:-2].reshape(-1, 3).tolist() == [pytest.approx(BARS[4], abs=2)] * (42 * 100)


@needs_gstreamer
def test_a_rate_that_is_not_told() -> None:
    pipeline = "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 ! capssetter join=true caps="
    unknown = pipeline + "video/x-raw,framerate=0/1"
    with pytest.raises(CameraError, match=r"does not say its frame rate.*Set \[camera\] fps"):
        GStreamerCamera("bars", unknown)
    assert GStreamerCamera("bars", unknown, fps=30.0).info.fps == 30.0


@needs_gstreamer
@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("videotestsrc ! nosuch", r'its pipeline ended \(no element "nosuch"\)'),
        (
            "filesrc location=/no/such ! decodebin",
            r'filesrc0: Resource not found; No such file "/no/such"\).*hand: gst-',
        ),
        ("audiotestsrc is-live=true", r"its pipeline ended \(could not link"),
        ("videotestsrc num-buffers=0", r"its pipeline ended \(end of the stream, exit status 0\)"),
        ("videotestsrc '", "No closing quotation"),
    ],
)
def test_a_pipeline_that_cannot_be(pipeline: str, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        GStreamerCamera("bars", pipeline)


@needs_gstreamer
def test_a_pipeline_without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.cage.cameras.gstreamer.OPEN_S", 0.3)
    with pytest.raises(CameraError, match=r"no picture within 0.3 s.*gst-launch-1.0 videotestsrc"):
        GStreamerCamera("bars", "videotestsrc is-live=true ! valve drop=true")


@needs_gstreamer
def test_a_pipeline_that_is_not_live_is_refused() -> None:
    camera = GStreamerCamera("bars", "videotestsrc ! video/x-raw,width=64,height=48,framerate=30/1")
    with pytest.raises(CameraError, match="Expected a live source"):
        some(camera, 100_000)


def test_no_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingDependency, match=r"no gst-launch-1.0 here.*apt-get install gstreamer1.0-tools"):
        GStreamerCamera("bars", bars())


@needs_gstreamer
def test_no_gdppay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A registry of its own over a few of GStreamer's plugins is a GStreamer without the others."""
    told = subprocess.run(["gst-inspect-1.0", "coreelements"], capture_output=True, text=True, timeout=60, check=True)
    folder = Path(next(line.split()[1] for line in told.stdout.splitlines() if "Filename" in line)).parent
    for name in ("libgstcoreelements.so", "libgstvideotestsrc.so", *(p.name for p in folder.glob("libgstvideoconv*"))):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.setenv("GST_REGISTRY", f"{tmp_path}/registry")
    monkeypatch.setenv("GST_PLUGIN_SYSTEM_PATH_1_0", f"{tmp_path}")
    with pytest.raises(MissingDependency, match=r"needs GStreamer's gdppay.*gstreamer1\.0-plugins-bad"):
        GStreamerCamera("bars", "videotestsrc is-live=true")
    with pytest.raises(CameraError, match=r'no element "jpegdec"\).*Install the plugin that has it'):
        GStreamerCamera("bars", "videotestsrc ! jpegdec")


@needs_gstreamer
def test_a_loop_that_is_left_ends_the_pipeline() -> None:
    with closing(GStreamerCamera("bars", bars()).frames(threading.Event())) as frames:  # type: ignore[type-var]
        next(frames)
        assert len(pipelines()) == 1
    assert pipelines() == []


@pytest.fixture
def capture() -> Iterator[CaptureThread]:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("needs gst-launch-1.0")
    with CaptureThread(GStreamerCamera("bars", bars("width=64,height=48")), 4096, RECOVERY) as running:
        wait_until(lambda: running.queue.captured > 10)
        yield running


def after_it_came_back(capture: CaptureThread) -> list[Frame]:
    """Wait for ten frames after one restart, and return all."""
    wait_until(lambda: capture.source.restarts == 1)
    seen = capture.queue.captured
    wait_until(lambda: capture.queue.captured > seen + 10)
    stop = threading.Event()
    deliveries = capture.deliveries(stop, 0.0)
    frames = [delivery.frame for delivery in (next(deliveries) for _ in range(seen + 10)) if delivery is not None]
    assert [frame.index for frame in frames] == list(range(seen + 10))
    apart_s = [(after.capture_time_ns - before.capture_time_ns) / NS_PER_S for before, after in pairwise(frames)]
    assert min(apart_s) > 0
    # One gap, where the pipeline ended.
    assert [gap > 1.5 / 30 for gap in apart_s].count(True) == 1
    assert capture.source.restarts == 1
    return frames


def test_a_pipeline_that_is_killed_comes_back(capture: CaptureThread) -> None:
    (process,) = pipelines()
    faults = []
    process.kill()
    wait_until(lambda: bool(capture.source.fault and faults.append(capture.source.fault) is None))
    assert "its pipeline ended (killed by signal 9)" in faults[0]
    after_it_came_back(capture)


def test_a_pipeline_that_hangs_is_killed_and_comes_back(capture: CaptureThread) -> None:
    (process,) = pipelines()
    process.suspend()
    after_it_came_back(capture)
    assert not process.is_running()


def test_a_csi_camera_needs_a_jetsons_plugins() -> None:
    """No Jetson here: that its pipeline is what was meant is read from the message alone."""
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("needs gst-launch-1.0")
    table = CameraTable(csi=1, width=1280, height=720, fps=30, exposure_ms=5, gain=2, auto_exposure=False)
    with pytest.raises(
        CameraError, match='CSI camera 1: its pipeline ended \\(no element "nvarguscamerasrc"'
    ) as caught:
        csi_camera(table)
    by_hand = str(caught.value).split("by hand: ")[1]
    assert by_hand == (
        "gst-launch-1.0 nvarguscamerasrc sensor-id=1 'exposuretimerange=5000000 5000000' 'gainrange=2 2' aelock=true ! "
        "'video/x-raw(memory:NVMM),width=1280,height=720,framerate=30000/1000' ! nvvidconv ! video/x-raw,format=BGRx ! "
        "fakesink"
    )


def test_messages_that_are_none() -> None:
    """The layout is that of GStreamer 1.22's ``gdppay``, read here by hand from what it wrote."""
    header = bytes.fromhex("01000100000100039310") + (1_460_513).to_bytes(8, "big") + bytes(44)
    assert (parse_header(header).payload_bytes, parse_header(header).pts_ns) == (234_256, 1_460_513)
    assert parse_header(header[:10] + b"\xff" * 8 + bytes(44)).pts_ns is None
    for damaged in (b"\x00" + header[1:], header[:6] + b"\xff" + header[7:]):
        with pytest.raises(ValueError, match=r"expected a header of GDP 1\.0"):
            parse_header(damaged)
    caps = "video/x-raw, width=(int)3, height=(int)2, framerate=(fraction)30000/1001, format=(string)RGB"
    assert parse_caps(caps.encode() + b"\0") == Caps(3, 2, 30000 / 1001)
    with pytest.raises(ValueError, match="expected raw RGB"):
        parse_caps(caps.replace("RGB", "RGBA").encode())
    with pytest.raises(ValueError, match="expected 24 bytes for 3 x 2 px, found 18"):
        picture_of(np.zeros(18, np.uint8), Caps(3, 2, None))
    rows = np.arange(24, dtype=np.uint8)
    assert picture_of(rows, Caps(3, 2, None))[1].ravel().tolist() == list(range(12, 21))
