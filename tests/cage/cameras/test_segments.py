"""Recorded files become one log, dated by their names, once."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from tests.cage.cameras.test_gstreamer import some
from tests.cage.parts import config, parts
from tests.cage.test_daemon import assert_covered_once
from tests.conftest import WriteVideo, numbered_frames
from toolkit.behaviour_log import BehaviourLog, Reason, read_log
from toolkit.cage.camera_table import CameraTable
from toolkit.cage.cameras import SegmentsCamera, open_camera
from toolkit.cage.daemon import run
from toolkit.cage.summary import Summary
from toolkit.errors import VideoError
from toolkit.frames import NS_PER_S

TEN = int(datetime(2027, 1, 15, 10, tzinfo=timezone.utc).timestamp()) * NS_PER_S
"""10:00:00 UTC."""

THIRTIETH = NS_PER_S / 30


def times_s(place: Path) -> list[float]:
    """Return when each frame is, in seconds after 10:00:00 UTC."""
    camera = SegmentsCamera(place)
    assert camera.info.begin_utc_ns is not None
    begin_ns = camera.info.begin_utc_ns - TEN
    return [(begin_ns + frame.capture_time_ns) / NS_PER_S for frame in camera.frames(threading.Event())]


def test_names_tell_the_time(tmp_path: Path, write_video: WriteVideo) -> None:
    """Written in another order than they were recorded in; the second one has a fraction and dashes."""
    write_video("rec/b_2027-01-15T10-00-07.25Z_x.mp4", 3)
    write_video("rec/z_20270115T100000Z.mp4", 3)
    (tmp_path / "rec" / "notes.txt").write_text("not a video")
    expected = [0, 1 / 30, 2 / 30, 7.25, 7.25 + 1 / 30, 7.25 + 2 / 30]
    for place in (tmp_path / "rec", tmp_path / "rec" / "*.mp4", tmp_path / "*" / "*Z*.mp4"):
        assert times_s(place) == pytest.approx(expected, abs=1e-6)
    assert times_s(tmp_path / "rec" / "b_2027-01-15T10-00-07.25Z_x.mp4") == pytest.approx(expected[3:], abs=1e-6)
    info = SegmentsCamera(tmp_path / "rec").info
    assert (info.frames, info.live, info.recovers, info.begin_utc_ns) == (6, False, False, TEN)
    (first, *_) = some(open_camera(CameraTable(segments=tmp_path / "rec")), 1)
    assert first.image[0, 0].tolist() == pytest.approx(numbered_frames(1)[0, 0, 0].tolist(), abs=2)


@pytest.mark.parametrize(
    ("first", "second", "starts_at_s"),
    [
        ("00", "01", 1.0),
        ("00", "02", 1.0),
        ("00", "03", 3.0),
        ("00", "01.9", 1.0),
        ("00.0", "01.9", 1.9),
        ("00.0", "01.05", 1.0),
        ("00.0", "00.3", 1.0),
    ],
)
def test_where_a_file_goes_on(
    tmp_path: Path, write_video: WriteVideo, first: str, second: str, starts_at_s: float
) -> None:
    """The first file ends at 10:00:01; how far off that a second one may begin depends on its name's precision."""
    write_video(f"rec/2027-01-15T10-00-{first}Z.mp4", 30)
    write_video(f"rec/2027-01-15T10-00-{second}Z.mp4", 2)
    assert times_s(tmp_path / "rec")[29:] == pytest.approx([29 / 30, starts_at_s, starts_at_s + 1 / 30], abs=1e-6)


def test_files_that_lie_over_each_other(tmp_path: Path, write_video: WriteVideo) -> None:
    """The second file repeats 1.5 s of the first, the third one all of itself: each moment is shown once."""
    write_video("rec/2027-01-15T10-00-00Z.mp4", 60)
    write_video("rec/2027-01-15T10-00-00.5Z.mp4", 60)
    write_video("rec/2027-01-15T10-00-00.6Z.mp4", 10)
    assert times_s(tmp_path / "rec") == pytest.approx([index / 30 for index in range(75)], abs=1e-6)


