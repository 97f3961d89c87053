"""Clips from the store against sequential decoding by PyAV and by OpenCV, for codecs whose frames are out of order."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType
from numpy.typing import NDArray

from tests.conftest import numbered_frames
from toolkit.flow import PARAMETER_SETS, OpenCvFlow
from toolkit.flow.cpu import CpuFlow
from toolkit.flow.store import FlowRecipe, PreparedVideo, prepare
from toolkit.preprocess import WorkingGeometry

COUNT = 75

ENCODERS = {
    "h264, B-frames": ("mp4", "libx264", {"x264-params": "keyint=250:bframes=4:b-adapt=0:b-pyramid=normal"}),
    "h264, open GOPs": ("mp4", "libx264", {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0"}),
    "h264, open GOPs, transport stream": ("ts", "libx264", {"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}),
    "mpeg2, B-frames": ("mpg", "mpeg2video", {"bf": "2", "g": "12", "b": "4000000"}),
    "mpeg1, B-frames": ("mpg", "mpeg1video", {"bf": "2", "g": "12", "b": "4000000"}),
}


def write(path: Path, codec: str, options: dict[str, str]) -> None:
    """Write frames whose grey tells their number, with a square that moves over them."""
    frames = numbered_frames(COUNT, (96, 64))
    for index, image in enumerate(frames):
        image[20:30, index : index + 10] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def by_pyav(path: Path) -> tuple[NDArray[np.uint8], int]:
    """Return every frame, decoded from first to last, and how many are B-frames."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    b_frames = sum(int(picture.pict_type) == int(PictureType.B) for picture in pictures)
    return np.stack([picture.to_ndarray(format="rgb24") for picture in pictures]), b_frames


def by_opencv(path: Path) -> NDArray[np.uint8]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def check_clips(video: PreparedVideo, frames: NDArray[np.uint8]) -> None:
    rng = np.random.default_rng(3)
    assert video.frames.shape == frames.shape
    starts = {0, len(frames) - 16, *rng.integers(0, len(frames) - 16, 12).tolist()}
    for start in sorted(starts, key=lambda s: s * 7919 % 31):
        np.testing.assert_array_equal(video.frames[np.arange(start, start + 16)], frames[start : start + 16])


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
def test_clips_of_frames_out_of_order_are_exact(tmp_path: Path, encoder: str) -> None:
    extension, codec, options = ENCODERS[encoder]
    path = tmp_path / f"a.{extension}"
    write(path, codec, options)
    recipe = FlowRecipe(geometry=WorkingGeometry(width=96, height=64), parameters=PARAMETER_SETS["fast"])
    video = prepare([path], recipe, tmp_path / "cache", workers=0, estimator=OpenCvFlow).videos[0]
    frames, b_frames = by_pyav(path)
    assert len(frames) == COUNT
    assert b_frames > len(frames) / 4
    check_clips(video, frames)
    # The corner's grey is the number that was drawn, whatever a decoder says.
    corners = [image[48:, 80:].mean() for image in video.frames]
    np.testing.assert_allclose(corners, 10 + 3 * np.arange(COUNT), atol=2)
    opencv = by_opencv(path)
    assert len(opencv) == COUNT
    assert np.abs(np.asarray(video.frames).astype(int) - opencv).mean(axis=(1, 2, 3)).max() < 3
    assert video.flow_steps is not None
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in frames]
    for index in (1, 12, 13, COUNT - 1):
        flow = OpenCvFlow(PARAMETER_SETS["fast"]).flow(greys[index - 1], greys[index])
        np.testing.assert_array_equal(video.flow_steps[index], np.rint(np.clip(flow, -20, 20) * 32))


def test_real_clips_are_exact(real_footage: Path, tmp_path: Path) -> None:
    paths = [real_footage / "homecage" / name for name in ("video5_groom_163.mpg", "video0_drink_002.mp4")]
    parameters = PARAMETER_SETS["fast"]
    if CpuFlow.available() is not None:
        pytest.skip("fast CPU flow was not built")
    recipe = FlowRecipe(geometry=WorkingGeometry(width=320, height=240), parameters=parameters)
    for video in prepare(paths, recipe, tmp_path / "cache", workers=0, estimator=CpuFlow).videos:
        frames, _ = by_pyav(video.path)
        check_clips(video, frames)
        assert video.flow_steps is not None
        greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in frames]
        for start in (0, 20, len(frames) - 16):
            clip = video.flow_steps[start : start + 16]
            for index in range(max(start, 1), start + 16):
                flow = CpuFlow(parameters).flow(greys[index - 1], greys[index])
                np.testing.assert_array_equal(clip[index - start], np.rint(np.clip(flow, -20, 20) * 32))


@pytest.mark.slow
def test_a_long_real_video_is_exact(real_footage: Path, tmp_path: Path) -> None:
    path = real_footage / "homecage" / "mit_side_view.mp4"
    recipe = FlowRecipe(geometry=WorkingGeometry(width=320, height=240), parameters=None)
    video = prepare([path], recipe, tmp_path / "cache", workers=0).videos[0]
    frames, b_frames = by_pyav(path)
    assert b_frames > len(frames) / 4
    check_clips(video, frames)
    np.testing.assert_allclose(video.mean_colours, [cv2.mean(image)[:3] for image in frames])


def test_a_real_video_is_resized_as_opencv_does(real_footage: Path, tmp_path: Path) -> None:
    path = sorted((real_footage / "bsoid" / "rear_plus").glob("*.mp4"))[0]
    recipe = FlowRecipe(geometry=WorkingGeometry(width=160, height=128, fps=15), parameters=None)
    video = prepare([path], recipe, tmp_path / "cache", workers=0).videos[0]
    frames, _ = by_pyav(path)
    check_clips(video, np.stack([cv2.resize(f, (160, 128), interpolation=cv2.INTER_AREA) for f in frames]))
