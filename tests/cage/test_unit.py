"""The units are what systemd takes, and say what they should; systemd-analyze is the judge."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toolkit.cage.config import CageConfig
from toolkit.cage.unit import TEMPLATE, TOGETHER, install_units, unit_files, unit_files_together
from toolkit.cli import app
from toolkit.errors import InputError

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def cage(folder: Path, name: str = "a1", **tables: dict[str, object]) -> CageConfig:
    values: dict[str, dict[str, object]] = {
        "cage": {"name": name, "bundle": folder / "my bundles" / "50%" / "bundle"},
        "camera": {"device": "/dev/v4l/by-id/usb-a1"},
        "log": {"folder": folder / "lo gs"},
    }
    return CageConfig.model_validate({**values, **tables})


def analyse(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # The colon keeps the system's own folders in the search.
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        ["systemd-analyze", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@needs_systemd
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    program = tmp_path / "a program" / "toolkit"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = tmp_path / "units"
    install_units(
        unit_files(cage(tmp_path), tmp_path / "a 1.toml", user="toolkit", folder=units, program=program),
        overwrite=False,
    )
    found = analyse(units, "verify", str(units / "toolkit-cage@a1.service"))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    security = analyse(units, "security", "--offline=true", "toolkit-cage@a1.service")
    exposure = re.search(r"Overall exposure level for toolkit-cage@a1.service: ([0-9.]+) OK", security.stdout)
    assert exposure is not None, security.stdout + security.stderr
    assert float(exposure[1]) < 3.0
    # The judge does find faults.
    (units / "toolkit-cage@a1.service.d" / "wrong.conf").write_text("[Service]\nProtectSystm=strict\nType=notifi\n")
    assert "ProtectSystm" in analyse(units, "verify", str(units / "toolkit-cage@a1.service")).stderr


@needs_systemd
def test_systemd_finds_no_fault_with_all_cages_in_one_service(tmp_path: Path) -> None:
    program = tmp_path / "toolkit"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = tmp_path / "units"
    cages = [cage(tmp_path, "a1"), cage(tmp_path, "a2", camera={"video": "a.mp4"})]
    install_units(
        unit_files_together(cages, tmp_path / "cages.toml", user="toolkit", folder=units, program=program),
        overwrite=False,
    )
    found = analyse(units, "verify", str(units / TOGETHER))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_one_service_opens_what_its_cages_need(tmp_path: Path) -> None:
    cages = [
        cage(tmp_path, "a1", camera={"video": "a.mp4"}, engine={"stale": "refuse"}),
        cage(tmp_path, "a2", recording={"mode": "continuous", "folder": tmp_path / "video"}),
        cage(tmp_path, "a3"),
    ]
    unit, drop_in = unit_files_together(cages, tmp_path / "cages.toml", user="lab", program=Path("/opt/toolkit"))
    lines = drop_in.text.splitlines()
    assert lines[0].endswith("cages a1, a2, a3.")
    assert [line for line in lines if line.startswith("ReadWritePaths")] == [
        *(f'ReadWritePaths="{tmp_path}/lo gs/{name}"' for name in ("a1", "a2", "a3")),
        f'ReadWritePaths="-{tmp_path}/my bundles/50%%"',
        f"ReadWritePaths={tmp_path}/video/a2",
    ]
    assert lines.count("DeviceAllow=char-video4linux rw") == 1
    service = configparser.RawConfigParser(strict=False)
    service.read_string(unit.text)
    assert service["Service"]["ExecStart"] == "/opt/toolkit cage run ${TOOLKIT_CAGE_CONFIG} --all"
    assert service["Service"]["TasksMax"] == str(3 * 512)
    assert "%i" not in unit.text


def test_paths_are_quoted_as_systemd_reads_them(tmp_path: Path) -> None:
    _, drop_in = unit_files(cage(tmp_path), tmp_path / "a 1.toml", user="toolkit", program=Path("/opt/toolkit"))
    assert drop_in.path == Path("/etc/systemd/system/toolkit-cage@a1.service.d/cage.conf")
    lines = drop_in.text.splitlines()
    assert f'Environment="TOOLKIT_CAGE_CONFIG={tmp_path}/a 1.toml"' in lines
    assert f'ReadWritePaths="{tmp_path}/lo gs/a1"' in lines
    assert f'ReadWritePaths="-{tmp_path}/my bundles/50%%"' in lines
    assert "DeviceAllow=char-video4linux rw" in lines


def test_a_cage_gets_no_more_than_it_needs(tmp_path: Path) -> None:
    config = cage(tmp_path, camera={"video": "a.mp4"}, engine={"stale": "refuse"})
    _, drop_in = unit_files(config, tmp_path / "a1.toml", user="toolkit", program=Path("/opt/toolkit"))
    assert "DeviceAllow" not in drop_in.text
    assert drop_in.text.count("ReadWritePaths") == 1


@pytest.mark.parametrize(
    ("camera", "opens"),
    [
        ({"pipeline": "v4l2src ! jpegdec"}, True),
        ({"csi": 0}, False),
        ({"rtsp": "rtsp://10.0.0.5/1"}, False),
        ({"segments": "rec"}, False),
    ],
)
def test_what_each_source_opens(tmp_path: Path, camera: dict[str, object], opens: bool) -> None:
    """A pipeline may read a V4L2 camera; CSI goes through nvargus-daemon, which has a unit of its own."""
    config = cage(tmp_path, camera=camera)
    _, drop_in = unit_files(config, tmp_path / "a1.toml", user="toolkit", program=Path("/opt/toolkit"))
    assert ("DeviceAllow=char-video4linux rw" in drop_in.text) is opens


def test_the_template_is_the_same_for_every_cage(tmp_path: Path) -> None:
    first, second = (
        unit_files(cage(tmp_path, name), tmp_path / f"{name}.toml", user="toolkit", program=Path("/opt/toolkit"))[0]
        for name in ("a1", "b-2")
    )
    assert first == second
    template = configparser.RawConfigParser(strict=False)
    template.read_string(first.text)
    service = template["Service"]
    assert service["ExecStart"] == "/opt/toolkit cage run ${TOOLKIT_CAGE_CONFIG} --cage %i"
    expected = {"Type": "notify", "WatchdogSec": "60", "Restart": "on-failure", "User": "toolkit"}
    assert {key: service[key] for key in expected} == expected
    # Denied, these would break the reading of the clock, CUDA's compiler and CSI's argus socket.
    assert "adjtimex" in service["SystemCallFilter"]
    for left_open in ("MemoryDenyWriteExecute", "PrivateTmp", "ProtectClock"):
        assert service[left_open] == "no"


@pytest.mark.parametrize("user", ["root", "a b", "x\nExecStartPre=/bin/sh", ""])
def test_a_user_that_cannot_be(tmp_path: Path, user: str) -> None:
    with pytest.raises(InputError, match="--user"):
        unit_files(cage(tmp_path), tmp_path / "a1.toml", user=user, program=Path("/opt/toolkit"))


def test_a_path_with_a_line_break_cannot_add_a_directive(tmp_path: Path) -> None:
    config = cage(tmp_path, log={"folder": "/x\nUser=root"})
    with pytest.raises(InputError, match="printable"):
        unit_files(config, tmp_path / "a1.toml", user="toolkit", program=Path("/opt/toolkit"))


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a1.toml"
    path.write_text('[cage]\nname = "a1"\nbundle = "b"\n[camera]\nvideo = "a.mp4"\n[log]\nfolder = "logs"\n')
    units = tmp_path / "units"
    command = ["cage", "install", str(path), "--unit-dir", str(units)]
    dry = CliRunner().invoke(app, [*command, "--dry-run"])
    assert dry.exit_code == 0
    assert "[Service]" in dry.output
    assert not units.exists()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert "systemctl enable --now toolkit-cage@a1" in done.output
    assert (units / TEMPLATE).read_text() in dry.output
    again = CliRunner().invoke(app, command)
    assert "is as it should be" in again.output
    (units / TEMPLATE).write_text("mine")
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, InputError)
    assert "--overwrite" in str(refused.exception)
    assert (units / TEMPLATE).read_text() == "mine"
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0
    assert "Type=notify" in (units / TEMPLATE).read_text()


def test_the_command_for_all_cages(tmp_path: Path) -> None:
    path = tmp_path / "cages.toml"
    path.write_text(
        '[defaults.cage]\nbundle = "b"\n[defaults.log]\nfolder = "logs"\n'
        '[cages.a1.camera]\nvideo = "a.mp4"\n[cages.a2.camera]\nvideo = "b.mp4"\n'
    )
    units = tmp_path / "units"
    done = CliRunner().invoke(app, ["cage", "install", str(path), "--all", "--unit-dir", str(units)])
    assert done.exit_code == 0, done.output
    assert sorted(file.name for file in units.rglob("*") if file.is_file()) == ["cages.conf", TOGETHER]
    assert "systemctl enable --now toolkit-cages\n" in done.output
    assert f"cp -r {units}/toolkit-cages.* /etc/systemd/system/" in " ".join(done.output.split())
