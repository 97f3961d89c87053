"""`toolkit cage status`: from the file that a daemon left, said to be stale where it is."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cage.parts import ScriptedCamera, config, parts
from toolkit.cage.daemon import run
from toolkit.cage.health import STATUS, Health
from toolkit.cage.status import cage_statuses
from toolkit.cli import app
from toolkit.errors import InputError


def written(folder: Path, name: str, age_s: float = 0.0, **changes: Any) -> Path:
    """Write a running daemon's status, as of so many seconds ago, and return its folder."""
    health = Health(name, state="running", behaviour="groom", frames_captured=900, frames_dropped=12)
    health.unobserved_s = {"overload": 4.2, "dark": 0.0}
    when = datetime.now(timezone.utc) - timedelta(seconds=age_s)
    (folder / name).mkdir(parents=True)
    values = health.status(folder) | {"updated_utc": when.isoformat()} | changes
    (folder / name / STATUS).write_text(json.dumps(values))
    return folder / name


def status(*paths: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["cage", "status", *map(str, paths)], env={"COLUMNS": "160"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_all_is_well(tmp_path: Path) -> None:
    written(tmp_path, "a1")
    code, text = status(tmp_path / "a1")
    assert code == 0
    (row,) = [line.split() for line in text.splitlines() if line.lstrip().startswith("a1")]
    assert row[:2] == ["a1", "running"]
    assert row[4:9] == ["groom", "900", "12", "overload", "4"]
    assert "dark" not in text


def test_what_is_not_observed_now_is_said(tmp_path: Path) -> None:
    written(tmp_path, "a1", behaviour=None, unobserved_now="obstructed")
    code, text = status(tmp_path / "a1")
    assert (code, "(obstructed)" in text) == (0, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"age_s": 95.0}, "a1: stale: the daemon said nothing for 95 s"),
        ({"state": "failed", "error": "camera x: [unplugged]"}, "a1: failed: camera x: [unplugged]"),
        ({"state": "stopped"}, "a1: stopped"),
        ({"state": "starting"}, "a1: starting"),
        ({"engine_fallen_back": True, "engine_fault": "lost"}, "a1: degraded: other engines took over after lost"),
        ({"overload_share": 0.4, "min_coverage": 0.9}, "a1: overloaded: 40% of the last minute was not observed"),
        ({"silent_s": 40.0}, "a1: no frame from the camera for 40 s"),
        ({"updated_utc": "yesterday"}, "cannot be read"),
        ({"state": "failed", "age_s": 9000.0, "error": "full"}, "a1: failed: full"),
    ],
)
def test_one_that_is_not_well_is_said_and_is_the_exit_code(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    written(tmp_path, "a1", **changes)
    written(tmp_path, "b1")
    code, text = status(tmp_path)
    assert code == 1
    assert words in text
    assert "b1:" not in text
    # What the mouse did when somebody last looked is not what it does.
    assert text.count("groom") == 1


def test_a_status_that_is_half_or_foreign(tmp_path: Path) -> None:
    for content in ("", "[1]", '{"cage": "a1"}', "\x00"):
        (tmp_path / "a1").mkdir(exist_ok=True)
        (tmp_path / "a1" / STATUS).write_text(content)
        code, text = status(tmp_path)
        assert (code, "cannot be read" in text) == (1, True)


def test_a_configuration_whose_daemon_never_ran(tmp_path: Path) -> None:
    path = tmp_path / "a1.toml"
    path.write_text('[cage]\nname = "a1"\nbundle = "b"\n[camera]\nvideo = "a.mp4"\n[log]\nfolder = "logs"\n')
    code, text = status(path)
    assert (code, "a1: never started" in text) == (1, True)
    written(tmp_path / "logs", "a1")
    assert status(path)[0] == 0


def test_a_folder_without_cages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cage's status here"):
        cage_statuses([tmp_path])


def test_what_a_daemon_leaves(tmp_path: Path) -> None:
    run(config(tmp_path), stop=threading.Event(), parts=parts(ScriptedCamera([(20, 0.0)])))
    (one,) = cage_statuses([tmp_path / "log"])
    assert (one.cage, one.values["rows"], one.ailments) == ("a1", 20, ("stopped",))
    assert one.age_s is not None
    assert one.age_s < 10
