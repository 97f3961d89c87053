"""From a camera to the log: every frame in a row, and every moment without one accounted for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.cage.parts import ScriptedCamera, config, parts
from tests.conftest import WriteVideo
from toolkit.behaviour_log import BehaviourLog, Quality, Reason, read_log
from toolkit.cage.cameras import VideoFileCamera
from toolkit.cage.daemon import run, stop_on_signals
from toolkit.cage.summary import Progress, Summary
from toolkit.cage.watch import Parts
from toolkit.errors import CameraError, LogError, VideoError
from toolkit.frames import NS_PER_S
from toolkit.preprocess import WorkingGeometry

ROOT = Path(__file__).parents[2]
REST = 6


def watched(folder: Path, daemon: Parts, **tables: dict[str, object]) -> tuple[Summary, BehaviourLog]:
    summary = run(config(folder, **tables), stop=threading.Event(), parts=daemon)
    log = read_log(folder / "log" / "a1")
    assert_covered_once(log)
    return summary, log


def assert_covered_once(log: BehaviourLog) -> None:
    spans = [(t, t + d) for t, d in zip(log.time_ns.tolist(), log.duration_ns.tolist(), strict=True)]
    spans = sorted(spans + [(gap.start_ns, gap.stop_ns) for gap in log.unobserved])
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]


def test_a_video_at_camera_pace(tmp_path: Path, write_video: WriteVideo) -> None:
    told: list[Progress] = []
    camera = VideoFileCamera(write_video("mouse.mp4", 40), realtime=True)
    summary = run(config(tmp_path), stop=threading.Event(), on_progress=told.append, parts=parts(camera))
    log = read_log(tmp_path / "log")
    assert log.source_index.tolist() == list(range(40))
    assert np.abs(np.diff(log.time_ns) - NS_PER_S / 30).max() < 10
    assert set(log.label.tolist()) == {REST}
    # softmax of one 2 among seven 0: e^2 / (e^2 + 7) = 0.5135; both streams say so, so the fusion does.
    assert set(log.probabilities[:, REST].tolist()) == {round(255 * 0.5135)}
    # The clip of frame t wants 8 frames before and 7 after it.
    padded = (log.quality & Quality.PADDED).astype(bool)
    assert np.flatnonzero(padded).tolist() == [*range(8), *range(33, 40)]
    assert [(bout.behaviour, bout.frames) for bout in log.bouts] == [(REST, 40)]
    (session,) = log.provenance
    assert session.stop_reason == "end-of-source"
    assert session.engines == {"rgb": "free/cpu/fp32", "flow": "free/cpu/fp32", "optical flow": "free/fast"}
    assert session.config["cage"]["name"] == "a1"
    assert set(log.unobserved_s()) <= {Reason.END_OF_SOURCE}
    assert log.observed_s == pytest.approx(40 / 30, abs=1e-6)
    assert summary.observed_s == pytest.approx(log.observed_s)
    assert (summary.frames_captured, summary.frames_dropped, summary.rows) == (40, 0, 40)
    assert summary.wall_s > 1.2
    # A row waits for the 7 frames after its own; frames at the end do not.
    assert summary.latency_p50_s is not None
    assert summary.latency_p50_s > 0.2
    assert (told[-1].frames, told[-1].total_frames, told[-1].rows) == (40, 40, 40)
    assert told[-1].detail == "40 rows, rest"
    status = json.loads((tmp_path / "log" / "a1" / "status.json").read_text())
    assert (status["state"], status["rows"], status["behaviour"], status["error"]) == ("stopped", 40, "rest", None)
    assert any("40 frames captured, 0 dropped, 40 rows" in line for line in summary.lines())


def test_a_stride_and_a_faster_camera(tmp_path: Path, write_video: WriteVideo) -> None:
    """60 frames per second are halved, then every third is classified: one row in six frames, 0.1 s each."""
    camera = VideoFileCamera(write_video("fast.mp4", 60, fps=60), realtime=False)
    summary, log = watched(tmp_path, parts(camera), cage={"stride": 3})
    assert log.source_index.tolist() == list(range(0, 60, 6))
    assert np.abs(log.duration_ns - NS_PER_S / 10).max() < 10
    assert summary.latency_p50_s is None
    assert log.unobserved == ()


def test_a_second_run_goes_on_where_the_first_ended(tmp_path: Path, write_video: WriteVideo) -> None:
    camera = VideoFileCamera(write_video("mouse.mp4", 20), realtime=True)
    for _ in range(2):
        _, log = watched(tmp_path, parts(camera))
    assert log.source_index.tolist() == [*range(20), *range(20)]
    assert (np.diff(log.time_ns) > 0).all()
    assert len(log.provenance) == 2
    assert Reason.DAEMON_DOWN in log.unobserved_s()


def test_low_confidence_has_no_label(tmp_path: Path, write_video: WriteVideo) -> None:
    camera = VideoFileCamera(write_video("mouse.mp4", 10), realtime=False)
    _, log = watched(tmp_path, parts(camera), cage={"min_confidence": 0.6})
    assert set(log.label.tolist()) == {-1}
    assert ((log.quality & Quality.UNCERTAIN) > 0).all()
    assert log.bouts == ()
    assert log.observed_s == pytest.approx(10 / 30)


def test_overload_logs_bursts_and_the_gaps_between_them(tmp_path: Path) -> None:
    """Flow at half the camera's pace: bursts of at least a queue of consecutive frames, every gap recorded."""
    camera = ScriptedCamera([(300, 0.0)], fps=100.0)
    daemon = parts(camera, flow_s=0.02, geometry=WorkingGeometry(width=64, height=48, fps=100.0))
    summary, log = watched(tmp_path, daemon, camera={"queue_frames": 24})
    assert summary.frames_captured == 300
    assert summary.frames_dropped > 50
    assert summary.rows == 300 - summary.frames_dropped
    assert log.source_index.tolist() == sorted(set(log.source_index.tolist()))
    cuts = np.flatnonzero(np.diff(log.source_index) != 1) + 1
    assert len(cuts) >= 2
    bursts = np.diff([0, *cuts.tolist()])
    assert min(bursts) >= 24
    overload_s = log.unobserved_s()[Reason.OVERLOAD]
    assert overload_s == pytest.approx(summary.frames_dropped / 100, abs=1e-3)
    assert summary.frames_dropped == 300 - len(log.time_ns)
    # No clip crosses a gap: those beside one repeat frames, and say so.
    assert (log.quality[cuts] & Quality.PADDED).all()
    assert (log.quality[cuts - 1] & Quality.PADDED).all()
    assert summary.realtime_factor < 0.8


