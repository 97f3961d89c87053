"""What befalls its log, a daemon survives and says."""

from __future__ import annotations

import itertools
import json
import logging
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from tests.cage.parts import ScriptedCamera, config, parts
from toolkit.behaviour_log import ClockReading, Reason, read_log
from toolkit.behaviour_log.batch import Batch
from toolkit.behaviour_log.day_file import DayFile
from toolkit.cage.daemon import run
from toolkit.cage.health import STATUS, Health, ailments
from toolkit.errors import LogError


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if f"event={name} " in f"{record.getMessage()} "]


def test_a_damaged_file_is_told_by_status_and_journal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = config(tmp_path)
    log = run(settings, stop=threading.Event(), parts=parts(ScriptedCamera([(5, 0.0)]))).log
    log.write_bytes(b"")
    caplog.clear()
    run(settings, stop=threading.Event(), parts=parts(ScriptedCamera([(5, 0.0)])))
    status = json.loads((log.parent / STATUS).read_text())
    (fault,) = status["log_faults"]
    assert f"{log.name}.corrupt-1: damaged" in fault
    assert ailments({**status, "state": "running"}, 0.0) == [f"log: {fault}"]
    (record,) = events(caplog, "log-fault")
    assert (record.levelno, log.name in record.getMessage()) == (logging.ERROR, True)
    assert {gap.reason for gap in read_log(log).unobserved} >= {Reason.LOG_DAMAGED}


def test_a_disk_that_fails_for_a_while_costs_no_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mock of the disk: the second to the fifth commit fail."""
    caplog.set_level(logging.INFO, "toolkit.cage")
    monkeypatch.setattr("toolkit.cage.watch.HEALTH_S", 0.05)
    commit, numbers = DayFile.commit, itertools.count(1)

    def failing(day: DayFile, batch: Batch) -> None:
        if 2 <= next(numbers) <= 5:
            raise LogError("the disk is full") from sqlite3.OperationalError("database or disk is full")
        commit(day, batch)

    monkeypatch.setattr(DayFile, "commit", failing)
    summary = run(
        config(tmp_path, log={"folder": tmp_path / "log", "flush_s": 0.1}),
        stop=threading.Event(),
        parts=parts(ScriptedCamera([(60, 0.0)])),
    )
    assert len(read_log(tmp_path / "log").time_ns) == summary.rows > 0
    assert Reason.LOG_UNWRITABLE not in summary.unobserved_s
    assert "the disk is full" in events(caplog, "log-fault")[0].getMessage()
    assert events(caplog, "log-fault-over")


def test_a_camera_waits_for_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands in 1970, and is set while the daemon runs."""
    noon_ns = 1_800_000_000 * 10**9
    monkeypatch.setattr("toolkit.cage.watch.CLOCK_S", 0.2)
    readings = itertools.count()

    def read_clock() -> ClockReading:
        now_ns = time.monotonic_ns()
        is_set = next(readings) > 4
        return ClockReading(now_ns, now_ns + (noon_ns if is_set else 0), is_set)

    monkeypatch.setattr("toolkit.cage.daemon.read_clock", read_clock)
    monkeypatch.setattr("toolkit.cage.watch.read_clock", read_clock)
    settings = config(tmp_path, camera={"video": None, "device": "scripted"})
    summary = run(settings, stop=threading.Event(), parts=parts(ScriptedCamera([(60, 0.0)])))
    assert next(readings) > 6
    read = read_log(tmp_path / "log")
    assert read.time_ns.size == summary.rows > 30
    assert int(read.time_ns[0]) > noon_ns
    assert [entry.utc_offset_ns for entry in read.provenance] == [noon_ns]
    status = json.loads((summary.log.parent / STATUS).read_text())
    assert (status["log_faults"], status["clock_step_ns"]) == ([], 0)


def test_what_is_said_first_is_what_matters_most() -> None:
    health = Health("a1", state="running", log_faults=("cannot be written: 3 rows held for 9 s", "b"))
    assert ailments(health.status(Path()), 0.0) == ["log: cannot be written: 3 rows held for 9 s", "log: b"]
