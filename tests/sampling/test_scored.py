"""What scorers write, with every way in which it can be wrong said by its line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import WriteVideo
from tests.sampling.parts import label_table
from toolkit.annotations import Interval
from toolkit.errors import AnnotationError, InputError
from toolkit.sampling import DrawOptions, draw, open_source, read_scored, write_sample

HEADER = "clip,cage,utc,source_start_frame,source_stop_frame,centre_frame,behaviour,start_frame,stop_frame"


@pytest.fixture
def sample(write_video: WriteVideo, tmp_path: Path) -> Path:
    """Return a sample of four clips of 30 frames, centre 15, of a video that rests, then walks."""
    table = label_table(write_video("m1.mp4", 300), np.repeat([6, 7], 150).astype(np.int16))
    return write_sample(tmp_path / "sample", draw([open_source(table)], DrawOptions(4, seconds=1.0)))


def names(sample: Path) -> list[str]:
    with (sample / "scoring.csv").open() as file:
        return [row["clip"] for row in csv.DictReader(file)]


def score(sample: Path, rows: list[tuple[str, str, str, str]], *, separator: str = ",", mark: str = "") -> None:
    """Write a table as a spreadsheet does."""
    lines = [HEADER, *(f"{clip},m1,,,,15,{behaviour},{start},{stop}" for clip, behaviour, start, stop in rows)]
    (sample / "scoring.csv").write_text(mark + "\r\n".join(lines).replace(",", separator) + "\r\n", encoding="utf-8")


def test_the_scorer_does_not_see_what_the_machine_said(sample: Path) -> None:
    lines = (sample / "scoring.csv").read_text().splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 5
    assert all(line.endswith(",15,,,") for line in lines[1:])
    shown = (sample / "scoring.csv").read_text() + "".join(path.name for path in (sample / "clips").iterdir())
    assert "rest" not in shown
    assert "walk" not in shown
    assert sorted(path.name for path in (sample / "clips").iterdir()) == names(sample)
    assert names(sample)[0].startswith("0001_m1_20261126T0800")


@pytest.mark.parametrize(("separator", "mark"), [(",", ""), (";", "\ufeff"), ("\t", "")])
def test_whatever_a_spreadsheet_separates_by(sample: Path, separator: str, mark: str) -> None:
    first, second, third, fourth = names(sample)
    rows = [
        (first, "Resting", "", ""),
        (second, "?", "", ""),
        (third, "", "", ""),
        (fourth, "walk", "", ""),
        (fourth, "walk", "10", "30"),
        (fourth, "rest", "0", "10"),
    ]
    score(sample, rows, separator=separator, mark=mark)
    one, two, three, four = read_scored(sample).clips
    assert (one.scored, one.intervals, one.cannot_say) == ("rest", (Interval(15, 16, "rest"),), False)
    assert (two.scored, two.intervals, two.cannot_say) == (None, (), True)
    assert (three.scored, three.intervals, three.cannot_say) == (None, (), False)
    assert (four.scored, four.intervals) == ("walk", (Interval(0, 10, "rest"), Interval(10, 30, "walk")))


def test_every_fault_has_its_line(sample: Path) -> None:
    first, second, third, fourth = names(sample)
    rows = [
        (first, "wlak", "", ""),
        (second, "walk", "20", "31"),
        (second, "walk", "5", ""),
        (third, "rest", "", ""),
        (third, "walk", "10", "20"),
        ("0009_m1.mp4", "rest", "", ""),
        (fourth, "", "3", "4"),
    ]
    score(sample, rows)
    with pytest.raises(AnnotationError) as raised:
        read_scored(sample)
    said = str(raised.value)
    for fault in (
        "line 2: unknown behaviour 'wlak' (did you mean 'walk'?), or ?",
        "line 3: frames 20 to 31 are not of the clip, which has 30, from 0 on",
        "line 4: expected start_frame and stop_frame, both or neither; found '5', ''",
        f"lines 5 and 6: rest and walk in the same frames of {third}",
        "line 7: '0009_m1.mp4' is not a clip of this sample",
        "line 8: a stretch without a behaviour",
    ):
        assert fault in said
    assert said.count("\n") == 6


def test_what_is_no_sample(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a sample"):
        read_scored(tmp_path)
    (sample / "scoring.csv").write_text("clip,what\n")
    with pytest.raises(AnnotationError, match="behaviour, start_frame, stop_frame not found in 'clip,what'"):
        read_scored(sample)
    key = sample / "key.csv"
    key.write_text(key.read_text().rsplit("\n", 2)[0] + "\n")
    with pytest.raises(InputError, match="expected 4 clips under clip,"):
        read_scored(sample)