def test_a_silent_camera_is_lost_not_at_rest(tmp_path: Path) -> None:
    _, log = watched(tmp_path, parts(ScriptedCamera([(20, 1.8), (20, 0.0)])))
    assert len(log.time_ns) == 40
    lost = [gap for gap in log.unobserved if gap.reason is Reason.CAMERA_LOST]
    assert abs(lost[0].start_ns - int(log.time_ns[19]) - NS_PER_S // 30) < 10
    assert lost[0].stop_ns == log.time_ns[20]
    assert [bout.frames for bout in log.bouts] == [20, 20]


def test_a_camera_that_fails(tmp_path: Path) -> None:
    camera = ScriptedCamera([(25, 0.0)], fail="camera scripted: unplugged")
    with pytest.raises(CameraError, match="unplugged"):
        run(config(tmp_path), stop=threading.Event(), parts=parts(camera))
    log = read_log(tmp_path / "log")
    assert_covered_once(log)
    assert len(log.time_ns) == 25
    assert log.provenance[0].stop_reason == "CameraError: camera scripted: unplugged"
    status = json.loads((tmp_path / "log" / "a1" / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", "camera scripted: unplugged")


def test_a_video_that_ends_early_keeps_what_it_showed(tmp_path: Path, write_video: WriteVideo) -> None:
    # Its index comes first, so that a file cut short still opens.
    path = write_video("mouse.mp4", 40, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(VideoError):
        run(config(tmp_path), stop=threading.Event(), parts=parts(VideoFileCamera(path, realtime=False)))
    log = read_log(tmp_path / "log")
    assert 5 < len(log.time_ns) < 40
    assert log.provenance[0].stop_reason is not None
    assert log.provenance[0].stop_reason.startswith("VideoError: ")


def test_an_unsuitable_source_is_refused_before_a_log_is_begun(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"15\.00 frames per second, the networks need 30"):
        run(config(tmp_path), stop=threading.Event(), parts=parts(ScriptedCamera([(5, 0.0)], fps=15.0)))
    assert not (tmp_path / "log").exists()


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    with pytest.raises(LogError, match="cannot be written"):
        run(config(tmp_path), stop=threading.Event(), parts=parts(ScriptedCamera([(5, 0.0)])))
    assert not any(thread.name == "capture" for thread in threading.enumerate())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, write_video: WriteVideo, number: signal.Signals) -> None:
    video = write_video("mouse.mp4", 30)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cage.run_looped", str(tmp_path), str(video)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdout is not None
        rows = 0
        while rows < 30:
            rows = int(daemon.stdout.readline())
        daemon.send_signal(number)
        last = daemon.stdout.read().splitlines()[-1]
        assert daemon.wait(10) == 0
    log = read_log(tmp_path / "log")
    assert last == f"ended {len(log.time_ns)}"
    assert len(log.time_ns) >= 30
    assert_covered_once(log)
    assert log.provenance[0].stop_reason == "stopped"
    assert not list((tmp_path / "log" / "a1").glob("*-wal"))
    # Between two turns of the loop there is one frame's time that was not seen.
    assert [gap.reason for gap in log.unobserved] == [Reason.END_OF_SOURCE] * len(log.unobserved)


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
    assert signal.getsignal(signal.SIGTERM) is before
