"""A clip is the very frames of its source, and stays them in its file."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import WriteVideo, numbered_frames
from toolkit.errors import VideoError
from toolkit.frames import probe, read_frames
from toolkit.sampling.clip_file import STRIP_PX, numbered, write_clip
from toolkit.sampling.footage import Clip, Span, VideoPictures


def span(start: int, centre: int, stop: int) -> Span:
    return Span(start, centre, stop, 0, 0, 0)


def number_of(image: np.ndarray) -> int:
    """Return a numbered frame's number, modulo 80."""
    return round((float(image.mean()) - 10) / 3)


@pytest.mark.parametrize("name", ["long.mp4", "long.mkv"])
def test_frames_are_those_of_a_reader_from_the_start(write_video: WriteVideo, name: str) -> None:
    path = write_video(name, 600)
    pictures = VideoPictures(path)
    whole = [frame.image for frame in read_frames(path)]
    for start, centre, stop in ((0, 3, 7), (251, 270, 290), (499, 500, 502), (590, 595, 600)):
        clip = pictures.read(span(start, centre, stop))
        assert (clip.centre, clip.fps) == (centre - start, 30)
        assert len(clip.images) == stop - start
        for image, expected in zip(clip.images, whole[start:stop], strict=True):
            np.testing.assert_array_equal(image, expected)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_a_stream_that_cannot_be_searched(write_video: WriteVideo, tmp_path: Path) -> None:
    """MPEG program streams, as of the clipped database, have no index, and begin at some time that is not 0."""
    source, path = write_video("long.mp4", 300, fps=25), tmp_path / "long.mpg"
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-q:v", "2", "-g", "15", path], check=True, timeout=60)
    clip = VideoPictures(path).read(span(203, 210, 230))
    assert [number_of(image) for image in clip.images] == [number % 80 for number in range(203, 230)]


def test_frames_that_are_not_there(write_video: WriteVideo) -> None:
    with pytest.raises(VideoError, match="frames 35 to 44 cannot be read"):
        VideoPictures(write_video("short.mp4", 40)).read(span(35, 40, 45))


@pytest.mark.parametrize(("size", "written"), [((64, 48), (64, 48)), ((69, 51), (70, 52))])
def test_a_clip_s_file_keeps_frames_and_rate(tmp_path: Path, size: tuple[int, int], written: tuple[int, int]) -> None:
    images = list(numbered_frames(45, size))
    images[7][10:20, 10:20] = (200, 30, 30)
    path = tmp_path / "clip.mp4"
    write_clip(path, images, Fraction(30000, 1001))
    info = probe(path)
    assert (info.width, info.height, info.fps, info.frames) == (*written, Fraction(30000, 1001), 45)
    back = [frame.image[: size[1], : size[0]] for frame in read_frames(path)]
    assert len(back) == 45
    for image, expected in zip(back, images, strict=True):
        assert abs(float(image.mean()) - float(expected.mean())) <= 1
    # Colour too: a wrong matrix would turn red by more.
    assert np.abs(back[7][12:18, 12:18].mean(axis=(0, 1)) - (200, 30, 30)).max() < 6


def test_a_numbered_picture_is_the_picture_over_a_strip() -> None:
    images = list(numbered_frames(5, (320, 240)))
    drawn = list(numbered(Clip(images, 2, Fraction(30))))
    assert len(drawn) == 5
    for number, (image, original) in enumerate(zip(drawn, images, strict=True)):
        assert image.shape == (240 + STRIP_PX, 320, 3)
        np.testing.assert_array_equal(image[:240], original)
        marked = bool((image[-1] == (255, 196, 0)).all())
        assert marked == (number == 2)
