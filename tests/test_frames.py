"""Reading videos: every frame once, in order, dated by the container; what cannot be dated is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import WriteVideo, numbered_frames
from toolkit.errors import VideoError
from toolkit.frames import NS_PER_S, FrameRateGate, count_frames, is_consecutive, probe, read_frames


def test_every_frame_comes_once_in_order_with_its_time(write_video: WriteVideo) -> None:
    path = write_video("cage.mp4", 90)
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == list(range(90))
    means = np.array([frame.image.mean() for frame in frames])
    assert np.abs(means - numbered_frames(90).mean(axis=(1, 2, 3))).max() < 1.5
    expected_ns = np.arange(90) * NS_PER_S / 30
    assert np.abs(np.array([frame.capture_time_ns for frame in frames]) - expected_ns).max() < 1e5


def test_probe_reads_the_header(write_video: WriteVideo) -> None:
    info = probe(write_video("cage.mp4", 12, fps=25))
    assert (info.width, info.height, info.fps, info.frames, info.codec) == (64, 48, 25, 12, "h264")


def test_images_are_rgb(write_video: WriteVideo) -> None:
    red = np.zeros((20, 48, 64, 3), dtype=np.uint8)
    red[..., 0] = 200
    image = next(read_frames(write_video("red.mp4", red))).image
    assert image.dtype == np.uint8
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - [200, 0, 0]).max() <= 6


def test_frames_are_counted_without_a_header_that_says(real_footage: Path) -> None:
    assert probe(real_footage / "homecage" / "video5_groom_163.mpg").frames is None
    assert count_frames(real_footage / "homecage" / "video5_groom_163.mpg") == 94


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(5000)])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        list(read_frames(path))


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such video file"):
        probe(tmp_path / "absent.mp4")


def test_a_truncated_video_is_refused_at_its_end(write_video: WriteVideo, tmp_path: Path) -> None:
    # Noise does not compress, so a cut lands among the pictures; fast start keeps the header in front of it.
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    whole = write_video("whole.mp4", noise, options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    frames = read_frames(cut)
    with pytest.raises(VideoError, match=r"cut\.mp4.*(truncated|damaged)"):
        list(frames)


def test_a_varying_frame_rate_is_refused(write_video: WriteVideo) -> None:
    times = [1000 * index for index in range(20)] + [1000 * index + 2500 for index in range(20, 40)]
    with pytest.raises(VideoError, match="constant frame rate"):
        list(read_frames(write_video("vfr.mp4", 40, times=times)))


def test_small_jitter_is_not_a_varying_rate(write_video: WriteVideo) -> None:
    jitter = np.random.default_rng(0).integers(-150, 150, 40)
    times = [1000 * index + int(jitter[index]) + 200 for index in range(40)]
    assert len(list(read_frames(write_video("jitter.mp4", 40, times=times)))) == 40


def test_a_source_at_the_wanted_rate_loses_nothing_even_if_its_clock_is_fast() -> None:
    gate = FrameRateGate(30.0, source_fps=30.0)
    assert all(gate.accept(round(index * NS_PER_S / 30.3)) for index in range(3000))


@pytest.mark.parametrize(("source_fps", "fps"), [(30.0, 15.0), (60.0, 30.0), (25.0, 15.0), (50.0, 30.0)])
def test_a_faster_source_is_decimated_to_the_wanted_rate_without_gaps(source_fps: float, fps: float) -> None:
    gate = FrameRateGate(fps, source_fps)
    jitter = np.random.default_rng(0).normal(0, 0.03, 3000)
    times = [round((index + jitter[index]) * NS_PER_S / source_fps) for index in range(3000)]
    kept = [time_ns for time_ns in times if gate.accept(time_ns)]
    assert len(kept) == pytest.approx(3000 * fps / source_fps, rel=0.01)
    assert all(is_consecutive(a, b, fps) for a, b in pairwise(kept))


@pytest.mark.parametrize(("step", "expected"), [(1.0, True), (1.5, True), (1.6, False), (0.0, False), (-1.0, False)])
def test_consecutive_frames_are_at_most_one_and_a_half_intervals_apart(step: float, expected: bool) -> None:
    assert is_consecutive(10 * NS_PER_S, 10 * NS_PER_S + int(step * NS_PER_S / 25), 25.0) is expected
