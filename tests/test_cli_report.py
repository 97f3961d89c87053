from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.report.logs import write_log
from tests.report.test_from_labels import write_labels
from toolkit.cli import app
from toolkit.errors import ConfigError, InputError, ToolkitError


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs"), [0] * 45 + [6] * 45)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)
    return " ".join(result.output.split())


def test_prints_the_budget_and_where_the_files_are(log: Path, tmp_path: Path) -> None:
    printed = run(log, "--out", tmp_path / "report")
    assert "Time budget of cage cage-07" in printed
    assert "rest 1 1.5 s 1.50 – – 50.0" in printed
    assert f"report: {tmp_path / 'report' / 'report.html'}" in printed
    assert "read: cage-07_2025-11-23.sqlite" in printed


def test_options_reach_the_report(log: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "a.labels.csv", ["rest"] * 20)
    animals = tmp_path / "animals.csv"
    animals.write_text("cage,animal,strain\ncage-07,mouse 1,black\n")
    printed = run(
        *(log, labels, "--out", tmp_path / "report", "--partial", "--animals", animals, "--min-bout", "drink:2"),
        *("--timezone", "Europe/Berlin", "--lights-on", "07:00", "--lights-off", "19:00", "--bin", "10min"),
    )
    assert "warning: partial report: cage a is not in the table of animals" in printed
    assert "Time budget of cage mouse 1" in printed
    assert "drink 0" in printed
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Lights on 07:00, off 19:00 (Europe/Berlin, standard time all year)" in page
    assert "2.0 s (drink)" in page
    assert "2025-11-23 13:13:20 CET" in page


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (["--lights-on", "07:00", "--lights-off", "19:00"], ConfigError, "Give --timezone"),
        (["--from", "2026-03-01T07:00"], ConfigError, "which zone's is not known"),
        (["--from", "2026-03-01T07:00Z", "--to", "2026-03-01T06:00Z"], ConfigError, "is not after"),
        (["--bin", "5"], ConfigError, "--bin: expected a length"),
        (["--bin", "2d"], ConfigError, "--bin: expected a length"),
        (["--min-bout", "rest:long"], ConfigError, "--min-bout: expected seconds"),
        (["--min-bout", "sleep:1"], InputError, "min_bout_s names sleep"),
        (["--inactive", "sleep"], ConfigError, "--inactive: sleep is no behaviour"),
    ],
)
def test_a_bad_option_names_itself(
    log: Path, tmp_path: Path, options: list[str], error: type[ToolkitError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(log, "--out", tmp_path / "report", *options)
    assert list(tmp_path.iterdir()) == []
