"""Every row's picture is in the recording, to the frame: after a clean end, and after a kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from tests.cage.parts import config, parts
from tests.cage.recording.coded import CodedCamera, number_of
from tests.conftest import WriteVideo
from toolkit.behaviour_log import read_log
from toolkit.cage.check import check
from toolkit.cage.daemon import run
from toolkit.cage.health import STATUS, ailments
from toolkit.cage.metrics import metrics
from toolkit.cage.recording import RecordingTable, origin_of, picture_at, read_segment, segments
from toolkit.cage.unit import unit_files
from toolkit.cli import app
from toolkit.errors import ConfigError, InputError
from toolkit.frames import NS_PER_S

ROOT = Path(__file__).parents[3]


def recorded(folder: Path, frames: int, size: tuple[int, int] = (64, 48), **table: Any) -> dict[str, Any]:
    """Watch so many frames, and return what the daemon's status says of the recording."""
    recording = {"mode": "continuous", "folder": folder / "video", "min_free_gb": 0.0, **table}
    run(config(folder, recording=recording), stop=threading.Event(), parts=parts(CodedCamera(frames, size=size)))
    status = json.loads((folder / "log" / "a1" / STATUS).read_text())
    assert isinstance(status["recording"], dict)
    return status["recording"]


def test_every_row_has_its_picture(tmp_path: Path) -> None:
    state = recorded(tmp_path, 100, segment_s=1.0)
    log = read_log(tmp_path / "log")
    video = tmp_path / "video" / "a1"
    assert (len(log.time_ns), state["dropped"]) == (100, 0)
    for index, time_ns in zip(log.source_index.tolist(), log.time_ns.tolist(), strict=True):
        found = picture_at(video, time_ns)
        assert found is not None
        assert number_of(found.image) == index
        assert found.time_ns == time_ns // 1000 * 1000
    between = picture_at(video, int(log.time_ns[51]) - 5_000_000)
    assert between is not None
    assert number_of(between.image) == 50
    assert picture_at(video, int(log.time_ns[-1]) + 2 * NS_PER_S) is None
    assert picture_at(video, int(log.time_ns[0]) - NS_PER_S) is None
    files = [path for _, path in segments(video)]
    # A file each second, begun at a key frame.
    assert len(files) == 4
    for path in files:
        origin = origin_of(path)
        assert (origin.cage, origin.session) == ("a1", log.provenance[0].uuid)
    assert state["files"] == 4
    status = json.loads((tmp_path / "log" / "a1" / STATUS).read_text())
    families = text_string_to_metric_families(metrics(status, well=True, temperatures_c={}))
    samples = {sample.name: sample.value for family in families for sample in family.samples}
    assert samples["toolkit_cage_recording_frames_total"] == 100
    assert samples["toolkit_cage_recording_dropped_total"] == 0
    assert samples["toolkit_cage_recording_paused"] == 0
    assert state["frames"] == 100


def test_a_killed_daemon_leaves_what_it_logged(tmp_path: Path) -> None:
    """Every committed row but those of the newest moments has its picture, also after the next start."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cage.recording.run_recorded", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdout is not None
        for line in daemon.stdout:
            if int(line) > 120:
                break
        daemon.kill()
    before = read_log(tmp_path / "log")
    recorded(tmp_path, 40)
    video = tmp_path / "video" / "a1"
    log = read_log(tmp_path / "log")
    assert len(log.time_ns) == len(before.time_ns) + 40
    sure_ns = int(before.time_ns[-1]) - round(1.5 * NS_PER_S)
    sure = [time_ns for time_ns in before.time_ns.tolist() if time_ns < sure_ns]
    assert len(sure) > 60
    for index, time_ns in zip(log.source_index.tolist(), log.time_ns.tolist(), strict=True):
        if time_ns < sure_ns or time_ns > before.time_ns[-1]:
            found = picture_at(video, time_ns)
            assert found is not None
            assert number_of(found.image) == index


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_other_programs_play_what_a_kill_cut_short(tmp_path: Path) -> None:
    recorded(tmp_path, 100)
    ((_, path),) = segments(tmp_path / "video" / "a1")
    whole = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    for share in (0.45, 0.8, 0.97):
        cut.write_bytes(whole[: int(share * len(whole))])
        numbers = [number_of(image) for _, image in read_segment(cut)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 100 * share - 31
        subprocess.run(["ffmpeg", "-v", "fatal", "-i", cut, "-f", "null", "-"], check=True, timeout=60)
    cut.write_bytes(b"")
    assert list(read_segment(cut)) == []


def test_an_odd_size(tmp_path: Path) -> None:
    recorded(tmp_path, 20, size=(69, 51))
    ((_, path),) = segments(tmp_path / "video" / "a1")
    assert [image.shape for _, image in read_segment(path)] == [(52, 70, 3)] * 20


def test_a_full_disk_pauses_the_recording_and_not_the_log(tmp_path: Path) -> None:
    state = recorded(tmp_path, 40, min_free_gb=1e9)
    assert len(read_log(tmp_path / "log").time_ns) == 40
    assert "less than min_free_gb" in state["fault"]
    assert (state["frames"], state["paused_frames"]) == (0, 40)
    running = {"state": "running", "source_given_up": False, "silent_s": 0.0, "recording": state}
    running |= {"engine_fallen_back": False, "overload_share": 0.0, "min_coverage": 0.9}
    assert ailments(running, 0.0) == [f"recording paused: {state['fault']}"]


def test_only_bouts_of_the_named_behaviours(tmp_path: Path) -> None:
    """The test's network says rest all the time."""
    kept = recorded(tmp_path / "rest", 40, mode="bouts", behaviours=("rest",), least_s=0.1)
    assert kept["frames"] == 40
    assert recorded(tmp_path / "walk", 40, mode="bouts", behaviours=("walk",))["frames"] == 0
    with pytest.raises(ConfigError, match="names jump: the bundle has drink"):
        recorded(tmp_path / "jump", 5, mode="bouts", behaviours=("jump",))