def test_every_fault_is_said(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video("rec/20270115T100000Z.mp4", 3)
    write_video("rec/20270115T100001Z.mp4", 3, size=(128, 48))
    write_video("rec/20270115T100002Z.mp4", 3, fps=25)
    write_video("rec/nameless.mp4", 3)
    write_video("rec/20271315T100001Z.mp4", 3)
    (tmp_path / "rec" / "20270115T100009Z.mkv").write_bytes(b"")
    with pytest.raises(VideoError) as caught:
        SegmentsCamera(tmp_path / "rec")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'rec'} cannot be used:")
    assert "100001Z.mp4: 128 x 48 px at 30.000 frames per second, where 20270115T100000Z.mp4 has 64 x 48" in text
    assert "100002Z.mp4: 64 x 48 px at 25.000 frames per second" in text
    assert "nameless.mp4: its name does not say when it begins" in text
    assert "found none" in text
    assert "found 20271315T100001Z" in text
    assert "100009Z.mkv: the file is empty" in text
    assert text.count("\n") == 5
    with pytest.raises(VideoError, match="no recorded video"):
        SegmentsCamera(tmp_path / "nowhere" / "*.mp4")


def back_filled(folder: Path) -> tuple[Summary, BehaviourLog]:
    settings = config(folder, camera={"video": None, "segments": folder / "rec"})
    summary = run(settings, stop=threading.Event(), parts=parts(open_camera(settings.camera)))
    log = read_log(folder / "log" / "a1")
    assert_covered_once(log)
    return summary, log


def test_rows_are_dated_by_the_recording(tmp_path: Path, write_video: WriteVideo) -> None:
    """Two seconds from 10:00:00, eight seconds without a file, a second from 10:00:10, in a log of that day."""
    write_video("rec/20270115T100000Z.mp4", 30)
    write_video("rec/20270115T100001Z.mp4", 30)
    write_video("rec/20270115T100010Z.mp4", 30)
    summary, log = back_filled(tmp_path)
    expected = [index * THIRTIETH for index in range(60)] + [10 * NS_PER_S + index * THIRTIETH for index in range(30)]
    assert np.abs(log.time_ns - TEN - expected).max() < 1000
    (gap,) = log.unobserved
    assert gap.reason is Reason.CAMERA_LOST
    assert (gap.start_ns - TEN, gap.stop_ns - TEN) == (pytest.approx(2 * NS_PER_S, abs=1000), 10 * NS_PER_S)
    assert [path.name for path in sorted((tmp_path / "log" / "a1").glob("*.sqlite"))] == ["a1_2027-01-15.sqlite"]
    assert (summary.rows, summary.latency_p50_s) == (90, None)


def test_what_is_logged_already_is_not_logged_again(tmp_path: Path, write_video: WriteVideo) -> None:
    """A second run adds nothing, and a third only the file that came since, though it is within an hour."""
    write_video("rec/20270115T100000Z.mp4", 30)
    _, first = back_filled(tmp_path)
    again, second = back_filled(tmp_path)
    assert (again.rows, again.rows_refused) == (0, 30)
    assert "30 rows lie before the log's end and were not written again" in again.lines()
    assert second.time_ns.tolist() == first.time_ns.tolist()
    write_video("rec/20270115T100100Z.mp4", 30)
    more, third = back_filled(tmp_path)
    assert (more.rows, more.rows_refused) == (30, 30)
    assert third.time_ns[:30].tolist() == first.time_ns.tolist()
    assert third.time_ns[30] == TEN + 60 * NS_PER_S


def test_days_and_clocks(tmp_path: Path, write_video: WriteVideo, caplog: pytest.LogCaptureFixture) -> None:
    """Over midnight into the next day's file; the system's clock, months away, is no step of this log's."""
    write_video("rec/20270115T235959Z.mp4", 60)
    with caplog.at_level("INFO", logger="toolkit.cage"):
        _, log = back_filled(tmp_path)
    assert len(log.time_ns) == 60
    names = sorted(path.name for path in (tmp_path / "log" / "a1").glob("*.sqlite"))
    assert names == ["a1_2027-01-15.sqlite", "a1_2027-01-16.sqlite"]
    assert not any("clock-stepped" in message for message in caplog.messages)
    assert any('dated_by="the files\' names"' in message for message in caplog.messages)
