"""A camera that fails or falls silent is opened again; every gap is in the log, and a crash loop has an end."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest

from tests.cage.parts import RecoveringCamera, config, parts
from tests.cage.test_daemon import assert_covered_once
from tests.cage.test_page import free_port
from tests.conftest import WriteVideo
from toolkit.behaviour_log import BehaviourLog, Reason, read_log
from toolkit.cage import recovery
from toolkit.cage.cameras import VideoFileCamera
from toolkit.cage.capture import CaptureThread
from toolkit.cage.daemon import run
from toolkit.cage.metrics import metrics
from toolkit.cage.recovery import Reader, Recovery, Restarts
from toolkit.errors import VideoError
from toolkit.frames import NS_PER_S

QUICK = {"stall_s": 0.5, "retry_s": 0.1, "retry_max_s": 0.4, "max_restarts": 30}
RECOVERY = Recovery(stall_s=0.3, retry_s=0.01, retry_max_s=0.05, max_restarts=30)


@contextmanager
def running(folder: Path, source: RecoveringCamera, **tables: dict[str, object]) -> Iterator[Callable[[], None]]:
    """Run a daemon beside the test; what is yielded stops it and waits for its end."""
    stop = threading.Event()
    settings = config(folder, **{"camera": QUICK, **tables})
    thread = threading.Thread(target=lambda: run(settings, stop=stop, parts=parts(source)))

    def end() -> None:
        stop.set()
        source.closed.set()
        thread.join(10)
        assert not thread.is_alive()

    thread.start()
    try:
        yield end
    finally:
        end()


def wait_until(happened: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 15
    while not happened():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def watched_to_its_end(folder: Path, camera: RecoveringCamera) -> BehaviourLog:
    run(config(folder, camera=QUICK), stop=threading.Event(), parts=parts(camera))
    log = read_log(folder / "log" / "a1")
    assert_covered_once(log)
    return log


@pytest.mark.parametrize(("what", "longest_s"), [("fails", 1.2), ("stalls", 2.0)])
def test_a_camera_that_comes_back(
    tmp_path: Path, what: str, longest_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Two openings of 20 frames with one that brings none between them: 40 rows and one interval of absence."""
    camera = RecoveringCamera([(20, what), (0, "fails"), (20, "ends")])
    with caplog.at_level(logging.WARNING, logger="toolkit.cage"):
        log = watched_to_its_end(tmp_path, camera)
    assert camera.opened == 3
    assert log.source_index.tolist() == list(range(40))
    assert (np.diff(log.time_ns) > 0).all()
    (lost,) = [gap for gap in log.unobserved if gap.start_ns >= log.time_ns[19] and gap.stop_ns <= log.time_ns[20]]
    assert lost.reason is Reason.CAMERA_LOST
    # A row stands for the time up to the next frame, or for one interval (1/30 s) before a gap.
    assert abs(lost.start_ns - int(log.time_ns[19]) - NS_PER_S // 30) < 10
    assert lost.stop_ns == log.time_ns[20]
    assert 0.15 < (lost.stop_ns - lost.start_ns) / NS_PER_S < longest_s
    assert [bout.frames for bout in log.bouts] == [20, 20]
    status = json.loads((tmp_path / "log" / "a1" / "status.json").read_text())
    assert (status["source_restarts"], status["source_given_up"]) == (2, False)
    assert 'toolkit_cage_source_restarts_total{cage="a1"} 2\n' in metrics(status, well=True, temperatures_c={})
    assert any("event=camera-restarted" in message for message in caplog.messages)


def test_a_thread_that_hangs_in_its_driver_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first opening hangs and wakes while the second one runs: its late frame is not taken."""
    monkeypatch.setattr(recovery, "CLOSE_S", 0.1)
    camera = RecoveringCamera([(10, "hangs"), (10, "ends")])
    with CaptureThread(camera, 64, RECOVERY) as capture:
        taken = []
        for delivery in capture.deliveries(threading.Event(), 0.1):
            if delivery is not None:
                taken.append(delivery.frame)
                if len(taken) == 13:
                    camera.closed.set()
    assert [frame.index for frame in taken] == list(range(20))
    assert all(a.capture_time_ns < b.capture_time_ns for a, b in pairwise(taken))


def test_drivers_that_hang_are_not_opened_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "CLOSE_S", 0.01)
    camera = RecoveringCamera([(0, "hangs")] * 10)
    with CaptureThread(camera, 64, RECOVERY) as capture:
        wait_until(lambda: capture.source.given_up)
        assert camera.opened == recovery.HANGING
        camera.closed.set()


def test_a_camera_that_never_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After three restarts it is given up; the daemon stays, its page says why, and the log goes on."""
    port = free_port()
    camera = RecoveringCamera([(20, "fails")])
    page = f"http://127.0.0.1:{port}"
    settings: dict[str, dict[str, object]] = {
        "camera": {**QUICK, "max_restarts": 3},
        "health": {"listen": f"127.0.0.1:{port}"},
    }
    with running(tmp_path, camera, **settings) as end:
        wait_until(lambda: any("event=camera-given-up" in message for message in caplog.messages))
        with pytest.raises(HTTPError) as refusal:
            urlopen(f"{page}/healthz", timeout=5)
        with refusal.value as answer:
            assert answer.code == 503
            assert "camera given up after 3 restarts: camera recovering: failure 4" in answer.read().decode()
        given_up_ns = time.time_ns()
        time.sleep(1.2)
        end()
    assert camera.opened == 4
    assert not any(thread.name in ("capture", "camera") for thread in threading.enumerate())
    log = read_log(tmp_path / "log" / "a1")
    assert_covered_once(log)
    assert len(log.time_ns) == 20
    lost = log.unobserved[-1]
    assert lost.reason is Reason.CAMERA_LOST
    assert abs(lost.start_ns - int(log.time_ns[19]) - NS_PER_S // 30) < 10
    assert lost.stop_ns > given_up_ns
    assert log.provenance[0].stop_reason == "stopped"


def test_frames_of_another_size_are_not_taken() -> None:
    camera = RecoveringCamera([(5, "fails"), (5, "fails"), (5, "ends")])
    with CaptureThread(camera, 64, RECOVERY) as capture:
        wait_until(lambda: capture.queue.captured == 5)
        camera.image = np.zeros((24, 32, 3), dtype=np.uint8)
        wait_until(lambda: "32 x 24 px now" in (capture.source.fault or ""))
    assert capture.queue.captured == 5


def test_a_video_never_restarts(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video("mouse.mp4", 40, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(VideoError):
        run(
            config(tmp_path, camera=QUICK),
            stop=threading.Event(),
            parts=parts(VideoFileCamera(path, realtime=True)),
        )


def waits(frames_each_time: int, count: int) -> list[float | None]:
    """Return the waits at the default settings, where each opening fails at once after so many frames."""
    restarts, now_s, found = Restarts(Recovery(20.0, 1.0, 60.0, 30)), 0.0, []
    reader = Reader(RecoveringCamera([]), lambda frame: None)
    reader.frames = frames_each_time
    for _ in range(count):
        wait_s = restarts.wait_s(reader, now_s)
        found.append(wait_s)
        now_s += wait_s or 0.0
    return found


def test_waits_double_up_to_a_minute_and_vary() -> None:
    found = waits(0, 500)
    for wait_s, longest_s in zip(found, [2, 4, 8, 16, 32] + [60] * 495, strict=True):
        assert wait_s is not None
        assert longest_s / 2 <= wait_s <= longest_s
    assert len({round(wait_s or 0, 6) for wait_s in found}) > 490


def test_a_crash_loop_ends() -> None:
    found = waits(3, 31)
    assert found[30] is None
    assert all(wait_s is not None and 0.5 <= wait_s <= 1 for wait_s in found[:30])
