"""Bouts in order, a few at a time, over days."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, add_rows, session
from toolkit.behaviour_log import LogWriter
from toolkit.behaviour_log.bout_feed import count_bouts, read_bouts


def write_bouts(folder: Path, begin_ns: int, labels: list[int]) -> None:
    """Write a session of bouts of ten rows each."""
    with LogWriter(folder, "a1", session(start_ns=begin_ns, offset_ns=begin_ns)) as log:
        for number, label in enumerate(labels):
            add_rows(log, [(10 * number + row) * INTERVAL_NS for row in range(10)], label, first=10 * number)
        log.close("stopped")


def test_bouts_that_cross_midnight_come_in_two(tmp_path: Path) -> None:
    midnight_ns = 20_000 * DAY_NS
    write_bouts(tmp_path, midnight_ns - 15 * INTERVAL_NS, [0, 1, 2])
    folder = tmp_path / "a1"
    found = read_bouts(folder, "a1", 0, 1 << 62, limit=10)
    assert [(one.behaviour, one.continued_from, one.continued_to, one.bout.frames) for one in found] == [
        ("rest", False, False, 10),
        ("walk", False, True, 5),
        ("walk", True, False, 5),
        ("rear", False, False, 10),
    ]
    assert [one.bout.start_ns for one in found][2] == midnight_ns
    starts = [one.bout.start_ns for one in found]
    for after in range(4):
        later = read_bouts(folder, "a1", starts[after], starts[-1], limit=2)
        assert [one.bout.start_ns for one in later] == starts[after + 1 : after + 3]
        assert count_bouts(folder, "a1", starts[after], starts[-1]) == 3 - after
