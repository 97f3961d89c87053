"""`toolkit crossval-report`: from folders to pages, without torch; unfinished and damaged folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.stored import ETHOGRAM, noisy_folds, write_crossval
from toolkit.errors import InputError
from toolkit.ethogram import ethogram_from_names
from toolkit.train.config import TrainConfig
from toolkit.train.crossval_report import report_crossvals
from toolkit.train.scores import Evaluation
from toolkit.train.stored import load_crossval

GROUPS = ["a", "b", "c"]


@pytest.fixture
def crossval(tmp_path: Path) -> Path:
    return write_crossval(tmp_path / "cv", noisy_folds(GROUPS))


def test_the_command_needs_no_torch(crossval: Path, tmp_path: Path) -> None:
    code = "import sys\nfrom toolkit.cli import app\ntry:\n app()\nfinally:\n print('torch' in sys.modules)"
    arguments = ["crossval-report", str(crossval), "--out", str(tmp_path / "report")]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "False"
    assert "leave-one-video-out over 3 videos, 720 test frames" in result.stdout
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {
        *("report.md", "report.json", "confusion.png", "confusion_rgb.png", "confusion_flow.png", "bouts.png"),
        *("fusion_sweep.png", "fusion_sweep_behaviours.png", "reliability.png", "paired.png"),
    }


def test_the_report_is_the_evaluation_of_the_folds(crossval: Path, tmp_path: Path) -> None:
    written = report_crossvals([crossval], tmp_path / "report")
    read = Evaluation.model_validate_json((tmp_path / "report" / "report.json").read_text())
    assert written.evaluations == {"i3d": read}
    assert read == load_crossval(crossval).evaluation()
    assert read.behaviours == ETHOGRAM.names


def test_several_are_compared(tmp_path: Path) -> None:
    one = write_crossval(tmp_path / "one", noisy_folds(GROUPS, 1))
    other = write_crossval(tmp_path / "two", noisy_folds(GROUPS, 2), config=TrainConfig(architecture="r2plus1d-18"))
    written = report_crossvals([one, other], tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *("report.md", "report.json", "paired.png", "i3d", "r2plus1d-18")
    }
    text = written.page.read_text()
    for part in ("i3d/report.md", "i3d + r2plus1d-18 minus i3d", "96.3 %", "this cross-validation, r2plus1d-18"):
        assert part in text
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["comparisons"][0]["names"] == ["i3d", "r2plus1d-18"]
    assert set(content["evaluations"]) == {"i3d", "r2plus1d-18"}
    assert any("all networks fused" in line for line in written.lines())


def test_the_same_architecture_is_called_by_its_folder(tmp_path: Path) -> None:
    folders = [
        write_crossval(tmp_path / name, noisy_folds(GROUPS, seed)) for seed, name in enumerate(("paper", "modern"))
    ]
    assert list(report_crossvals(folders, tmp_path / "report").evaluations) == ["paper", "modern"]


def test_an_unfinished_one_is_reported_only_as_such(tmp_path: Path) -> None:
    folder = write_crossval(tmp_path / "cv", noisy_folds(GROUPS)[:1], groups=GROUPS)
    with pytest.raises(InputError, match=r"2 of 3 folds are missing \(b, c\)(.|\n)*--partial"):
        report_crossvals([folder], tmp_path / "report")
    assert not (tmp_path / "report").exists()
    written = report_crossvals([folder], tmp_path / "report", partial=True)
    assert "**Partial: 2 folds are missing (b, c).**" in written.page.read_text()
    assert "partial: 2 folds are missing (b, c)" in written.lines()


def test_folders_that_are_no_cross_validation(crossval: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"crossval\.json: cannot be read(.|\n)*toolkit crossval"):
        report_crossvals([tmp_path / "empty"], tmp_path / "report")
    with pytest.raises(InputError, match="same cross-validation twice"):
        report_crossvals([crossval, crossval], tmp_path / "report")
    key = json.loads((crossval / "crossval.json").read_text())
    (crossval / "crossval.json").write_text(json.dumps({**key, "config": {"epoch": 3}}))
    with pytest.raises(InputError, match=r"not of this toolkit(.|\n)*epoch: unknown key"):
        load_crossval(crossval)
    for text in ("{", "[]", '{"config": {}}'):
        (crossval / "crossval.json").write_text(text)
        with pytest.raises(InputError, match=r"crossval\.json: damaged"):
            load_crossval(crossval)


def test_damaged_and_different_splits(crossval: Path) -> None:
    split = crossval / "folds" / "02-b" / "rgb" / "split.json"
    content = json.loads(split.read_text())
    other = ethogram_from_names(["rest", "walk", "hang"])
    split.write_text(json.dumps({**content, "ethogram": other.model_dump(mode="json")}))
    with pytest.raises(InputError, match=r"different behaviours: rest, walk, rear; rest, walk, hang"):
        load_crossval(crossval)
    for text in ("{", "{}", json.dumps({**content, "training": [{"video": "a.mp4"}]})):
        split.write_text(text)
        with pytest.raises(InputError, match=r"split\.json: damaged"):
            load_crossval(crossval)
    for path in crossval.glob("folds/*/rgb/split.json"):
        path.unlink()
    with pytest.raises(InputError, match="no fold says what it was trained on"):
        load_crossval(crossval)


def test_an_earlier_report_is_replaced(crossval: Path, tmp_path: Path) -> None:
    for _ in range(2):
        report_crossvals([crossval], tmp_path / "report")
    assert not [path for path in (tmp_path / "report").iterdir() if path.name.startswith(".")]
