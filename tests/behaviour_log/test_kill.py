"""Kill -9, power loss, full disks and places that cannot be written to.

The campaigns of `benches.faults`, short: ``python -m benches.faults`` runs them long.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from benches.faults.log_kill import kill_a_writer
from benches.faults.log_power import lose_power
from benches.faults.log_writes import fail_writes
from tests.behaviour_log.sessions import INTERVAL_NS, SESSION, add_rows, session, steps
from toolkit.behaviour_log import LogWriter, Reason, read_log
from toolkit.errors import LogError

ROOT = Path(__file__).parents[2]

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc compiles what records or fails the writes")


def test_killed_at_any_moment(tmp_path: Path) -> None:
    outcome = kill_a_writer(8, tmp_path)
    assert (outcome.faults, outcome.rows_lost) == ((), 0)


@needs_gcc
def test_power_lost_at_any_moment(tmp_path: Path) -> None:
    outcome = lose_power(tmp_path, commits=30, every=15)
    assert (outcome.faults, outcome.rows_lost) == ((), 0)
    assert outcome.times > 120


@needs_gcc
def test_writes_and_syncs_that_fail(tmp_path: Path) -> None:
    outcome = fail_writes(10, tmp_path)
    assert (outcome.faults, outcome.rows_lost) == ((), 0)


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """The writer may make files of at most 200 kB, as on a full disk, and what it had committed stays."""
    program = """
import resource, sys
from pathlib import Path
from tests.behaviour_log.sessions import SESSION, add_rows, steps
from toolkit.behaviour_log import LogWriter
from toolkit.errors import LogError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
written = 0
try:
    with LogWriter(Path(sys.argv[1]), "a1", SESSION) as log:
        while True:
            add_rows(log, steps(written, written + 100), first=written)
            log.flush()
            written += 100
except LogError as error:
    print(written)
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    written, message = result.stdout.split("\n", 1)
    assert "the behaviour log cannot be written" in message
    assert "what was committed is safe" in message or "everything committed so far is safe" in message
    assert int(written) > 100
    read = read_log(tmp_path)
    assert read.time_ns.size == int(written)
    with LogWriter(tmp_path, "a1", session(2, start_ns=int(read.time_ns[-1]) + 10**9)) as log:
        add_rows(log, [int(read.time_ns[-1]) + 2 * 10**9 - SESSION.utc_offset_ns])
        log.close("stopped")
    assert [gap.reason for gap in read_log(tmp_path).unobserved] == [Reason.DAEMON_DOWN]


def test_sqlites_own_full_disk(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 100))
        log.flush()
        pages = log._writer._day._connection.execute("PRAGMA page_count").fetchone()[0]
        log._writer._day._connection.execute(f"PRAGMA max_page_count = {pages}")
        add_rows(log, steps(100, 5000))
        with pytest.raises(LogError, match=r"is full.*Free some space"):
            log.flush()
    assert len(read_log(tmp_path).time_ns) == 100


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(LogError, match=r"cannot be written.*Expected a folder that this user may write to"):
        LogWriter(file, "a1", SESSION).__enter__()


def test_a_start_that_was_killed_before_it_wrote_anything(tmp_path: Path) -> None:
    folder = tmp_path / "a1"
    folder.mkdir()
    with sqlite3.connect(folder / "a1_2027-01-15.sqlite") as database:
        database.execute("PRAGMA journal_mode = WAL")
    database.close()
    with pytest.raises(LogError, match="the log is empty"):
        read_log(tmp_path)
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 3))
        log.close("stopped")
    read = read_log(tmp_path)
    assert read.duration_ns.tolist() == [INTERVAL_NS] * 3
