"""Days go by age and by free space: oldest first, whole ones only, and none that somebody still has to export."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.behaviour_log.sessions import DAY_NS, NOON_NS, NS, add_rows, session, steps
from toolkit.behaviour_log import ClockReading, LogWriter, Retention, mark_exported
from toolkit.behaviour_log.retention import remove_expired
from toolkit.errors import LogError

DAYS = 5


@pytest.fixture
def log(tmp_path: Path) -> list[Path]:
    """Five days, the last of which is being written."""
    paths = []
    for day in range(DAYS):
        start_ns = NOON_NS + day * DAY_NS
        with LogWriter(tmp_path, "a1", session(day, start_ns=start_ns, offset_ns=start_ns)) as writer:
            add_rows(writer, steps(0, 3))
            writer.close("stopped")
        paths.append(writer.path)
    for name in ("pending-boot-7.sqlite", "a1_2020-01-01.sqlite.corrupt-1"):
        (tmp_path / "a1" / name).touch()
    return paths


def remaining(log: list[Path]) -> list[int]:
    assert (log[0].parent / "pending-boot-7.sqlite").exists()
    assert (log[0].parent / "a1_2020-01-01.sqlite.corrupt-1").exists()
    return [day for day, path in enumerate(log) if path.exists()]


def expire(log: list[Path], today: int = -1, **rules: object) -> str | None:
    folder = log[0].parents[1]
    before = [path for path in log if path.exists()]
    retained = remove_expired(folder, "a1", log[today], Retention(**rules))  # type: ignore[arg-type]
    assert list(retained.removed) == [path for path in before if not path.exists()]
    return retained.fault


def test_by_default_everything_stays(log: list[Path]) -> None:
    assert expire(log) is None
    assert remaining(log) == [0, 1, 2, 3, 4]


def test_by_age(log: list[Path]) -> None:
    expire(log, keep_days=2)
    assert remaining(log) == [2, 3, 4]


def test_what_lies_after_today_is_not_touched(log: list[Path]) -> None:
    """After a step back of the clock, files of the future may lie there."""
    expire(log, today=1, keep_days=0)
    assert remaining(log) == [1, 2, 3, 4]


def test_by_free_space_until_there_is_enough(log: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock of the disk: every file gives back one unit."""

    def usage(_path: Path) -> object:
        return shutil._ntuple_diskusage(10, 0, 3 + sum(not path.exists() for path in log))  # type: ignore[attr-defined]

    monkeypatch.setattr("toolkit.behaviour_log.retention.shutil.disk_usage", usage)
    assert expire(log, min_free_bytes=5) is None
    assert remaining(log) == [2, 3, 4]
    fault = expire(log, min_free_bytes=100)
    # Today's stays even when the disk is too full.
    assert remaining(log) == [4]
    assert fault is not None
    assert "too little space" in fault


def test_unexported_days_stay_and_are_named_when_space_runs_out(log: list[Path]) -> None:
    mark_exported(log[0])
    mark_exported(log[2])
    assert expire(log, keep_days=1, keep_unexported=True) is None
    assert remaining(log) == [1, 3, 4]
    fault = expire(log, min_free_bytes=1 << 62, keep_unexported=True)
    assert remaining(log) == [1, 3, 4]
    assert fault is not None
    assert "2 are not exported yet" in fault


def test_a_day_that_went_on_after_its_export_is_not_exported(log: list[Path]) -> None:
    folder = log[0].parents[1]
    mark_exported(log[-1])
    start_ns = NOON_NS + (DAYS - 1) * DAY_NS + 60 * NS
    with LogWriter(folder, "a1", session(9, start_ns=start_ns, offset_ns=start_ns)) as writer:
        add_rows(writer, steps(0, 300))
        writer.close("stopped")
    retained = remove_expired(
        folder, "a1", log[0].with_name("a1_2030-01-01.sqlite"), Retention(keep_days=1, keep_unexported=True)
    )
    assert retained.removed == ()


def test_marking_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="No such file"):
        mark_exported(tmp_path / "a1_2027-01-15.sqlite")


def test_never_by_a_clock_that_is_not_believed(log: list[Path]) -> None:
    (log[0].parent / "pending-boot-7.sqlite").unlink()
    start_ns = NOON_NS + DAYS * DAY_NS
    began = session(9, start_ns=start_ns, offset_ns=start_ns)
    with LogWriter(log[0].parents[1], "a1", began, clock=ClockReading(0, start_ns, False)) as writer:
        assert writer.retain(Retention(keep_days=1)) == ()
        writer.clock(ClockReading(NS, start_ns + NS, True))
        assert len(writer.retain(Retention(keep_days=1))) == DAYS - 1
        # Synchronisation is lost again.
        writer.clock(ClockReading(2 * NS, start_ns + 2 * NS, False))
        assert writer.retain(Retention(keep_days=0)) == ()


def test_a_folder_that_cannot_be_changed_is_told(log: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "unlink", unlink)
    fault = expire(log, keep_days=1)
    assert fault is not None
    assert "Read-only file system" in fault
