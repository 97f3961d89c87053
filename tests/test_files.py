"""Files appear whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from toolkit.errors import InputError
from toolkit.files import atomic_directory, atomic_write, sha256_of_file


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "old"


def test_a_file_being_written_keeps_its_suffix(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "new" / "picture.png") as beside:
        assert beside.suffix == ".png"
        beside.write_text("x")
    assert (tmp_path / "new" / "picture.png").read_text() == "x"


def test_a_failed_directory_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(path, overwrite=True) as beside:
        (beside / "a").write_text("half")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["bundle"]
    assert (path / "a").read_text() == "old"


def test_a_directory_is_replaced_whole_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    for content, overwrite in (("one", False), ("two", True)):
        with atomic_directory(path, overwrite=overwrite) as beside:
            (beside / content).mkdir()
            (beside / content / "file").write_text(content)
    assert [file.name for file in path.iterdir()] == ["two"]
    assert [file.name for file in tmp_path.iterdir()] == ["bundle"]
    with pytest.raises(InputError, match="already exists"), atomic_directory(path):
        pass


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 9000)
    assert sha256_of_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()
