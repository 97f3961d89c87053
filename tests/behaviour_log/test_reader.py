"""Files that are no log, or not one this toolkit can read, are refused with a reason."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.behaviour_log.sessions import DAY_NS, NOON_NS, SESSION, add_rows, session, steps
from toolkit.behaviour_log import LogWriter, read_log
from toolkit.errors import LogError
from toolkit.ethogram import ethogram_from_names


def written(folder: Path, cage: str = "a1") -> Path:
    with LogWriter(folder, cage, SESSION) as log:
        add_rows(log, steps(0, 3))
        log.close("stopped")
    return log.path


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no such behaviour log"):
        read_log(tmp_path / "absent")
    with pytest.raises(LogError, match=r"holds no \.sqlite file"):
        read_log(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a1_2027-01-15.sqlite"
    path.touch()
    with pytest.raises(LogError, match=r"empty \(0 bytes\)"):
        read_log(path)


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE frame (x)")
    database.close()
    with pytest.raises(LogError, match="not a behaviour log"):
        read_log(path)


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    path.write_text("not a database\n" * 100)
    with pytest.raises(LogError, match="cannot be read"):
        read_log(path)


@pytest.mark.parametrize("reads", [True, False])
def test_a_newer_schema(tmp_path: Path, reads: bool) -> None:
    path = written(tmp_path)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 4")
    database.close()
    with pytest.raises(LogError, match=r"schema 4, this toolkit knows schemas up to 3\. Update the toolkit"):
        if reads:
            read_log(path)
        else:
            LogWriter(tmp_path, "a1", session(2)).__enter__()


def test_several_cages(tmp_path: Path) -> None:
    written(tmp_path, "a1")
    other = written(tmp_path, "a2")
    with pytest.raises(LogError, match=r"logs of 2 cages \(a1, a2\)"):
        read_log(tmp_path)
    shutil.copy(other, tmp_path / "a1" / other.name)
    with pytest.raises(LogError, match="files of several cages"):
        read_log(tmp_path / "a1")


def test_several_ethograms(tmp_path: Path) -> None:
    written(tmp_path)
    tomorrow = NOON_NS + DAY_NS
    other = session(2, start_ns=tomorrow, offset_ns=tomorrow, ethogram=ethogram_from_names(["rest", "groom", "eat"]))
    with LogWriter(tmp_path, "a1", other) as log:
        add_rows(log, steps(0, 1))
        log.close("stopped")
    with pytest.raises(LogError, match="2 different sets of behaviours"):
        read_log(tmp_path)


def test_a_copied_file_is_a_whole_log(tmp_path: Path) -> None:
    copy = tmp_path / "backup" / "day.sqlite"
    copy.parent.mkdir()
    shutil.copy(written(tmp_path), copy)
    assert len(read_log(copy).time_ns) == 3


def test_reading_leaves_nothing_behind(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    read_log(path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == [".lock", path.name]
