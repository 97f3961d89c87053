"""CSV and DeepEthogram's table, read by pandas and by the annotations' own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from tests.conftest import WriteVideo
from tests.export.parts import DRINK, LABELS, REST, WALK, at, gapped_piece, labelled_video
from toolkit.annotations import load_annotation
from toolkit.export.from_labels import piece_of_labels
from toolkit.export.piece import seconds_text, utc_text
from toolkit.export.tables import write_bouts, write_deepethogram, write_unobserved


def test_bouts_and_gaps_say_when_to_the_nanosecond(tmp_path: Path) -> None:
    piece = gapped_piece(tmp_path)
    write_bouts(piece, tmp_path / "b.csv")
    write_unobserved(piece, tmp_path / "u.csv")
    bouts, gaps = (pandas.read_csv(tmp_path / name) for name in ("b.csv", "u.csv"))
    # Drink's first second is in the gap's second; its last one is seen. The second without a label is in no bout.
    assert bouts["behaviour"].tolist() == ["rest", "walk", "drink", "rest"]
    starts = pandas.to_datetime(bouts["start_utc"]).astype("datetime64[ns, UTC]").astype("int64")
    assert starts.tolist() == [at(0), at(60), at(150), at(210)]
    assert bouts["duration_s"].tolist() == pytest.approx([2, 1, 1, 3], abs=1e-6)
    assert bouts["rows"].tolist() == [60, 30, 30, 90]
    assert gaps["reason"].tolist() == ["camera-lost"]
    assert gaps["start_s"].tolist() == pytest.approx([3.0], abs=1e-6)
    assert gaps["duration_s"].tolist() == pytest.approx([2.0], abs=1e-6)


def test_times_are_decimal_and_not_rounded_by_floats() -> None:
    assert utc_text(1_763_900_000_123_456_789) == "2025-11-23T12:13:20.123456789Z"
    assert [seconds_text(ns, 3) for ns in (0, 499_999, 500_000, 86_399_999_999_999)] == [
        "0.000",
        "0.000",
        "0.001",
        "86400.000",
    ]


def test_deepethogram_has_minus_one_where_nothing_is_known(tmp_path: Path) -> None:
    write_deepethogram(gapped_piece(tmp_path), tmp_path / "x_labels.csv")
    # As DeepEthogram's documentation reads it: the index, then a column per behaviour, background first.
    table = pandas.read_csv(tmp_path / "x_labels.csv", index_col=0)
    assert table.columns[0] == "background"
    assert len(table) == len(LABELS)
    unknown = (table == -1).all(axis=1).to_numpy()
    expected = np.array(LABELS) < 0
    expected[90:150] = True
    assert unknown.tolist() == expected.tolist()
    seen = table[~unknown]
    assert (seen.sum(axis=1) == 1).all()
    assert (seen["background"] == 0).all()
    columns = {DRINK: "drink", REST: "rest", WALK: "walk"}
    assert seen.idxmax(axis=1).tolist() == [columns[label] for label in np.array(LABELS)[~expected]]


def test_labels_come_back_from_deepethograms_table(write_video: WriteVideo, tmp_path: Path) -> None:
    video, table = labelled_video(write_video, tmp_path / "out")
    write_deepethogram(piece_of_labels(table), video.with_name("cage_labels.csv"))
    dataset = load_annotation(video.with_name("cage_labels.csv"))
    found = [(i.behaviour, i.start_frame, i.stop_frame) for i in dataset.videos[0].intervals]
    assert found == [("rest", 0, 10), ("walk", 10, 20), ("rest", 20, 30)]


def test_a_recording_without_a_date_has_seconds_alone(write_video: WriteVideo, tmp_path: Path) -> None:
    _, table = labelled_video(write_video, tmp_path / "out")
    piece = piece_of_labels(table)
    assert not piece.dated
    write_bouts(piece, tmp_path / "b.csv")
    bouts = pandas.read_csv(tmp_path / "b.csv")
    assert bouts["start_utc"].isna().all()
    assert bouts["stop_s"].tolist() == pytest.approx([1 / 3, 2 / 3, 1.0], abs=1e-6)
    assert bouts["mean_probability"].isna().all()
