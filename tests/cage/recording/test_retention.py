"""What is removed, in which order, and when nothing may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.cage.recording.retention import make_room
from toolkit.cage.recording.segment import segment_path, segments
from toolkit.cage.recording.table import RecordingTable
from toolkit.frames import NS_PER_S

DAY_NS = 86_400 * NS_PER_S
NOW_NS = 20_000 * DAY_NS + DAY_NS // 2


def write(folder: Path, ages_days: list[float], size: int = 1_000_000) -> None:
    for age in ages_days:
        path = segment_path(folder, "a1", NOW_NS - round(age * DAY_NS))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * size)


def ages(folder: Path) -> list[float]:
    return [(NOW_NS - start_ns) / DAY_NS for start_ns, _ in segments(folder)]


def table(folder: Path, **changes: Any) -> RecordingTable:
    return RecordingTable.model_validate({"mode": "continuous", "folder": folder, "min_free_gb": 0.0, **changes})


def test_by_age(tmp_path: Path) -> None:
    write(tmp_path, [9.5, 5.5, 3.25, 3.0, 2.75, 0.25])
    room = make_room(tmp_path, table(tmp_path, keep_days=3), NOW_NS, synchronised=True)
    assert (room.removed, room.bytes, room.fault) == (3, 3_000_000, None)
    assert ages(tmp_path) == [3.0, 2.75, 0.25]
    # 3.0 and 2.75 days ago are one day.
    assert len(list(tmp_path.iterdir())) == 2, "a day's folder without files is removed"


def test_by_size_oldest_first(tmp_path: Path) -> None:
    write(tmp_path, [2.0, 1.0, 0.5, 0.25])
    room = make_room(tmp_path, table(tmp_path, max_gb=0.0025), NOW_NS, synchronised=True)
    assert (room.removed, room.fault) == (2, None)
    assert ages(tmp_path) == [0.5, 0.25]


def test_nothing_is_removed_on_the_word_of_a_wrong_clock(tmp_path: Path) -> None:
    write(tmp_path, [9.0, 0.25])
    for synchronised in (False, None):
        room = make_room(tmp_path, table(tmp_path, keep_days=3), NOW_NS, synchronised=synchronised)
        assert (room.removed, room.fault) == (0, None)
        room = make_room(tmp_path, table(tmp_path, max_gb=0.001), NOW_NS, synchronised=synchronised)
        assert room.fault is not None
        assert "more than max_gb = 0.001; nothing is removed while the clock is not synchronised" in room.fault
    assert len(ages(tmp_path)) == 2


def test_a_disk_that_others_fill(tmp_path: Path) -> None:
    """All is removed but what is being written, and then there is no room."""
    write(tmp_path, [2.0, 1.0, 0.25])
    (_, newest) = segments(tmp_path)[-1]
    settings = table(tmp_path, min_free_gb=1e9)
    room = make_room(tmp_path, settings, NOW_NS, synchronised=True, writing=newest)
    assert room.removed == 2
    assert room.fault is not None
    assert ages(tmp_path) == [0.25]


def test_other_files_are_not_ours(tmp_path: Path) -> None:
    write(tmp_path, [9.0])
    others = [tmp_path / "notes.mp4", tmp_path / "2020-01-01" / "talk.mp4"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(b"x")
    make_room(tmp_path, table(tmp_path, keep_days=1, max_gb=1e-9), NOW_NS, synchronised=True)
    assert all(other.exists() for other in others)
    assert ages(tmp_path) == []
