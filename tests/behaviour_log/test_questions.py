"""The questions that docs/behaviour-log.md asks of a day's file have the answers that they should."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour_log.sessions import INTERVAL_NS, NS, SESSION, add_rows, steps
from toolkit.behaviour_log import ClockReading, LogWriter, Quality, Reason

GUIDE = Path(__file__).parents[2] / "docs" / "behaviour-log.md"
QUESTIONS = re.findall(r"^```sql\n(.*?)^```", GUIDE.read_text(), flags=re.M | re.S)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From noon on: 1 s of the first behaviour, 0.5 s dark, 1 s of the second, 0.1 s uncertain."""
    folder = tmp_path_factory.mktemp("log")
    with LogWriter(folder, "a1", SESSION) as log:
        add_rows(log, steps(0, 100), label=0)
        log.unobserved(100 * INTERVAL_NS, 150 * INTERVAL_NS, Reason.DARK)
        add_rows(log, steps(150, 250), label=1, first=150)
        add_rows(log, steps(250, 260), label=None, first=250)
        log.clock(ClockReading(NS, SESSION.utc_offset_ns + NS + 250_000_000, True))
        log.close("stopped")
    return log.path


def answers(day: Path, number: int) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{day.as_uri()}?mode=ro", uri=True)) as database:
        return database.execute(QUESTIONS[number]).fetchall()


def test_every_question_is_asked_here() -> None:
    assert len(QUESTIONS) == 5


def test_what_the_mouse_did(day: Path) -> None:
    first, second = (behaviour.name for behaviour in SESSION.ethogram.behaviours[:2])
    assert sorted(answers(day, 0)) == sorted([(first, 1, 1.0), (second, 1, 1.0)])


def test_what_nobody_saw(day: Path) -> None:
    assert answers(day, 1) == [("dark", 1, 0.5)]


def test_a_second_of_rows(day: Path) -> None:
    rows = answers(day, 2)
    assert [index for _, index, _ in rows] == list(range(100))
    assert {utc[11:] for utc, _, _ in rows} == {"12:00:00"}
    assert {behaviour for _, _, behaviour in rows} == {SESSION.ethogram.behaviours[0].name}


def test_which_rows_the_networks_were_unsure_of(day: Path) -> None:
    (counts,) = answers(day, 3)
    assert counts == (10, 0, 210)
    assert (Quality.UNCERTAIN, Quality.PADDED) == (2, 1)


def test_what_made_it(day: Path) -> None:
    assert answers(day, 4) == [(SESSION.uuid, SESSION.bundle_name, SESSION.bundle_sha256[:12], "stopped", 1, 0.25)]
