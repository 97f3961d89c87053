"""`toolkit annotations check` and `convert`, as a user types them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import WriteVideo
from tests.test_cli import toolkit
from toolkit.annotations import load_dataset
from toolkit.cli import app
from toolkit.errors import InputError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["annotations", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def project(write_video: WriteVideo, tmp_path: Path) -> Path:
    """Return DeepEthogram labels of 40 frames at 20 frames per second: 10 rest, 10 none, 10 groom, 10 rest."""
    write_video("data/m1.mp4", 40, fps=20)
    write_video("data/m2.mp4", 40, fps=20)
    rows = ["0,1,0"] * 10 + ["1,0,0"] * 10 + ["0,0,1"] * 10 + ["0,1,0"] * 10
    table = [",background,rest,groom", *(f"{index},{row}" for index, row in enumerate(rows))]
    (tmp_path / "data" / "m1_labels.csv").write_text("\n".join(table))
    return tmp_path / "data"


def test_check_says_what_there_is(project: Path) -> None:
    lines = [line.split() for line in run("check", project).splitlines()]
    assert lines[0] == ["video", "group", "frames", "fps", "labelled", "bouts"]
    assert lines[1] == ["m1.mp4", "m1", "40", "20.000", "1.5", "s", "groom", "1,", "rest", "2"]
    said = [" ".join(line) for line in lines[2:]]
    assert said == [
        "total: videos 1, groups 1, labelled 1.5 s of 2.0 s",
        "groom: 0.5 s (33.3 %), bouts 1",
        "rest: 1.0 s (66.7 %), bouts 2",
        "skipped: m2.mp4: no m2_labels.csv beside it",
    ]


def test_check_shows_every_number_whatever_the_terminal_s_width(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert "20.000  1.5 s     groom 1, rest 2" in run("check", project)


def test_check_fails_with_every_fault_and_no_traceback(project: Path) -> None:
    (project / "m2_labels.csv").write_text(",background,rest\n0,0,1\n")
    (project / "m3_labels.csv").write_text(",background,rest\n0,0,1\n")
    result = toolkit("annotations", "check", str(project))
    assert result.returncode == 1
    assert "m2_labels.csv: 1 rows for 40 frames" in result.stderr
    assert "m3_labels.csv: expected one video m3" in result.stderr
    assert "Traceback" not in result.stderr


def test_convert_writes_what_is_read_again(project: Path) -> None:
    before = load_dataset(project)
    table = project / "annotations.csv"
    assert "3 intervals of 1 videos" in run("convert", project, "--out", table)
    with table.open() as file:
        assert list(csv.reader(file)) == [
            ["video", "start_frame", "stop_frame", "behaviour"],
            ["m1.mp4", "0", "10", "rest"],
            ["m1.mp4", "20", "30", "groom"],
            ["m1.mp4", "30", "40", "rest"],
        ]
    after = load_dataset(project)
    assert after.videos == before.videos
    assert "annotations.csv" in {path.name for path in project.iterdir()}
    assert not [path for path in project.iterdir() if path.name.startswith(".")]


def test_convert_does_not_overwrite_unasked(project: Path) -> None:
    table = project / "annotations.csv"
    run("convert", project, "--out", table)
    with pytest.raises(InputError, match="--overwrite"):
        run("convert", project, "--out", table)
    run("convert", project, "--out", table, "--overwrite")


def test_a_table_elsewhere_still_finds_its_videos(project: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    run("convert", project, "--out", tmp_path / "tables" / "annotations.csv")
    (video,) = load_dataset(tmp_path / "tables", group_pattern="data/(m[0-9])").videos
    assert video.path.resolve() == project / "m1.mp4"
    assert video.group == "m1"


def test_convert_says_how_to_read_other_names_and_that_groups_are_lost(write_video: WriteVideo, tmp_path: Path) -> None:
    write_video("clips/video1_dig_1.mp4", 20)
    write_video("clips/video1_dig_2.mp4", 20)
    said = run("convert", tmp_path / "clips", "--out", tmp_path / "clips" / "annotations.csv")
    assert "read it with: --behaviours dig" in said
    result = toolkit(
        "annotations", "convert", str(tmp_path / "clips"), "--out", "t.csv", "--behaviours", "dig", cwd=tmp_path
    )
    assert "read it with: --behaviours dig" in result.stdout
