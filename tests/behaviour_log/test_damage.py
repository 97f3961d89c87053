"""Files that are not what was written to them are set aside, and the log goes on and says so."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benches.faults.log_power import compile_recorder
from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_DAY, NOON_NS, NS, SESSION, add_rows, session, steps
from toolkit.behaviour_log import Interval, LogWriter, Reason, read_log
from toolkit.errors import LogError

MIDNIGHT_NS = NOON_NS - DAY_NS // 2


def written(folder: Path, rows: int = 1000) -> Path:
    with LogWriter(folder, "a1", SESSION) as log:
        for first in range(0, rows, 100):
            add_rows(log, steps(first, first + 100), first=first)
            log.flush()
        log.close("stopped")
    return log.path


def overwrite_late_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2 * 4096 :] = b"\x5a" * (2 * 4096)
    path.write_bytes(content)


def write_a_page_to_the_wrong_place(path: Path) -> None:
    """Every page is sound by itself: only the whole does not hang together."""
    content = bytearray(path.read_bytes())
    content[-3 * 4096 : -2 * 4096] = content[-2 * 4096 : -4096]
    path.write_bytes(content)


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_text(path: Path) -> None:
    path.write_text("not a database\n" * 1000)


def cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "damage",
    [overwrite_late_pages, write_a_page_to_the_wrong_place, make_empty, make_text, cut_in_half],
)
def test_a_damaged_file_is_set_aside_and_the_log_goes_on(tmp_path: Path, damage: object) -> None:
    path = written(tmp_path)
    assert callable(damage)
    damage(path)
    damaged = path.read_bytes()
    start_ns = NOON_NS + 3600 * NS
    with LogWriter(tmp_path, "a1", session(2, start_ns=start_ns, offset_ns=start_ns)) as log:
        add_rows(log, steps(1, 3))
        log.close("stopped")
    aside = path.with_name(f"a1_{NOON_DAY}.sqlite.corrupt-1")
    assert aside.read_bytes() == damaged
    (fault,) = log.faults
    assert fault.startswith(f"{aside.name}: damaged (")
    read = read_log(tmp_path)
    assert read.files == (path,)
    assert len(read.time_ns) == 2
    # Nothing is known of that day but that it was logged.
    assert read.unobserved == (Interval(MIDNIGHT_NS, start_ns + INTERVAL_NS, Reason.LOG_DAMAGED),)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT utc_ns, kind FROM note").fetchall() == [(start_ns, "quarantine")]
        assert aside.name in database.execute("SELECT text FROM note").fetchone()[0]


def test_every_later_start_says_it_until_the_file_is_gone(tmp_path: Path) -> None:
    path = written(tmp_path)
    make_empty(path)
    for number, seconds in enumerate((10, 20), start=2):
        start_ns = NOON_NS + seconds * NS
        with LogWriter(tmp_path, "a1", session(number, start_ns=start_ns, offset_ns=start_ns)) as log:
            add_rows(log, steps(0, 2))
            log.close("stopped")
        assert len(log.faults) == 1
    assert [gap.reason for gap in read_log(tmp_path).unobserved] == [Reason.LOG_DAMAGED, Reason.DAEMON_DOWN]
    for aside in path.parent.glob("*.corrupt-*"):
        aside.unlink()
    with LogWriter(tmp_path, "a1", session(4, start_ns=NOON_NS + 30 * NS)) as log:
        assert log.faults == ()


def test_a_second_damaged_file_of_a_day_gets_a_name_of_its_own(tmp_path: Path) -> None:
    for number in (1, 2):
        make_empty(written(tmp_path))
        with LogWriter(tmp_path, "a1", session(number, start_ns=NOON_NS + number * NS)) as log:
            assert len(log.faults) == number


def test_damage_of_yesterday_is_found_and_only_its_time_is_lost(tmp_path: Path) -> None:
    for day in range(3):
        start_ns = NOON_NS + day * DAY_NS
        with LogWriter(tmp_path, "a1", session(day, start_ns=start_ns, offset_ns=start_ns)) as log:
            add_rows(log, steps(0, 2))
            log.close("stopped")
    overwrite_late_pages(log.path)
    start_ns = NOON_NS + 3 * DAY_NS
    with LogWriter(tmp_path, "a1", session(9, start_ns=start_ns, offset_ns=start_ns)) as log:
        add_rows(log, steps(0, 2))
        log.close("stopped")
    read = read_log(tmp_path)
    assert len(read.files) == 3
    lost = [gap for gap in read.unobserved if gap.reason is Reason.LOG_DAMAGED]
    assert lost[0].start_ns == NOON_NS + DAY_NS + 2 * INTERVAL_NS
    assert lost[-1].stop_ns == start_ns
    assert all(one.stop_ns == two.start_ns for one, two in itertools.pairwise(lost))


def test_a_write_ahead_log_without_its_file(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 100))
        log.flush()
        kept = {name: (path := Path(f"{log.path}{name}")).read_bytes() for name in ("", "-wal")}
        log.close("stopped")
    log.path.unlink()
    Path(f"{log.path}-wal").write_bytes(kept["-wal"])
    with LogWriter(tmp_path, "a1", session(2, start_ns=NOON_NS + 9 * NS)) as log:
        add_rows(log, steps(900, 901))
        log.close("stopped")
    assert Path(f"{log.path}.corrupt-1-wal").read_bytes() == kept["-wal"]
    assert path.name.endswith("-wal")
    assert len(read_log(tmp_path).time_ns) == 1


def test_an_emptied_file_with_its_write_ahead_log(tmp_path: Path) -> None:
    """SQLite would take the file for a new one and throw the write-ahead log away."""
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 100))
        log.flush()
        wal = Path(f"{log.path}-wal").read_bytes()
        log.close("stopped")
    make_empty(log.path)
    Path(f"{log.path}-wal").write_bytes(wal)
    with LogWriter(tmp_path, "a1", session(2, start_ns=NOON_NS + 9 * NS)) as log:
        pass
    assert Path(f"{log.path}.corrupt-1-wal").read_bytes() == wal


def test_damage_that_comes_while_the_log_is_written_ends_the_daemon_and_the_next_one_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path)
    with LogWriter(tmp_path, "a1", session(2, start_ns=NOON_NS + 60 * NS), most_held=1000) as log:
        add_rows(log, steps(6000, 6001))
        log.flush()
        # A page that the next commit has to read again, since it does not lie in a cache.
        log._writer._day._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
        log._writer._day._connection.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
        content = bytearray(path.read_bytes())
        content[4096:] = b"\x5a" * (len(content) - 4096)
        path.write_bytes(content)
        add_rows(log, steps(6001, 6002))
        with pytest.raises(LogError, match="the daemon's next start sets it aside"):
            log.flush()
    with LogWriter(tmp_path, "a1", session(3, start_ns=NOON_NS + 70 * NS)) as log:
        assert len(log.faults) == 1


def test_what_cannot_be_reached_is_not_set_aside(tmp_path: Path) -> None:
    path = written(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.MonkeyPatch.context() as patch:
            # SQLite's own patience of ten seconds.
            connect = sqlite3.connect
            patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.0}))
            with pytest.raises(LogError, match="locked"):
                LogWriter(tmp_path, "a1", session(2, start_ns=NOON_NS + 60 * NS)).__enter__()
    assert not list(path.parent.glob("*corrupt*"))
    assert len(read_log(tmp_path).time_ns) == 1000


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc compiles what fails the reads")
@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EREMOTEIO, "LogError"), (errno.EACCES, "LogError"), (errno.EIO, "LogDamaged")]
)
def test_only_a_sector_that_is_gone_is_damage(tmp_path: Path, number: int, kind: str) -> None:
    """The pages from 20 kB on cannot be read: the file opens, and looking through it finds that."""
    path = written(tmp_path)
    control = tmp_path / "control"
    control.write_text(f"{number} r 20480")
    environment = {
        **os.environ,
        "LD_PRELOAD": str(compile_recorder(tmp_path)),
        "FAULT_FOLDER": str(path.parent),
        "FAULT_CONTROL": str(control),
    }
    program = """
import sys
from pathlib import Path
from toolkit.behaviour_log.damage import check
from toolkit.errors import LogError
try:
    check(Path(sys.argv[1]))
except LogError as error:
    print(type(error).__name__, error)
"""
    said = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert said.split()[0] == kind


def test_a_copy_of_a_day_is_not_looked_at(tmp_path: Path) -> None:
    path = written(tmp_path)
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    make_empty(copy)
    with LogWriter(tmp_path, "a1", session(2, start_ns=NOON_NS + 60 * NS)) as log:
        assert log.faults == ()
