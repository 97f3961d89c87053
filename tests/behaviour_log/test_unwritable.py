"""What a writer does while its disk takes nothing: it holds what it can, says so, and goes on when the disk is back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_NS, NS, SESSION, add_rows, session, steps
from toolkit.behaviour_log import ClockReading, LogWriter, Reason, read_log
from toolkit.cage.health import STATUS, Health
from toolkit.errors import LogError

HELD = 250


class Disk:
    """A file system of 4 MB in memory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.log = place / "log"
        self._filler = place / "filler"

    def fill(self) -> None:
        with suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        self._filler.unlink()

    def protect(self) -> None:
        mount("-o", "remount,ro", self.place)

    def unprotect(self) -> None:
        mount("-o", "remount,rw", self.place)


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    try:
        mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", place)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no tmpfs can be mounted here: {error.stderr}")
    yield Disk(place)
    subprocess.run(["umount", str(place)], check=True)


def lock(path: Path) -> sqlite3.Connection:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_full_disk_costs_nothing_while_rows_can_be_held(disk: Disk) -> None:
    with LogWriter(disk.log, "a1", SESSION, most_held=HELD) as log:
        add_rows(log, steps(0, 100))
        log.flush()
        disk.fill()
        for first in range(100, 300, 50):
            add_rows(log, steps(first, first + 50), first=first)
            log.flush()
        (fault,) = log.faults
        assert fault.startswith("cannot be written: 2")
        assert "full" in fault
        disk.free()
        log.flush()
        assert (log.faults, log.held) == ((), 0)
        add_rows(log, steps(300, 310), first=300)
        log.close("stopped")
    read = read_log(disk.log)
    assert read.source_index.tolist() == list(range(310))
    assert read.unobserved == ()
    assert [bout.frames for bout in read.bouts] == [310]


def test_the_status_is_told_on_a_full_disk(disk: Disk) -> None:
    disk.log.mkdir()
    health = Health("a1", state="running", error="a long word about something " * 9)
    health.write(disk.log)
    disk.fill()
    health.log_faults, health.error = ("cannot be written: 3 rows held",), None
    health.write(disk.log)
    assert json.loads((disk.log / STATUS).read_text())["log_faults"] == ["cannot be written: 3 rows held"]
    assert [path.name for path in disk.log.iterdir()] == [STATUS]


def test_what_does_not_fit_is_unobserved_because_of_the_log(disk: Disk) -> None:
    with LogWriter(disk.log, "a1", SESSION, most_held=HELD) as log:
        add_rows(log, steps(0, 100))
        log.flush()
        disk.fill()
        first = 100
        while first < 3000:
            add_rows(log, steps(first, first + 50), first=first)
            log.flush()
            # Neither may a camera that comes and goes fill the memory.
            log.unobserved((first + 50) * INTERVAL_NS, (first + 60) * INTERVAL_NS, Reason.CAMERA_LOST)
            log.clock(ClockReading(first * INTERVAL_NS, NOON_NS + first * INTERVAL_NS, True))
            first += 60
        assert HELD <= log.held < HELD + 50
        assert len(log._writer._batch.clocks) == 1
        assert len(log._writer._batch.intervals) < 10
        held = log.held
        disk.free()
        log.flush()
        add_rows(log, steps(3100, 3110), first=3100)
        log.close("stopped")
    read = read_log(disk.log)
    assert len(read.time_ns) == 100 + held + 10
    (lost,) = [gap for gap in read.unobserved if gap.reason is Reason.LOG_UNWRITABLE]
    assert lost.stop_ns == NOON_NS + first * INTERVAL_NS
    spans = [(t, t + d) for t, d in zip(read.time_ns.tolist(), read.duration_ns.tolist(), strict=True)]
    spans = sorted(spans + [(gap.start_ns, gap.stop_ns) for gap in read.unobserved])
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]


def test_a_disk_that_becomes_read_only(disk: Disk) -> None:
    with LogWriter(disk.log, "a1", SESSION) as log:
        add_rows(log, steps(0, 100))
        log.close("stopped")
    disk.protect()
    before = {path.name: path.read_bytes() for path in log.path.parent.iterdir()}
    with pytest.raises(LogError, match=r"(?i)read-?only"):
        LogWriter(disk.log, "a1", session(2, start_ns=NOON_NS + 60 * NS), most_held=HELD).__enter__()
    assert {path.name: path.read_bytes() for path in log.path.parent.iterdir()} == before
    disk.unprotect()
    with LogWriter(disk.log, "a1", session(2, start_ns=NOON_NS + 60 * NS)) as log:
        add_rows(log, steps(6000, 6001))
        log.close("stopped")
    assert [gap.reason for gap in read_log(disk.log).unobserved] == [Reason.DAEMON_DOWN]


@pytest.mark.parametrize("midnights", [0, 1, 2])
def test_days_that_pass_meanwhile_are_written_in_order(tmp_path: Path, midnights: int) -> None:
    with LogWriter(tmp_path, "a1", SESSION, most_held=10_000) as log:
        add_rows(log, steps(0, 10))
        log.flush()
        first = log.path
        other = lock(first)
        try:
            step_ns = (midnights * DAY_NS + DAY_NS // 4) // 100
            times = [10 * INTERVAL_NS + number * step_ns for number in range(101)]
            for number, time_ns in enumerate(times, start=10):
                add_rows(log, [time_ns], first=number)
            log.flush()
            assert log.faults
        finally:
            other.execute("ROLLBACK")
            other.close()
        log.close("stopped")
    read = read_log(tmp_path)
    assert read.source_index.tolist() == list(range(111))
    assert len(read.files) == 1 + midnights
    for file in read.files:
        with closing(sqlite3.connect(file)) as database:
            assert database.execute("SELECT COUNT(*) FROM session WHERE stop_ns IS NULL").fetchone() == (0,)


def test_who_may_hold_nothing_is_told_at_once(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 10))
        with closing(lock(log.path)), pytest.raises(LogError, match="locked"):
            log.flush()


def test_the_end_tells_what_is_lost(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION, most_held=100) as log:
        add_rows(log, steps(0, 10))
        with closing(lock(log.path)):
            log.flush()
            with pytest.raises(LogError, match="10 rows are lost"):
                log.close("stopped")


@pytest.mark.parametrize("change", [lambda disk: disk.fill(), lambda disk: disk.protect()])
def test_a_disk_fault_is_no_damage(disk: Disk, change: Callable[[Disk], None]) -> None:
    with LogWriter(disk.log, "a1", SESSION, most_held=HELD) as log:
        add_rows(log, steps(0, 100))
        log.flush()
    change(disk)
    with pytest.raises(LogError):
        LogWriter(disk.log, "a1", session(2, start_ns=NOON_NS + 60 * NS)).__enter__()
    assert not list((disk.log / "a1").glob("*corrupt*"))
