"""Kill -9, full disks and places that cannot be written to."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.behaviour_log.sessions import INTERVAL_NS, SESSION, add_rows, session, steps
from toolkit.behaviour_log import LogWriter, Reason, read_log
from toolkit.errors import LogError

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Twenty starts of a real writer, each killed at a random moment, some of them while it starts."""
    moments = random.Random(2)
    committed: dict[int, int] = {}
    for number in range(1, 21):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.behaviour_log.write_forever", str(tmp_path), str(number)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "started\n"
            time.sleep(moments.uniform(0.0, 0.35))
            writer.kill()
            # The kill may cut the last number short.
            said = writer.stdout.read()
            numbers = said[: said.rfind("\n") + 1].split()
            committed[number] = int(numbers[-1]) if numbers else 0
    assert sum(committed.values()) > 200, "the writers hardly wrote: the test tested nothing"
    files = sorted(tmp_path.rglob("*.sqlite"))
    for path in files:
        with sqlite3.connect(path) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            uuids = database.execute(
                "SELECT session_uuid, COUNT(*), COUNT(DISTINCT source_index) FROM frames GROUP BY 1"
            )
            rows = {int(uuid[-12:]): (count, distinct) for uuid, count, distinct in uuids}
        database.close()
        if len(files) == 1:
            for number, expected in committed.items():
                found, distinct = rows.get(number, (0, 0))
                assert found == distinct, "a frame is in the log twice"
                assert expected <= found <= expected + 10, "a commit is missing"
    with LogWriter(tmp_path, "a1", session(99, start_ns=time.time_ns(), offset_ns=time.time_ns())) as log:
        add_rows(log, steps(100, 102))
        log.close("stopped")
    read = read_log(tmp_path)
    down = [gap for gap in read.unobserved if gap.reason is Reason.DAEMON_DOWN]
    starts = sum(1 for count in committed.values() if count)
    assert len(down) >= starts
    spans = [(t, t + d) for t, d in zip(read.time_ns.tolist(), read.duration_ns.tolist(), strict=True)]
    spans = sorted(spans + [(gap.start_ns, gap.stop_ns) for gap in read.unobserved])
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
    assert sum(bout.frames for bout in read.bouts) == len(read.time_ns)


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
        pages = log._day._connection.execute("PRAGMA page_count").fetchone()[0]
        log._day._connection.execute(f"PRAGMA max_page_count = {pages}")
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
