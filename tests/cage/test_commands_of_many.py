"""The commands on a file of several cages, as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.cage.conftest import WriteCages
from toolkit.cage.unit import TEMPLATE
from toolkit.cli import app
from toolkit.errors import ConfigError, ToolkitError

ENGINE = '[defaults.engine]\nkind = "onnxruntime"\nthreads = 1\n'


def cage(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["cage", *arguments], env={"COLUMNS": "160"})


def test_init_writes_what_check_reads(tmp_path: Path) -> None:
    path = tmp_path / "cages.toml"
    pattern = str(tmp_path / "{cage}.mp4")
    where = ["--bundle", str(tmp_path / "absent"), "--log-dir", str(tmp_path / "logs"), "--video", pattern]
    assert cage("init", str(path), "--cages", "a1, a2", *where).exit_code == 0
    checked = cage("check", str(path))
    assert checked.exit_code == 1
    for name in ("a1", "a2"):
        assert f"{name} camera: {tmp_path / name}.mp4: no such video file" in checked.output
    one = cage("check", str(path), "--cage", "a2")
    assert one.exit_code == 1
    assert "fault  camera" in one.output
    assert "a1.mp4" not in one.output
    for names in (["--name", "a", "--cages", "a,b"], []):
        refused = cage("init", str(tmp_path / "other.toml"), *names, *where)
        assert isinstance(refused.exception, ConfigError)
        assert "either --name" in str(refused.exception)


def test_run_wants_to_know_which(write_cages: WriteCages) -> None:
    path = write_cages(["a1", "a2"], ENGINE)
    for arguments, words in (
        ([], "holds 2 cages: expected --all, or --cage a1"),
        (["--all", "--cage", "a1"], "found both"),
        (["--cage", "b7"], "has no cage b7"),
        (["--cage", "a1", "--cage", "a2"], "cannot share a process"),
    ):
        result = cage("run", str(path), *arguments)
        assert isinstance(result.exception, ConfigError), result.output
        assert words in str(result.exception)
    assert cage("run", str(path), "--cage", "a2").exit_code == 0
    assert [folder.name for folder in (path.parent / "logs").iterdir()] == ["a2"]


def test_several_in_one_process(write_cages: WriteCages) -> None:
    path = write_cages(["a1", "a2", "a3"], ENGINE + "batch_cages = true\n")
    result = cage("run", str(path), "--cage", "a1", "--cage", "a3")
    assert result.exit_code == 0
    assert "a1: 60 frames captured" in result.output
    assert "rgb: 120 clips in " in result.output
    assert sorted(folder.name for folder in (path.parent / "logs").iterdir()) == ["a1", "a3"]
    status = cage("status", str(path))
    assert status.exit_code == 1
    assert "a2: never started" in status.output
    (path.parent / "a3.mp4").write_bytes(b"")
    path.write_text(path.read_text() + "[cages.a3.cage]\nmin_confidence = 0.5\n")
    failed = cage("run", str(path), "--cage", "a3")
    assert isinstance(failed.exception, ToolkitError)


@pytest.mark.parametrize("names", [["a1"], ["a1", "b-2"]])
def test_install_writes_a_drop_in_for_each(write_cages: WriteCages, names: list[str]) -> None:
    path = write_cages(names, ENGINE)
    units = path.parent / "units"
    done = cage("install", str(path), "--unit-dir", str(units))
    assert done.exit_code == 0
    services = [f"toolkit-cage@{name}" for name in names]
    assert f"systemctl enable --now {' '.join(services)}" in done.output
    assert sorted(entry.name for entry in units.iterdir()) == sorted(
        [TEMPLATE, *(f"{one}.service.d" for one in services)]
    )
    for name, service in zip(names, services, strict=True):
        drop_in = (units / f"{service}.service.d" / "cage.conf").read_text()
        assert f"TOOLKIT_CAGE_CONFIG={path}" in drop_in
        assert f"ReadWritePaths={path.parent / 'logs' / name}" in drop_in
    assert "--cage %i" in (units / TEMPLATE).read_text()
