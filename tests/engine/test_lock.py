"""Two processes build once; a builder that is killed holds up nobody and leaves nothing half built."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO

import pytest

from tests.cage.parts import config
from tests.conftest import WriteVideo
from toolkit.bundle import Bundle
from toolkit.cage.daemon import run
from toolkit.engine.build import BuildProgress, build_engines
from toolkit.engine.lock import LOCK, build_lock
from toolkit.engine.select import open_backends
from toolkit.engine.sidecar import engines_folder
from toolkit.errors import EngineMismatch

SET = "onnxruntime-fp32"
COMMAND = "from toolkit.cli import main; main()"


@contextmanager
def process(arguments: Sequence[object]) -> Iterator[Popen[str]]:
    """Start Python in a process that ends with the test."""
    with Popen(
        [sys.executable, *map(str, arguments)],
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def builder(bundle: Bundle) -> list[object]:
    return ["-m", "tests.engine.build_on_command", bundle.path]


def said(stream: IO[str] | None) -> str:
    """Return the next line of a process, or fail after half a minute."""
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], 30)
    assert ready, "the process says nothing"
    return stream.readline().strip()


def wait_until_held(bundle: Bundle, pid: int, seconds: float = 30) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        if f"process {pid} on" in (engines_folder(bundle) / LOCK).read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the lock was not taken")


def test_two_processes_build_once(bundle: Bundle) -> None:
    with process(builder(bundle)) as first:
        assert said(first.stdout) == "building"
        with process(["-c", COMMAND, "build-engine", bundle.path, "--engine", "onnxruntime"]) as second:
            assert said(second.stderr) == f"waiting for process {first.pid} on {os.uname().nodename} ..."
            assert second.poll() is None
            assert not (engines_folder(bundle) / SET).exists()
            done, _ = first.communicate("go on\n", timeout=60)
            assert first.returncode == 0
            assert done.strip() == "ONNX Runtime was asked for"
            text, progress = second.communicate(timeout=60)
    assert second.returncode == 0
    assert f"process {first.pid} on" in text
    assert "built it meanwhile" in text
    # A line for each stage that it went through: it verified nothing, so it built nothing.
    assert "verify" not in progress
    assert set(open_backends(bundle, engine="onnxruntime")) == {"rgb", "flow"}


def test_waiting_says_for_whom_and_can_be_ended(bundle: Bundle) -> None:
    with process(builder(bundle)) as first:
        assert said(first.stdout) == "building"
        stages: list[BuildProgress] = []

        def tell(progress: BuildProgress) -> None:
            stages.append(progress)
            if len(stages) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_engines(bundle, engine="onnxruntime", on_progress=tell)
        first.communicate("go on\n", timeout=60)
    assert {stage.stage for stage in stages} == {f"waiting for process {first.pid} on {os.uname().nodename}"}
    assert stages[0].elapsed_s < stages[1].elapsed_s < stages[2].elapsed_s


def test_a_killed_builder_leaves_no_lock_and_no_partial_set(bundle: Bundle) -> None:
    with process(builder(bundle)) as first:
        assert said(first.stdout) == "building"
        wait_until_held(bundle, first.pid)
        assert len(list(engines_folder(bundle).iterdir())) == 2, "the lock and the set that is being made"
        first.kill()
        first.wait(timeout=30)
    stages: list[str] = []
    build_engines(bundle, engine="onnxruntime", on_progress=lambda progress: stages.append(progress.stage))
    assert stages == ["verify", "verify"]
    assert sorted(path.name for path in engines_folder(bundle).iterdir()) == [LOCK, SET]


def test_engines_of_before_a_killed_builder_are_not_taken_for_its_own(bundle: Bundle) -> None:
    build_engines(bundle, engine="onnxruntime")
    with process(builder(bundle)) as first:
        assert said(first.stdout) == "building"
        end = threading.Timer(0.5, first.kill)
        end.start()
        built = build_engines(bundle, engine="onnxruntime")
        end.join()
    assert built[0].reason == "ONNX Runtime was asked for"


def test_who_waited_takes_what_it_finds_and_who_did_not_builds(bundle: Bundle) -> None:
    with process(builder(bundle)) as first:
        assert said(first.stdout) == "building"
        assert first.stdin is not None
        answer = threading.Timer(0.5, lambda: (first.stdin.write("go on\n"), first.stdin.flush()))  # type: ignore[union-attr]
        answer.start()
        stages: list[str] = []
        built = build_engines(bundle, engine="onnxruntime", on_progress=lambda p: stages.append(p.stage))
        answer.join()
        first.wait(timeout=30)
    assert {stage.split(" ")[0] for stage in stages} == {"waiting"}
    assert built[0].reason.endswith("built it meanwhile")
    assert build_engines(bundle, engine="onnxruntime")[0].reason == "ONNX Runtime was asked for"


def test_the_lock_tells_who_held_it(tmp_path: Path) -> None:
    with build_lock(tmp_path / "new", lambda holder, elapsed_s: None) as before:
        assert before is None
        assert (tmp_path / "new" / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    assert (tmp_path / "new" / LOCK).read_text() == ""


def cage_file(folder: Path, bundle: Bundle, video: Path, stale: str) -> Path:
    path = folder / "cage.toml"
    path.write_text(
        f'[cage]\nname = "a1"\nbundle = "{bundle.path}"\n[camera]\nvideo = "{video}"\npace = "fast"\n'
        f'[log]\nfolder = "{folder / "log"}"\n[engine]\nkind = "onnxruntime"\nflow = "opencv"\nstale = "{stale}"\n'
    )
    return path


def toolkit(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False
    )


def test_a_cage_refuses_stale_engines_if_it_is_told_to(bundle: Bundle, tmp_path: Path, write_video: WriteVideo) -> None:
    refused = toolkit("cage", "run", cage_file(tmp_path, bundle, write_video("mouse.mp4", 12), "refuse"))
    assert refused.returncode == 1
    assert refused.stderr.count("error:") == 1
    assert "rebuilding is off. Run: toolkit build-engine" in refused.stderr
    assert "flow: none was built for onnxruntime fp32 on this machine" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "log").exists()
    assert not engines_folder(bundle).exists()


def test_a_cage_rebuilds_stale_engines_with_the_reason(bundle: Bundle, tmp_path: Path, write_video: WriteVideo) -> None:
    path = cage_file(tmp_path, bundle, write_video("mouse.mp4", 12), "rebuild")
    build_engines(bundle, engine="onnxruntime")
    sidecar = engines_folder(bundle) / SET / "rgb.json"
    version = open_backends(bundle, engine="onnxruntime")["rgb"].identity.split("-")[1].split("/")[0]
    sidecar.write_text(sidecar.read_text().replace(f'"runtime_version": "{version}"', '"runtime_version": "1.0"'))
    rebuilt = toolkit("cage", "run", path)
    assert rebuilt.returncode == 0, rebuilt.stderr
    reason = f"building the engines of tiny: rgb: runtime version: made for 1.0, found here {version}"
    assert [line for line in rebuilt.stderr.splitlines() if "building" in line] == [
        f'cage=a1 event=warning text="{reason}"'
    ]
    assert "verify: 1 of 1" in rebuilt.stderr
    assert set(open_backends(bundle, engine="onnxruntime")) == {"rgb", "flow"}
    again = toolkit("cage", "run", path)
    assert again.returncode == 0, again.stderr
    assert "building" not in again.stderr


def test_two_daemons_that_start_together_build_once(bundle: Bundle, tmp_path: Path, write_video: WriteVideo) -> None:
    video = write_video("mouse.mp4", 12)
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.append(cage_file(tmp_path / name, bundle, video, "rebuild"))
    with (
        process(["-c", COMMAND, "cage", "run", files[0]]) as one,
        process(["-c", COMMAND, "cage", "run", files[1]]) as two,
    ):
        told = [daemon.communicate(timeout=100)[1] for daemon in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), told
    assert sum(text.count("verify: 1 of 1") for text in told) == 1


def test_a_stop_during_a_build_ends_it(bundle: Bundle, tmp_path: Path, write_video: WriteVideo) -> None:
    stop = threading.Event()
    stop.set()
    settings = config(
        tmp_path,
        cage={"bundle": bundle.path},
        camera={"video": write_video("mouse.mp4", 12)},
        engine={"kind": "onnxruntime", "flow": "opencv"},
    )
    with pytest.raises(Exception, match="stopped while engines were being built"):
        run(settings, stop=stop)
    assert [path.name for path in engines_folder(bundle).iterdir()] == [LOCK]


def test_a_refusal_is_a_mismatch(bundle: Bundle, tmp_path: Path, write_video: WriteVideo) -> None:
    settings = config(
        tmp_path,
        cage={"bundle": bundle.path},
        camera={"video": write_video("mouse.mp4", 12)},
        engine={"kind": "onnxruntime", "flow": "opencv", "stale": "refuse"},
    )
    with pytest.raises(EngineMismatch, match="rgb: none was built"):
        run(settings, stop=threading.Event())
