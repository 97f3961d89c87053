"""Real sources that die or fall silent: an RTSP server on loopback, and the process of a GStreamer pipeline."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benches.faults.outcome import NotRun, Outcome, broken_account, broken_order
from tests.cage.cameras.conftest import pipelines
from tests.cage.cameras.test_gstreamer import bars
from tests.cage.cameras.test_rtsp import Server, has_server
from tests.cage.mqtt_broker import wait_for
from tests.cage.parts import config, parts
from toolkit.behaviour_log import Reason, read_log
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras import open_camera
from toolkit.cage.daemon import run
from toolkit.frames import NS_PER_S

QUICK = {"stall_s": 0.8, "retry_s": 0.1, "retry_max_s": 0.3, "max_restarts": 1000}
Harm = Callable[[], None]


def lose_an_rtsp_server(what: Literal["killed", "suspended"], times: int, folder: Path) -> Outcome | NotRun:
    """Kill an RTSP server and start it again, or suspend it, `times` times, for a second each."""
    name = f"RTSP server: {what}"
    if not has_server():
        return NotRun(name, "GstRtspServer's bindings for the system's Python are not installed")
    server = Server("width=64,height=48", (), "videotestsrc is-live=true pattern=smpte100")
    server.start()

    def suspend() -> None:
        assert server.process is not None
        server.process.suspend()

    def resume() -> None:
        assert server.process is not None
        server.process.resume()

    harm, mend = (server.kill, server.start) if what == "killed" else (suspend, resume)
    try:
        return _lose(name, {"rtsp": server.address}, harm, mend, times, folder)
    finally:
        server.kill()


def lose_a_pipeline(what: Literal["killed", "suspended"], times: int, folder: Path) -> Outcome | NotRun:
    """Kill or suspend the process of a GStreamer pipeline, `times` times; nobody but the daemon mends it."""
    name = f"GStreamer process: {what}"
    if shutil.which("gst-launch-1.0") is None:
        return NotRun(name, "gst-launch-1.0 is not installed")

    def harm() -> None:
        for process in pipelines():
            process.kill() if what == "killed" else process.suspend()

    return _lose(name, {"pipeline": bars("width=64,height=48")}, harm, None, times, folder)


def _lose(name: str, source: dict[str, Any], harm: Harm, mend: Harm | None, times: int, folder: Path) -> Outcome:
    """Let a daemon watch a source that is harmed, and mended a second later if anybody does, again and again.

    `frames_lost` are frames that the daemon was given and that have no row; `recovery_s` is the longest time from the
    mending, else from the harm, to the end of the last absence before the next one. A server that wakes sends times
    that go backwards at first, so that it is left once more.
    """
    settings = config(folder, camera={"video": None, **source, **QUICK})
    camera = open_camera(CameraTable(**source, **QUICK))
    stop, rows, summaries = threading.Event(), [0], list[Any]()
    daemon = threading.Thread(
        target=lambda: summaries.append(
            run(settings, stop=stop, on_progress=lambda progress: rows.append(progress.rows), parts=parts(camera))
        )
    )
    daemon.start()
    harmed, mended, faults = list[int](), list[int](), list[str]()
    try:
        for _ in range(times):
            before = rows[-1]
            wait_for(lambda before=before: rows[-1] > before + 20, "rows")  # type: ignore[misc]
            harmed.append(time.time_ns())
            harm()
            if mend is not None:
                time.sleep(1)
            mended.append(time.time_ns())
            if mend is not None:
                mend()
        before = rows[-1]
        wait_for(lambda: rows[-1] > before + 40, "rows after the last time")
    except AssertionError as error:
        faults.append(f"waited in vain for {error}")
    finally:
        stop.set()
        daemon.join(60)
    log = read_log(folder / "log")
    faults += broken_account(folder / "log" / "a1") + broken_order(log)
    times_ns = log.time_ns
    lost = [gap for gap in log.unobserved if gap.reason is Reason.CAMERA_LOST and gap.stop_ns <= times_ns[-1]]
    recovery_s = 0.0
    for harmed_ns, mended_ns, next_ns in zip(harmed, mended, [*harmed[1:], int(times_ns[-1])], strict=True):
        absences = [gap for gap in lost if harmed_ns - NS_PER_S // 2 < gap.start_ns < next_ns - NS_PER_S // 2]
        if not absences:
            faults.append("an absence is not recorded")
        else:
            recovery_s = max(recovery_s, (absences[-1].stop_ns - mended_ns) / NS_PER_S)
    (summary,) = summaries
    frames_lost = summary.frames_captured - len(times_ns)
    return Outcome(name, times, frames_lost, summary.rows - len(times_ns), recovery_s, tuple(faults))
