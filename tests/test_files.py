"""Files appear whole or not at all."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.errors import InputError
from toolkit.files import atomic_directory, atomic_write, sha256_of_file, sole_process


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


HOLD = """
import sys, time
from pathlib import Path
from toolkit.files import sole_process, sole_process
with sole_process(Path(sys.argv[1]), lambda *_: None):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_waited_for_and_freed_when_its_process_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        waited: list[str] = []

        def kill_the_other(holder: str, waited_s: float) -> None:
            assert waited_s < 30
            waited.append(holder)
            other.kill()

        with sole_process(lock, kill_the_other) as before:
            assert before == waited[0] == f"process {other.pid} on {socket.gethostname()}"
    with sole_process(lock, kill_the_other) as before:
        assert before is None
