"""Clips of a daemon's log from what it recorded: the very pictures of the rows, and nothing where none are."""

from __future__ import annotations

import csv
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cage.parts import config, parts
from tests.cage.recording.coded import CodedCamera, number_of
from tests.conftest import WriteVideo
from tests.report.logs import INTERVAL_NS, START_NS, session_of, write_log
from toolkit.behaviour_log import LogWriter, Quality, read_log
from toolkit.behaviour_log.schema import Level
from toolkit.cage.daemon import run
from toolkit.cage.recording import segments
from toolkit.errors import InputError, VideoError
from toolkit.frames import read_frames
from toolkit.sampling import DrawOptions, draw, open_source, read_scored, write_sample

REST = 6


@pytest.fixture(scope="module")
def cage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a cage that a daemon watched for five seconds, in files of a second, with one taken away."""
    folder = tmp_path_factory.mktemp("cage")
    recording = {"mode": "continuous", "folder": folder / "video", "min_free_gb": 0.0, "segment_s": 1.0}
    run(config(folder, recording=recording), stop=threading.Event(), parts=parts(CodedCamera(150)))
    files = [path for _, path in segments(folder / "video" / "a1")]
    assert len(files) >= 5
    files[2].unlink()
    return folder


def test_a_clip_is_the_pictures_of_its_rows(cage: Path, tmp_path: Path) -> None:
    sample = draw([open_source(cage / "log" / "a1")], DrawOptions(99, seconds=0.4))
    (seen,) = sample.seen
    assert seen.observed_s == pytest.approx(5, abs=0.1)
    assert seen.filmed_s == pytest.approx(4, abs=0.2)
    assert 6 <= len(sample.clips) <= 10
    folder = write_sample(tmp_path / "sample", sample)
    log = read_log(cage / "log")
    with (folder / "scoring.csv").open() as file:
        rows = list(csv.DictReader(file))
    for drawn, row, clip in zip(sample.clips, rows, read_scored(folder).clips, strict=True):
        numbers = [number_of(frame.image) for frame in read_frames(folder / "clips" / row["clip"])]
        assert numbers == list(range(int(row["source_start_frame"]), int(row["source_stop_frame"])))
        assert len(numbers) == 12
        at = np.flatnonzero(log.source_index == numbers[clip.centre])[0]
        assert drawn.span.centre_ns == log.time_ns[at]
        assert drawn.label == log.label[at] == REST
        assert drawn.confidence == pytest.approx(log.probabilities[at, REST] / 255)
        assert clip.at is not None
        assert int(clip.at.timestamp() * 1e6) == pytest.approx(log.time_ns[at] // 1000, abs=1)


def test_a_recording_that_is_removed_meanwhile(cage: Path, tmp_path: Path) -> None:
    copy = tmp_path / "video"
    shutil.copytree(cage / "video", copy)
    sample = draw([open_source(cage / "log", copy)], DrawOptions(99, seconds=0.4))
    for _, path in segments(copy / "a1")[1:]:
        path.unlink()
    with pytest.raises(VideoError, match="are not there any more"):
        write_sample(tmp_path / "sample", sample)
    assert not (tmp_path / "sample").exists()


def test_the_recordings_can_lie_elsewhere(cage: Path, tmp_path: Path) -> None:
    for footage in (cage / "video", cage / "video" / "a1"):
        assert open_source(cage / "log", footage).footage == cage / "video" / "a1"
    with pytest.raises(InputError, match="cage a1: its recordings or its video are not found at"):
        open_source(cage / "log", tmp_path)


def test_a_log_of_a_video(tmp_path: Path, write_video: WriteVideo) -> None:
    """Without recordings the video itself shows what was logged."""
    video = write_video("cage.mp4", 300)
    said = f'{{"camera": {{"video": "{video}"}}}}'
    log = write_log(tmp_path / "log", [6] * 100 + [-1] * 100 + [7] * 100, config=said)
    sample = draw([open_source(log)], DrawOptions(9, seconds=0.5))
    for clip in sample.clips:
        assert clip.label == (6, -1, 7)[clip.span.centre_frame // 100]
        assert clip.span.centre_ns == START_NS + clip.span.centre_frame * 33_333_333
    folder = write_sample(tmp_path / "sample", sample)
    assert {clip.machine for clip in read_scored(folder).clips} == {"rest", "", "walk"}
    for drawn, clip in zip(sample.clips, read_scored(folder).clips, strict=True):
        greys = [float(frame.image.mean()) for frame in read_frames(clip.path)]
        assert round((greys[clip.centre] - 10) / 3) == drawn.span.centre_frame % 80


def test_summaries_of_seconds_are_of_no_one_picture(tmp_path: Path, write_video: WriteVideo) -> None:
    video = write_video("cage.mp4", 300)
    session = replace(session_of(START_NS, config=f'{{"camera": {{"video": "{video}"}}}}'), level=Level.BOUTS)
    with LogWriter(tmp_path, "a1", session) as writer:
        for frame in range(300):
            writer.row(frame, frame * INTERVAL_NS, np.eye(8, dtype=np.float32)[REST], REST, Quality(0))
        writer.close("stopped")
    assert len(read_log(tmp_path / "a1").time_ns) >= 10
    with pytest.raises(InputError, match="no clip of 1 s can be drawn"):
        draw([open_source(tmp_path / "a1")], DrawOptions(5, seconds=1.0))


def test_a_log_whose_video_shows_something_else(tmp_path: Path, write_video: WriteVideo) -> None:
    video = write_video("cage.mp4", 30)
    log = write_log(tmp_path / "log", [6] * 60, config=f'{{"camera": {{"video": "{video}"}}}}')
    with pytest.raises(InputError, match=r"goes to frame 59, .*cage.mp4 has 30"):
        draw([open_source(log)], DrawOptions(2, seconds=0.2))
    log = write_log(tmp_path / "turned", [6] * 30, config=f'{{"camera": {{"video": "{video}", "rotate": 90}}}}')
    with pytest.raises(InputError, match="watches a part of"):
        open_source(log)
