"""What a daemon says when something changes, and what it leaves behind when it cannot even start."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from tests.cage.parts import ScriptedCamera, config, parts
from toolkit.behaviour_log import LogWriter
from toolkit.cage.clock import read_clock
from toolkit.cage.daemon import run, session_of
from toolkit.cage.health import STATUS, Health
from toolkit.cage.service import Service
from toolkit.errors import LogError, VideoError
from toolkit.view import View, ViewMonitor


def test_each_change_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    health = Health("a1")
    changes: list[dict[str, Any]] = [
        {},
        {"overloaded": True, "frames_dropped": 7},
        {"overloaded": True, "frames_dropped": 9},
        {"overloaded": False},
        {"silent_s": 21.0},
        {"silent_s": 22.0},
        {"silent_s": 0.0},
        {"clock_step_ns": 3_600_000_000_000, "clock_synchronised": True},
        {"clock_step_ns": 3_600_400_000_000},
    ]
    with caplog.at_level(logging.INFO, logger="toolkit.cage"), Service(config(tmp_path), health) as service:
        caplog.clear()
        for change in changes:
            vars(health).update(change)
            service.tell()
        assert caplog.messages == [
            "cage=a1 event=overloaded dropped=7",
            "cage=a1 event=overload-over dropped=9",
            "cage=a1 event=camera-silent seconds=21",
            "cage=a1 event=camera-back",
            "cage=a1 event=clock-stepped seconds=3600 synchronised=True",
        ]


def status(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "log" / "a1" / STATUS).read_text())
    return values


def test_a_daemon_that_cannot_start_says_so_where_status_looks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(config(tmp_path), stop=threading.Event(), parts=parts(ScriptedCamera([(5, 0.0)])))
    assert status(tmp_path)["state"] == "stopped"
    with pytest.raises(VideoError, match="15"):
        run(config(tmp_path), stop=threading.Event(), parts=parts(ScriptedCamera([(5, 0.0)], fps=15.0)))
    assert status(tmp_path)["state"] == "failed"
    assert "15.00 frames per second" in status(tmp_path)["error"]
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "event=failed" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_what_is_amiss_with_a_camera_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    camera = ScriptedCamera([(5, 0.0)])
    camera.info = replace(camera.info, dated_by="a test", refused=("gain: no.",), warnings=("it exposes.",))
    with caplog.at_level(logging.INFO, logger="toolkit.cage"):
        run(config(tmp_path), stop=threading.Event(), parts=parts(camera))
    told = {(record.levelname, record.getMessage()) for record in caplog.records}
    assert ("INFO", 'cage=a1 event=camera name=scripted size=64x48 fps=30 dated_by="a test"') in told
    for text in ("gain: no.", "it exposes."):
        assert ("WARNING", f'cage=a1 event=warning text="scripted: {text}"') in told


def test_a_fault_of_the_program_is_no_running_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ViewMonitor, image: NDArray[Any], time_ns: int) -> View:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ViewMonitor, "judge", fail)
    with pytest.raises(RuntimeError):
        run(config(tmp_path), stop=threading.Event(), parts=parts(ScriptedCamera([(30, 0.0)])))
    assert (status(tmp_path)["state"], status(tmp_path)["error"]) == ("failed", "a bug")


def test_a_second_daemon_leaves_the_first_one_s_status_alone(tmp_path: Path) -> None:
    settings, daemon = config(tmp_path), parts(ScriptedCamera([(5, 0.0)]))
    session = session_of(settings, daemon.bundle, {}, read_clock())
    with LogWriter(settings.log.folder, "a1", session) as log:
        (log.path.parent / STATUS).write_text('{"state": "running"}')
        with pytest.raises(LogError, match="another daemon"):
            run(settings, stop=threading.Event(), parts=daemon)
        assert status(tmp_path) == {"state": "running"}
        log.close("stopped")
