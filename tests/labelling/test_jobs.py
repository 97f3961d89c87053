"""Many videos: in processes, past broken ones, never twice, and nothing is left of a run that is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from tests.conftest import WriteVideo
from tests.engine.tiny import resealed
from tests.labelling.parts import lively
from toolkit.bundle import Bundle, load_bundle
from toolkit.cli import app
from toolkit.engine.build import build_engines
from toolkit.errors import InputError, ToolkitError
from toolkit.labelling import LabelOptions, Progress, VideoResult, label_videos, plan_outputs

FAST = LabelOptions(stride=5, engine="onnxruntime")


def run(source: Path, out: Path, bundle: Bundle, options: LabelOptions = FAST, **how: object) -> dict[str, VideoResult]:
    planned = plan_outputs([source], out, options)
    return {result.video.name: result for result in label_videos(planned, bundle, options, **how)}  # type: ignore[arg-type]


@pytest.fixture
def videos(write_video: WriteVideo, tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b", "c")):
        write_video(f"videos/{name}.mp4", lively(40, seed=seed))
    return tmp_path / "videos"


def test_processes_label_what_one_does(videos: Path, built: Bundle, tmp_path: Path) -> None:
    seen: list[Progress] = []
    results = run(videos, tmp_path / "two", built, jobs=2, on_progress=seen.append)
    run(videos, tmp_path / "one", built)
    assert {name for name, result in results.items() if result.summary} == {"a.mp4", "b.mp4", "c.mp4"}
    assert [(seen[-1].frames, seen[-1].total, seen[-1].ended, seen[-1].videos)] == [(120, 120, 3, 3)]
    assert seen[-1].realtime_factor > 0
    for name in ("a", "b", "c"):
        for ending in ("labels.csv", "bouts.csv"):
            one, two = (tmp_path / folder / f"{name}.{ending}" for folder in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()


def test_a_broken_video_does_not_stop_the_others(videos: Path, built: Bundle, tmp_path: Path) -> None:
    (videos / "b.mp4").write_bytes((videos / "b.mp4").read_bytes()[:700])
    (videos / "d.mkv").write_bytes(b"")
    results = run(videos, tmp_path / "out", built, jobs=2)
    assert {name for name, result in results.items() if result.summary} == {"a.mp4", "c.mp4"}
    assert "b.mp4" in str(results["b.mp4"].fault)
    assert "0 bytes" in str(results["d.mkv"].fault)
    command = ["label", str(videos), "--bundle", str(built.path), "--out", str(tmp_path / "out")]
    outcome = CliRunner().invoke(app, [*command, "--stride", "5", "--engine", "onnxruntime"])
    assert isinstance(outcome.exception, InputError)
    assert "2 of 4 videos could not be labelled" in str(outcome.exception)
    assert outcome.output.count("done before") == 2


def test_what_is_done_is_skipped_until_something_changes(videos: Path, built: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def labelled(bundle: Bundle = built, options: LabelOptions = FAST, **how: object) -> set[str]:
        return {name for name, result in run(videos, out, bundle, options, **how).items() if result.summary}

    assert labelled() == {"a.mp4", "b.mp4", "c.mp4"}
    assert labelled() == set()
    os.utime(videos / "a.mp4")
    assert labelled() == set(), "the same content at another time"
    shutil.copy(videos / "b.mp4", videos / "a.mp4")
    assert labelled() == {"a.mp4"}
    (out / "b.bouts.csv").write_text("cut off")
    assert labelled() == {"b.mp4"}
    (out / "c.labels.json").write_text("{")
    assert labelled() == {"c.mp4"}
    assert labelled(options=FAST.model_copy(update={"smooth_s": 1.0})) == {"a.mp4", "b.mp4", "c.mp4"}
    copy = load_bundle(Path(shutil.copytree(built.path, tmp_path / "other")))
    other = resealed(copy, lambda content: content.update(name="other"))
    build_engines(other, engine="onnxruntime")
    assert labelled() == {"a.mp4", "b.mp4", "c.mp4"}
    assert labelled(other) == {"a.mp4", "b.mp4", "c.mp4"}
    assert labelled(other, overwrite=True) == {"a.mp4", "b.mp4", "c.mp4"}


def test_labels_of_another_video_are_not_replaced(videos: Path, built: Bundle, tmp_path: Path) -> None:
    run(videos / "a.mp4", tmp_path / "out", built)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(videos / "b.mp4", tmp_path / "elsewhere" / "a.mp4")
    result = run(tmp_path / "elsewhere", tmp_path / "out", built)["a.mp4"]
    assert "would replace those of another video" in str(result.fault)
    assert run(tmp_path / "elsewhere", tmp_path / "out", built, overwrite=True)["a.mp4"].summary is not None


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bundle_that_cannot_run_here_ends_it_all(videos: Path, built: Bundle, tmp_path: Path, jobs: int) -> None:
    options = FAST.model_copy(update={"engine": "openvino"})
    with pytest.raises(ToolkitError, match=r"build-engine|OpenVINO"):
        run(videos, tmp_path / "out", built, options, jobs=jobs)


@pytest.fixture
def running(write_video: WriteVideo, built: Bundle, tmp_path: Path) -> Iterator[psutil.Popen]:
    """Start a command with two jobs, in a process group of its own, and wait until one writes."""
    shutil.copy(write_video("long/a.mp4", lively(1500)), tmp_path / "long" / "b.mp4")
    code = "from toolkit.cli import main; main()"
    command = ["label", str(tmp_path / "long"), "--bundle", str(built.path), "--out", str(tmp_path / "out")]
    process = psutil.Popen(
        [sys.executable, "-c", code, *command, "--jobs", "2", "--engine", "onnxruntime", "--overlay"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".*.part/*.overlay.mp4")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    process.stderr.close()


def ended(children: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(children, timeout=20)[1]


def test_ctrl_c_ends_all_jobs_and_leaves_nothing(running: psutil.Popen, tmp_path: Path) -> None:
    children = running.children(recursive=True)
    assert len(children) >= 2
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(timeout=20) != 0
    assert ended(children)
    assert list((tmp_path / "out").iterdir()) == []
    assert b"Traceback" not in running.stderr.read()


def test_a_job_that_is_killed_is_said_and_hangs_nothing(running: psutil.Popen) -> None:
    children = running.children(recursive=True)
    next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()
    assert running.wait(timeout=20) == 1
    assert ended(children)
    assert b"was killed, perhaps for want of memory" in running.stderr.read()


def test_a_kill_leaves_no_half_written_file_and_the_next_run_labels(
    running: psutil.Popen, built: Bundle, tmp_path: Path
) -> None:
    children = running.children(recursive=True)
    running.kill()
    assert ended(children)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left
    assert left <= {".a.labels.csv.part", ".b.labels.csv.part"}
    results = run(tmp_path / "long", tmp_path / "out", built, FAST.model_copy(update={"stride": 100}))
    assert all(result.summary for result in results.values())
    assert len(list((tmp_path / "out").iterdir())) == 6
