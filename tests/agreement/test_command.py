"""What `toolkit agreement` prints and writes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import WriteVideo
from toolkit.agreement import read_renames
from toolkit.cli import app
from toolkit.errors import AnnotationError, ConfigError


@pytest.fixture
def tables(write_video: WriteVideo, tmp_path: Path) -> list[str]:
    write_video("m1.mp4", 100, fps=25)
    for name, stop in (("anna", 50), ("bob", 55)):
        rows = [f"m1.mp4,0,{stop},rest", f"m1.mp4,{stop},90,walk"]
        (tmp_path / f"{name}.csv").write_text("\n".join(["video,start_frame,stop_frame,behaviour", *rows]) + "\n")
    return [str(tmp_path / "anna.csv"), str(tmp_path / "bob.csv")]


def test_the_files_say_what_is_printed(tables: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["agreement", *tables, "--out", str(out), "--collar-ms", "200"])
    assert result.exit_code == 0, result.output
    # 5 of 90 frames differ. By chance (50 * 55 + 40 * 35) / 90^2: kappa is (85 / 90 - e) / (1 - e).
    expected = (50 * 55 + 40 * 35) / 90**2
    said = json.loads((out / "agreement.json").read_text())
    assert said["kappa"] == pytest.approx((85 / 90 - expected) / (1 - expected))
    assert f"same label: 94.4 %, Cohen's kappa {said['kappa']:.3f}" in result.output
    assert (said["compared"], said["neither"], said["collar"]["compared"]) == (90, 10, 75)
    walk = said["behaviours"]["walk"]
    assert walk["onset"] == {"pairs": 1, "mean_ms": 200.0, "median_ms": 200.0, "sd_ms": None}
    assert walk["seconds_difference"] == pytest.approx(-0.2)
    assert walk["points_difference"] == pytest.approx(-100 * 5 / 90)
    assert said["behaviours"]["drink"]["f1"] is None
    confusion = list(csv.reader((out / "confusion.csv").read_text().splitlines()))
    assert dict(zip(confusion[0], next(row for row in confusion if row[0] == "walk"), strict=True))["rest"] == "5"
    assert (out / "disagreements.csv").read_text().splitlines() == [
        "start_s,stop_s,length_s,start_frame,stop_frame,a,b",
        "2.000,2.200,0.200,50,55,walk,rest",
    ]


def test_overlaps_that_are_no_numbers_are_refused(tables: list[str]) -> None:
    result = CliRunner().invoke(app, ["agreement", *tables, "--overlaps", "half"])
    assert isinstance(result.exception, ConfigError)


def test_names_are_mapped_by_entries_and_by_files(tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    file.write_text("from,to\nrun,walk\nsniff,\n")
    assert read_renames([str(file), "sleep = rest"]) == {"run": "walk", "sniff": "", "sleep": "rest"}
    with pytest.raises(AnnotationError, match="'run' is mapped to 'walk' and to 'rest'"):
        read_renames([str(file), "run=rest"])
    with pytest.raises(AnnotationError, match="expected OLD=NEW or a CSV file"):
        read_renames([str(tmp_path / "absent.csv")])
    file.write_text("a,b,c\n")
    with pytest.raises(AnnotationError, match="header from,to"):
        read_renames([str(file)])