def test_check_tells_the_encoder_and_the_room(tmp_path: Path, write_video: WriteVideo) -> None:
    camera = {"video": write_video("cage.mp4", 10)}

    def finding(**table: Any) -> tuple[bool, str]:
        recording = {"mode": "continuous", "folder": tmp_path / "video", **table}
        findings = check(config(tmp_path, camera=camera, recording=recording))
        (found,) = (one for one in findings if one.subject == "recording")
        return found.ok, found.text

    ok, text = finding(min_free_gb=0.0, encoder="libx264")
    assert ok
    assert text.startswith(f"continuous, by libx264, to {tmp_path / 'video' / 'a1'}: ")
    ok, text = finding(min_free_gb=1e9)
    assert not ok
    assert "Expected more than min_free_gb = 1e+09" in text
    ok, text = finding(encoder="h264_nvenc")
    if not ok:
        assert "no H.264 encoder works (h264_nvenc: " in text


def test_faults_of_the_table() -> None:
    for table, message in (
        ({"mode": "continuous"}, "folder is missing"),
        ({"mode": "bouts", "folder": "v"}, "behaviours is empty"),
        ({"mode": "sampled", "folder": "v", "sample_s": 9.0, "every_s": 9.0}, "sample_s is 9"),
    ):
        with pytest.raises(ValueError, match=message):
            RecordingTable.model_validate(table)


def test_the_sandbox_lets_it_write(tmp_path: Path) -> None:
    recording = {"mode": "continuous", "folder": tmp_path / "my video"}
    files = unit_files(
        config(tmp_path, recording=recording), tmp_path / "a1.toml", user="toolkit", folder=tmp_path, program=tmp_path
    )
    assert f'ReadWritePaths="{tmp_path}/my video/a1"\n' in files[-1].text


def test_the_picture_of_a_time_from_the_command_line(tmp_path: Path) -> None:
    recorded(tmp_path, 40)
    settings = tmp_path / "a1.toml"
    settings.write_text(
        '[cage]\nname = "a1"\nbundle = "b"\n[camera]\nvideo = "v.mp4"\n'
        '[log]\nfolder = "log"\n[recording]\nfolder = "video"\n'
    )
    time_ns = int(read_log(tmp_path / "log").time_ns[30])
    second = datetime.fromtimestamp(time_ns // NS_PER_S, timezone.utc)
    at = f"{second:%Y-%m-%dT%H:%M:%S}.{time_ns % NS_PER_S // 1000:06d}Z"
    png = tmp_path / "seen.png"
    result = CliRunner().invoke(app, ["cage", "picture", str(settings), "--at", at, "--png", str(png)])
    assert result.exit_code == 0, result.output
    assert at in result.output
    assert number_of(cv2.imread(str(png))) == 30
    with pytest.raises(InputError, match="nothing was recorded at 2001"):
        CliRunner().invoke(
            app,
            ["cage", "picture", str(settings), "--at", "2001-01-01T00:00:00", "--png", str(png)],
            catch_exceptions=False,
        )
