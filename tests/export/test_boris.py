"""BORIS: what it imports, read by another program; its table of events, read back.

BORIS 8.27.4's own import and its check for unpaired states took such a spreadsheet by hand (docs/exports.md).
"""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pandas
import pytest

from tests.conftest import WriteVideo
from tests.export.parts import gapped_piece, labelled_video
from toolkit.annotations import load_annotation
from toolkit.errors import InputError
from toolkit.ethogram import ethogram_from_names
from toolkit.export import boris, spreadsheet
from toolkit.export.from_labels import piece_of_labels


def states(rows: list[tuple[float, str, str]]) -> list[tuple[float, float, str, str]]:
    """Return (start, stop, code, comment) of events that begin and end a state in turn, as BORIS pairs them."""
    begun: dict[str, tuple[float, str]] = {}
    found = []
    for time, code, comment in rows:
        if code in begun:
            start, said = begun.pop(code)
            found.append((start, time, code, said))
        else:
            begun[code] = (time, comment)
    assert not begun
    return sorted(found)


def test_a_spreadsheet_has_boriss_columns_and_every_state_begins_and_ends(tmp_path: Path) -> None:
    boris.write_import(gapped_piece(tmp_path), tmp_path / "x.xlsx")
    table = pandas.read_excel(tmp_path / "x.xlsx", engine="openpyxl", keep_default_na=False)
    assert table.columns.tolist() == ["time", "subject", "code", "modifier", "comment"]
    rows = list(zip(table["time"].tolist(), table["code"].tolist(), table["comment"].tolist(), strict=True))
    assert [time for time, _, _ in rows] == sorted(time for time, _, _ in rows)
    assert states(rows) == [
        (0.0, 2.0, "rest", ""),
        (2.0, 3.0, "walk", ""),
        (3.0, 5.0, "unobserved", "camera-lost"),
        (5.0, 6.0, "drink", ""),
        (7.0, 10.0, "rest", ""),
    ]


def test_events_come_back_by_the_reader_of_annotations(write_video: WriteVideo, tmp_path: Path) -> None:
    video, table = labelled_video(write_video, tmp_path / "out")
    boris.write_tabular(piece_of_labels(table), video.with_name("events.csv"))
    dataset = load_annotation(video.with_name("events.csv"))
    found = [(i.behaviour, i.start_frame, i.stop_frame) for i in dataset.videos[0].intervals]
    assert found == [("rest", 0, 10), ("walk", 10, 20), ("rest", 20, 30)]


def test_a_log_is_a_live_observation(tmp_path: Path) -> None:
    boris.write_tabular(gapped_piece(tmp_path), tmp_path / "x.csv")
    table = pandas.read_csv(tmp_path / "x.csv")
    assert table.columns.tolist() == list(boris.TABULAR)
    assert table["Observation type"].unique().tolist() == ["Live observation"]
    assert table["Observation date"].unique().tolist() == ["2025-11-23 12:13:20"]
    assert table["Behavior type"].value_counts().to_dict() == {"START": 5, "STOP": 5}


def test_what_is_too_long_for_a_spreadsheet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boris, "MAX_ROWS", 10)
    with pytest.raises(InputError, match="10 events, and a spreadsheet has 10 rows"):
        boris.write_import(gapped_piece(tmp_path), tmp_path / "x.xlsx")


def test_a_behaviour_called_unobserved_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    names = ["unobserved", *(f"b{number}" for number in range(7))]
    piece = replace(gapped_piece(tmp_path), ethogram=ethogram_from_names(names))
    with pytest.raises(InputError, match="a behaviour is called 'unobserved'"):
        boris.write_import(piece, tmp_path / "x.xlsx")


def test_cells_keep_what_xml_would_not(tmp_path: Path) -> None:
    spreadsheet.write_sheet(tmp_path / "x.xlsx", "a & b", ["<x>", "y"], [["&amp;", 0.1], ["", 86400.001]])
    sheet = openpyxl.load_workbook(tmp_path / "x.xlsx").active
    assert sheet.title == "a & b"
    assert list(sheet.values) == [("<x>", "y"), ("&amp;", 0.1), (None, 86400.001)]
