"""NWB: pynwb's validator finds nothing, and what it reads back are the bouts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import ndx_ethogram  # noqa: F401  (registers the extension with pynwb)
import pynwb
import pytest

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_NS, add_rows, session
from tests.conftest import WriteVideo
from tests.export.parts import gapped_piece, labelled_video
from toolkit.behaviour_log import LogWriter, read_log
from toolkit.errors import InputError
from toolkit.export.from_labels import piece_of_labels
from toolkit.export.from_logs import piece_of_log
from toolkit.export.nwb import write_nwb


def read(path: Path) -> dict[str, Any]:
    """Return what pynwb reads, as tables, after its validator has found nothing."""
    assert pynwb.validate(path=str(path)) == []
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        module = file.processing["behavior"]
        tables: dict[str, Any] = {name: module[name].to_dataframe() for name in module.data_interfaces}
        bouts = module.data_interfaces.get("bouts")
        if bouts is not None:
            tables["observed"] = bouts.observation_intervals.to_dataframe()
            tables["catalogue"] = bouts.ethogram.to_dataframe()
            tables["method"], tables["exclusive"] = bouts.labeling_method, bouts.ethogram.exclusive
        return tables | {"start": file.session_start_time, "subject": file.subject.subject_id}


def spans(table: Any) -> list[tuple[float, float]]:
    return list(zip(table["start_time"].round(6).tolist(), table["stop_time"].round(6).tolist(), strict=True))


def test_what_is_read_back_are_the_bouts(tmp_path: Path) -> None:
    piece = gapped_piece(tmp_path)
    write_nwb([piece], tmp_path / "x.nwb")
    found = read(tmp_path / "x.nwb")
    assert found["start"] == datetime(2025, 11, 23, 12, 13, 20, tzinfo=timezone.utc)
    assert found["subject"] == "cage-07"
    expected = [((b.start_ns - piece.start_ns) / 1e9, (b.stop_ns - piece.start_ns) / 1e9) for b in piece.bouts]
    assert spans(found["bouts"]) == [(round(a, 6), round(b, 6)) for a, b in expected]
    assert found["bouts"]["label"].tolist() == ["rest", "walk", "drink", "rest"]
    assert found["bouts"]["mean_probability"].tolist() == pytest.approx([1.0] * 4)
    assert spans(found["observed"]) == [(0.0, 3.0), (5.0, 10.0)]
    assert spans(found["unobserved_intervals"]) == [(3.0, 5.0)]
    assert found["unobserved_intervals"]["reason"].tolist() == ["camera-lost"]
    assert found["catalogue"]["behavior"].tolist() == list(piece.ethogram.names)
    assert (found["method"], found["exclusive"]) == ("automated", True)


def test_a_bout_over_midnight_is_one_and_a_missing_day_is_not_observed(tmp_path: Path) -> None:
    before = (DAY_NS // 2 - 3 * 10**9) // INTERVAL_NS
    with LogWriter(tmp_path, "a1", session()) as log:
        add_rows(log, [number * INTERVAL_NS for number in range(before, before + 600)], label=1)
        log.close("stopped")
    first, second = (piece_of_log(read_log(path)) for path in sorted((tmp_path / "a1").glob("*.sqlite")))
    assert [len(piece.bouts) for piece in (first, second)] == [1, 1]
    write_nwb([first, second], tmp_path / "x.nwb")
    found = read(tmp_path / "x.nwb")
    (bout,) = spans(found["bouts"])
    assert bout[1] - bout[0] == pytest.approx(6.0)
    assert len(found["observed"]) == 1
    assert found["start"].timestamp() == pytest.approx((NOON_NS + DAY_NS // 2) / 1e9 - 3, abs=1)
    later = replace(
        second,
        start_ns=second.start_ns + DAY_NS,
        stop_ns=second.stop_ns + DAY_NS,
        unobserved=(),
        bouts=tuple(
            replace(bout, start_ns=bout.start_ns + DAY_NS, stop_ns=bout.stop_ns + DAY_NS) for bout in second.bouts
        ),
    )
    write_nwb([first, later], tmp_path / "y.nwb")
    found = read(tmp_path / "y.nwb")
    assert len(found["bouts"]) == len(found["observed"]) == 2
    (hole,) = spans(found["unobserved_intervals"])
    assert hole[1] - hole[0] == pytest.approx(86_400)
    assert found["unobserved_intervals"]["reason"].tolist() == ["no-record"]


def test_a_recording_needs_a_date(write_video: WriteVideo, tmp_path: Path) -> None:
    _, table = labelled_video(write_video, tmp_path / "out")
    piece = piece_of_labels(table)
    with pytest.raises(InputError, match="nobody knows when this recording was made"):
        write_nwb([piece], tmp_path / "x.nwb")
    said = table.with_name("cage.labels.json")
    said.write_text(said.read_text().replace('"recorded_at": null', '"recorded_at": "2026-03-01T12:00:00+01:00"'))
    write_nwb([piece_of_labels(table)], tmp_path / "x.nwb")
    found = read(tmp_path / "x.nwb")
    assert found["start"] == datetime(2026, 3, 1, 11, tzinfo=timezone.utc)
    assert found["bouts"]["label"].tolist() == ["rest", "walk", "rest"]
