"""Readings while something is measured: means between two questions, from a board's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.benchmark import readings
from toolkit.benchmark.readings import LOAD, Readings


def test_a_mean_of_what_was_read_since_the_last_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "EVERY_S", 0.0)
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal")
    with Readings(tmp_path) as board:
        for millidegrees in (40_000, 50_000, 90_000):
            (zone / "temp").write_text(str(millidegrees))
            board.sample()
        found = board.take()
        assert found["temperature cpu-thermal, °C"] == pytest.approx(60.0)
        assert found[LOAD] >= 0
        assert board.take() == {}


def test_it_reads_once_a_second(tmp_path: Path) -> None:
    """A board's sensors take milliseconds to answer: a second look within the second takes none."""
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal")
    (zone / "temp").write_text("40000")
    with Readings(tmp_path) as board:
        board.sample()
        (zone / "temp").write_text("80000")
        board.sample()
        assert board.take()["temperature cpu-thermal, °C"] == 40.0
