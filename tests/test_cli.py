"""The command line: every command explains itself, and a user's mistake is one message and a non-zero exit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tests.conftest import WriteVideo
from toolkit.cli import app
from toolkit.doctor import Finding


def commands() -> dict[str, click.Command]:
    """Return every command by its full name, as ``cage run``."""
    root = typer.main.get_command(app)
    found: dict[str, click.Command] = {}

    def walk(command: click.Command, name: str) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            found[name] = command
            return
        for child, below in children.items():
            walk(below, f"{name} {child}".strip())

    walk(root, "")
    return found


def toolkit(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = "from toolkit.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=100, cwd=cwd, check=False
    )


def test_the_commands_are_those_that_users_were_promised() -> None:
    assert set(commands()) == {
        *(
            "synth",
            "train",
            "crossval",
            "crossval-report",
            "export",
            "build-engine",
            "label",
            "sample",
            "agreement",
            "report",
            "doctor",
            "bench",
            "verify-device",
            "logs export",
            "logs tables",
        ),
        *("cage init", "cage check", "cage run", "cage status", "cage picture", "cage install"),
        "engine diagnose",
        *("flow show", "flow extract"),
        *("annotations check", "annotations convert"),
        *("weights list", "weights get", "weights inspect"),
    }


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_shows_an_example_of_the_command(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: toolkit {name}" in " ".join(result.output.split())


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("toolkit ")
    found = dict(line.split(" ", 1) for line in map(str.strip, result.output.splitlines()))
    assert found["numpy"] == np.__version__
    assert cv2.__version__ in found["opencv-contrib-python-headless"]


def test_the_doctor_s_advice_is_printed_as_it_has_to_be_typed() -> None:
    """Square brackets are markup to the printer, and a name of an extra to pip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.doctor.examine", lambda: [Finding("x", "absent", "[a]", "pip install 'toolkit[train]'")])
        result = CliRunner().invoke(app, ["doctor"])
    assert "x: [a]" in result.output
    assert "pip install 'toolkit[train]'" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("label", "absent.mp4", "--bundle", "absent"), "absent: not a bundle"),
        (("build-engine", "absent"), "not a bundle"),
        (("agreement", "absent.csv", "absent.csv"), "absent.csv: no such file"),
        (("train", "absent", "--out", "run"), "no such folder"),
        (("export", "absent", "--out", "bundle"), "absent"),
        (("cage", "run", "absent.toml"), "absent.toml"),
        (("cage", "check", "absent.toml"), "absent.toml"),
        (("report", "absent", "--out", "report"), "absent"),
        (("synth", "data", "--videos", "0"), "video"),
        (("synth", "data", "--duration", "1"), "20"),
    ],
)
def test_a_mistake_is_one_message_without_a_traceback(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = toolkit(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--working-size", "160"], "--working-size: expected 2 whole numbers, found '160'"),
        (["--roi", "1,2,3"], "--roi: expected 4 whole numbers"),
        (["--stream", "audio"], "--stream: expected rgb, flow, both; found 'audio'"),
        (["--architecture", "resnet"], "architecture must be one of i3d"),
        (["--flow-parameters", "slow"], "flow: "),
        (["--fps", "-1"], "geometry.fps: "),
    ],
)
def test_a_bad_option_names_itself(tmp_path: Path, write_video: WriteVideo, options: list[str], words: str) -> None:
    write_video("walk/video1_1.mp4", 20)
    result = toolkit("train", str(tmp_path), "--out", str(tmp_path / "run"), *options)
    assert result.returncode == 1
    assert words in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_misspelt_training_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text("epocs = 3\n")
    result = toolkit("train", str(tmp_path), "--out", "run", "--config", "train.toml", cwd=tmp_path)
    assert result.returncode == 1
    assert "epocs: unknown key" in result.stderr


def test_a_data_set_with_one_video_cannot_be_cross_validated(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video("data/cage.mp4", 40)
    (tmp_path / "data" / "annotations.csv").write_text(
        "video,start_frame,stop_frame,behaviour\ncage.mp4,0,20,walk\ncage.mp4,20,40,rest\n"
    )
    result = toolkit("crossval", "data", "--out", "cv", "--working-size", "64x48", cwd=tmp_path)
    assert result.returncode == 1
    assert "error: " in result.stderr
    assert not (tmp_path / "cv").exists()
