"""Files of older toolkits, made by their own SQL, are read as they are and brought up to date where written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_DAY, NOON_NS, NS, SESSION, add_rows, session, steps
from toolkit.behaviour_log import BehaviourLog, Interval, LogWriter, Reason, read_log
from toolkit.bouts import Bout

OLD = {"daemon-down": Reason.DAEMON_DOWN, "blocked": Reason.OBSTRUCTED}


def old_file(folder: Path, version: int) -> Path:
    """Three rows, a bout, and a gap whose reason only version 1 named so."""
    path = folder / "a1" / f"a1_{NOON_DAY}.sqlite"
    path.parent.mkdir()
    noon = DAY_NS // 2
    end = NOON_NS + 3 * INTERVAL_NS
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript((Path(__file__).parent / f"schema_{version}.sql").read_text())
        meta = {"cage": "a1", "day": NOON_DAY, "day_start_ns": str(NOON_NS - noon)}
        meta["ethogram"] = SESSION.ethogram.model_dump_json()
        database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        database.execute(
            "INSERT INTO session VALUES (0, ?, 'boot-1', 'lab', '0.1.0', 'test', 'bbbb', '{}', 'cccc', '{}', ?, ?, 7, "
            "?, ?, 'stopped')",
            (SESSION.uuid, NOON_NS, INTERVAL_NS, NOON_NS, end),
        )
        for row in range(3):
            database.execute("INSERT INTO frame VALUES (?, 0, ?, x'cc1919', 0, 0)", (noon + row * INTERVAL_NS, row))
        database.execute("INSERT INTO bout VALUES (?, ?, 0, 3, 0.8, 0, 0)", (NOON_NS, end))
        reason = "blocked" if version == 1 else "obstructed"
        database.execute("INSERT INTO unobserved VALUES (?, ?, ?)", (end, end + INTERVAL_NS, reason))
        database.execute("INSERT INTO clock VALUES (1, 0, ?, 1, 0)", (NOON_NS,))
    return path


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
        return {name: database.execute(f"PRAGMA table_info({name})").fetchall() for name in sorted(names)}


def check_content(read: BehaviourLog) -> None:
    assert read.time_ns[:3].tolist() == [NOON_NS + row * INTERVAL_NS for row in range(3)]
    assert read.source_index[:3].tolist() == [7, 8, 9]
    assert read.probabilities[:3].tolist() == [[204, 25, 25]] * 3
    assert read.bouts[0] == Bout(0, NOON_NS, NOON_NS + 3 * INTERVAL_NS, 3, 0.8)
    assert read.unobserved[0] == Interval(NOON_NS + 3 * INTERVAL_NS, NOON_NS + 4 * INTERVAL_NS, Reason.OBSTRUCTED)


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_file_goes_on_as_a_new_one(tmp_path: Path, version: int) -> None:
    path = old_file(tmp_path, version)
    with LogWriter(tmp_path, "new", SESSION) as new:
        new.close("stopped")
    with LogWriter(tmp_path, "a1", session(2, start_ns=NOON_NS + NS)) as log:
        add_rows(log, steps(100, 102))
        log.unobserved(102 * INTERVAL_NS, 110 * INTERVAL_NS, Reason.LOG_UNWRITABLE)
        log.close("stopped")
    assert columns(path) == columns(new.path)
    read = read_log(path)
    check_content(read)
    assert [gap.reason for gap in read.unobserved] == [
        Reason.OBSTRUCTED,
        Reason.DAEMON_DOWN,
        Reason.LOG_UNWRITABLE,
    ]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT behaviour, COUNT(*) FROM frames").fetchall() == [("rest", 5)]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_old_file_is_read_without_being_changed(tmp_path: Path) -> None:
    path = old_file(tmp_path, 2)
    before = path.read_bytes()
    check_content(read_log(path))
    assert path.read_bytes() == before
