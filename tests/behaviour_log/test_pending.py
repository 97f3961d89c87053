"""Rows without a believable date wait, and are dated once, in order, whatever happens meanwhile."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_NS, NS, add_rows, session, steps
from toolkit.behaviour_log import BehaviourLog, ClockReading, Level, LogWriter, Reason, Session, read_log
from toolkit.behaviour_log.writer import SessionWriter

BOOT_NS = 40 * NS
"""Monotonic time at which the daemon starts."""


def reading(monotonic_ns: int, utc_ns: int, synchronised: bool | None) -> ClockReading:
    return ClockReading(monotonic_ns, utc_ns, synchronised)


def unset(number: int = 1, monotonic_ns: int = BOOT_NS, **changes: object) -> tuple[Session, ClockReading]:
    """Return a session and a clock that stands in 1970, as on a board without a battery."""
    clock = reading(monotonic_ns, monotonic_ns + 100 * NS, False)
    return session(number, start_ns=clock.utc_ns, offset_ns=clock.utc_offset_ns, **changes), clock


def truth(monotonic_ns: int, synchronised: bool | None = True) -> ClockReading:
    return reading(monotonic_ns, monotonic_ns + NOON_NS, synchronised)


def rows(first: int, stop: int) -> list[int]:
    return [BOOT_NS + time_ns for time_ns in steps(first, stop)]


def pending_file(folder: Path) -> Path:
    return folder / "a1" / "pending-boot-1.sqlite"


def covered_once(log: BehaviourLog) -> bool:
    spans = [(t, t + d) for t, d in zip(log.time_ns.tolist(), log.duration_ns.tolist(), strict=True)]
    spans = sorted(spans + [(gap.start_ns, gap.stop_ns) for gap in log.unobserved])
    return [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]


@pytest.mark.parametrize("level", list(Level))
def test_a_clock_that_is_set_hours_later_dates_what_waited(tmp_path: Path, level: Level) -> None:
    began, clock = unset(level=level)
    with LogWriter(tmp_path, "a1", began, clock=clock) as log:
        log.clock(clock)
        add_rows(log, rows(0, 100), label=1)
        log.unobserved(BOOT_NS + 100 * INTERVAL_NS, BOOT_NS + 200 * INTERVAL_NS, Reason.CAMERA_LOST)
        add_rows(log, rows(200, 300), label=2, first=200)
        log.flush()
        assert not log.dated
        assert "the clock is not synchronised" in log.faults[0]
        assert [path.name for path in (tmp_path / "a1").glob("*.sqlite")] == ["pending-boot-1.sqlite"]
        log.clock(truth(BOOT_NS + 300 * INTERVAL_NS))
        assert (log.dated, log.faults) == (True, ())
        add_rows(log, rows(300, 310), label=2, first=300)
        log.close("stopped")
    assert log.account.rows == 210
    read = read_log(tmp_path)
    assert covered_once(read)
    # The bout goes on over the moment at which the clock was set.
    assert [(bout.behaviour, bout.frames, round(bout.mean_probability, 2)) for bout in read.bouts] == [
        (1, 100, 0.8),
        (2, 110, 0.8),
    ]
    assert [gap.reason for gap in read.unobserved] == [Reason.CAMERA_LOST]
    (provenance,) = read.provenance
    assert (provenance.utc_offset_ns, provenance.start_ns) == (NOON_NS, NOON_NS + BOOT_NS)
    if level is Level.FRAMES:
        assert read.time_ns.tolist() == [NOON_NS + time_ns for time_ns in [*rows(0, 100), *rows(200, 310)]]
        assert read.source_index.tolist() == [*range(100), *range(200, 310)]
        assert set(map(tuple, read.probabilities.tolist())) == {(26, 204, 26), (26, 26, 204)}
    with closing(sqlite3.connect(log.path)) as database:
        assert database.execute("SELECT step_ns FROM clock").fetchall() == [(100 * NS - NOON_NS,), (0,)]
    assert not list((tmp_path / "a1").glob("pending*"))


def test_hours_without_a_date_may_span_midnights(tmp_path: Path) -> None:
    began, clock = unset()
    with LogWriter(tmp_path, "a1", began, clock=clock) as log:
        for hour in range(40):
            add_rows(log, [BOOT_NS + hour * 3600 * NS + step for step in steps(0, 3)], first=3 * hour)
        log.clock(truth(BOOT_NS + 40 * 3600 * NS))
        log.close("stopped")
    read = read_log(tmp_path)
    assert len(read.files) == 3
    assert read.source_index.tolist() == list(range(120))
    assert covered_once(read)


def test_whoever_waits_for_a_long_move_is_told_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.behaviour_log.log_writer._MOVED_AT_ONCE", 10)
    began, clock = unset()
    told: list[int] = []
    with LogWriter(tmp_path, "a1", began, clock=clock, on_move=lambda: told.append(1)) as log:
        add_rows(log, rows(0, 95))
        log.clock(truth(BOOT_NS + NS))
        assert len(told) == 9


def test_restarts_within_a_boot_wait_together(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", session(9, start_ns=NOON_NS - NS, offset_ns=NOON_NS - NS)) as log:
        add_rows(log, steps(0, 2))
        log.close("stopped")
    for number in (1, 2):
        began, clock = unset(number, BOOT_NS + number * NS)
        with LogWriter(tmp_path, "a1", began, clock=clock) as log:
            add_rows(log, [BOOT_NS + number * NS + step for step in steps(0, 50)])
            if number == 1:
                log.close("stopped")
            else:
                log.flush()
    # The third start of the same boot knows the date from the first moment on.
    start_ns = BOOT_NS + 9 * NS
    began = session(3, start_ns=NOON_NS + start_ns)
    with LogWriter(tmp_path, "a1", began, clock=truth(start_ns)) as log:
        assert log.faults == ()
        add_rows(log, [start_ns + step for step in steps(0, 5)])
        log.close("stopped")
    read = read_log(tmp_path)
    assert len(read.time_ns) == 2 + 100 + 5
    assert covered_once(read)
    assert [entry.stop_reason for entry in read.provenance] == ["stopped", "stopped", "not closed", "stopped"]
    assert {gap.reason for gap in read.unobserved} == {Reason.DAEMON_DOWN}


def test_a_boot_whose_clock_was_never_set_is_kept_and_named(tmp_path: Path) -> None:
    began, clock = unset()
    with LogWriter(tmp_path, "a1", began, clock=clock) as log:
        log.clock(clock)
        add_rows(log, rows(0, 10))
        log.close("stopped")
    later = session(2, start_ns=NOON_NS, boot_id="boot-2")
    with LogWriter(tmp_path, "a1", later, clock=truth(0)) as log:
        (fault,) = log.faults
        assert "pending-boot-1.sqlite: 10 rows of a boot whose clock was never set" in fault
        add_rows(log, steps(0, 1))
        log.close("stopped")
    assert len(read_log(tmp_path).time_ns) == 1
    assert len(read_log(pending_file(tmp_path)).time_ns) == 10


def test_a_log_that_ends_far_ahead_is_not_overwritten_and_rows_wait(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", session(1, start_ns=NOON_NS + DAY_NS, offset_ns=NOON_NS + DAY_NS)) as log:
        add_rows(log, steps(0, 1))
        log.close("stopped")
    wrong = log.path
    with LogWriter(tmp_path, "a1", session(2, start_ns=NOON_NS + BOOT_NS), clock=truth(BOOT_NS)) as log:
        assert "the log ends 24.0 hours after they begin" in log.faults[0]
        add_rows(log, rows(0, 10))
        log.clock(truth(BOOT_NS + NS))
        assert not log.dated
        log.close("stopped")
    assert len(read_log(tmp_path).time_ns) == 1
    wrong.rename(tmp_path / "elsewhere.sqlite")
    # Even another boot knows how to date them: the clock was right.
    with LogWriter(
        tmp_path, "a1", session(3, start_ns=NOON_NS + 500 * NS, boot_id="boot-2"), clock=truth(BOOT_NS)
    ) as log:
        assert log.faults == ()
        log.close("stopped")
    assert read_log(tmp_path / "a1").time_ns.tolist() == [NOON_NS + time_ns for time_ns in rows(0, 10)]


def test_a_boot_of_two_starts_is_dated_together_or_not_at_all(tmp_path: Path) -> None:
    """The log ends an hour and a half after the first start, and half an hour after the second."""
    end_ns = NOON_NS + BOOT_NS + 5400 * NS
    with LogWriter(tmp_path, "a1", session(9, start_ns=end_ns, offset_ns=end_ns)) as log:
        add_rows(log, steps(0, 1))
        log.close("stopped")
    for number, start_ns in ((1, BOOT_NS), (2, BOOT_NS + 3600 * NS)):
        began, clock = unset(number, start_ns)
        with LogWriter(tmp_path, "a1", began, clock=clock) as log:
            add_rows(log, [start_ns + step for step in steps(0, 10)])
            log.clock(truth(start_ns + 100 * NS))
            assert not log.dated
            assert "the log ends 1.5 hours after they begin" in log.faults[0]
            add_rows(log, [start_ns + step for step in steps(10, 20)], first=10)
            log.close("stopped")
    assert len(read_log(pending_file(tmp_path)).time_ns) == 40
    assert len(read_log(pending_file(tmp_path)).provenance) == 2


@pytest.mark.parametrize(
    ("synchronised", "utc_ns", "accept", "dated"),
    [
        (True, NOON_NS, False, True),
        (None, NOON_NS, False, True),
        (False, NOON_NS, False, False),
        (False, NOON_NS, True, True),
        (True, 1000 * NS, True, False),
    ],
)
def test_which_clocks_are_believed(
    tmp_path: Path, synchronised: bool | None, utc_ns: int, accept: bool, dated: bool
) -> None:
    clock = reading(0, utc_ns, synchronised)
    began = session(start_ns=utc_ns, offset_ns=utc_ns)
    with LogWriter(tmp_path, "a1", began, clock=clock, accept_unsynchronised=accept) as log:
        assert log.dated is dated


class Killed(BaseException):
    """Stands for a kill: nothing after it happens."""


@pytest.mark.parametrize("seed", range(12))
def test_a_kill_while_rows_are_moved(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit at which it happens is chosen at random; what is on the disk then is what the next start finds."""
    monkeypatch.setattr("toolkit.behaviour_log.log_writer._MOVED_AT_ONCE", 40)
    midnight_boot = NOON_NS + DAY_NS // 2 - BOOT_NS - 2 * NS
    chance = random.Random(seed)
    for number in (1, 2):
        began, clock = unset(number, BOOT_NS + 3 * number * NS)
        with LogWriter(tmp_path / "log", "a1", began, clock=clock) as log:
            add_rows(log, [BOOT_NS + 3 * number * NS + step for step in steps(0, 250)], label=number)
            log.flush()
    moves = chance.randrange(1, 18)
    flush = SessionWriter.flush

    def killed(writer: SessionWriter) -> None:
        nonlocal moves
        flush(writer)
        moves -= 1
        if moves == 0:
            shutil.copytree(tmp_path / "log", tmp_path / "left", ignore=shutil.ignore_patterns("*-shm"))
            raise Killed

    start_ns = BOOT_NS + 20 * NS
    began = session(3, start_ns=start_ns + midnight_boot, offset_ns=midnight_boot)
    clock = reading(start_ns, start_ns + midnight_boot, True)
    monkeypatch.setattr(SessionWriter, "flush", killed)
    try:
        with LogWriter(tmp_path / "log", "a1", began, clock=clock):
            moves = 0
    except Killed:
        pass
    monkeypatch.setattr(SessionWriter, "flush", flush)
    left = tmp_path / ("left" if (tmp_path / "left").exists() else "log")
    # Another boot by now: the file itself knows its date.
    later = session(4, start_ns=start_ns + midnight_boot + 60 * NS, offset_ns=midnight_boot, boot_id="boot-2")
    with LogWriter(left, "a1", later, clock=clock) as log:
        assert log.faults == ()
        log.close("stopped")
    read = read_log(left / "a1")
    expected = [BOOT_NS + 3 * number * NS + step + midnight_boot for number in (1, 2) for step in steps(0, 250)]
    assert read.time_ns.tolist() == expected
    assert covered_once(read)
    assert sum(bout.frames for bout in read.bouts) == 500
    assert len(read.bouts) == 2
    assert not list((left / "a1").glob("pending*"))
