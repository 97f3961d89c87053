"""The flow store against PyAV and OpenCV called directly."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import WriteVideo
from toolkit.errors import VideoError
from toolkit.flow import PARAMETER_SETS, FlowEncoding, FlowParameters, OpenCvFlow
from toolkit.flow.store import FlowRecipe, prepare
from toolkit.preprocess import WorkingGeometry

RECIPE = FlowRecipe(geometry=WorkingGeometry(width=64, height=48), parameters=PARAMETER_SETS["fast"])


def moving_square(count: int) -> NDArray[np.uint8]:
    texture = np.random.default_rng(1).integers(80, 255, (12, 12, 3), dtype=np.uint8)
    frames = np.full((count, 48, 64, 3), 40, dtype=np.uint8)
    for index in range(count):
        x = 4 + index % 40
        frames[index, 16:28, x : x + 12] = texture
    return frames


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]


def test_frames_and_flow_are_those_of_pyav_and_opencv(write_video: WriteVideo, tmp_path: Path) -> None:
    path = write_video("a.mp4", moving_square(6))
    prepared = prepare([path], RECIPE, tmp_path / "cache", workers=0, estimator=OpenCvFlow).videos[0]
    images = decoded(path)
    np.testing.assert_array_equal(prepared.frames, images)
    tvl1 = cv2.optflow.DualTVL1OpticalFlow_create(
        nscales=3, scaleStep=0.5, warps=2, innnerIterations=10, outerIterations=1
    )
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    assert prepared.flow_steps is not None
    for index in range(1, 6):
        flow = tvl1.calc(greys[index - 1], greys[index], None)
        np.testing.assert_array_equal(prepared.flow_steps[index], np.rint(np.clip(flow, -20, 20) * 32))
    np.testing.assert_array_equal(prepared.flow_steps[0], prepared.flow_steps[1])
    assert np.abs(prepared.flow_steps[1]).max() > 16, "the square moves by a pixel, 32 steps"


@pytest.mark.parametrize(("fps", "kept"), [(30.0, [0, 1, 2, 3, 4, 5, 6]), (15.0, [0, 2, 4, 6]), (10.0, [0, 3, 6])])
def test_a_faster_source_is_decimated(write_video: WriteVideo, tmp_path: Path, fps: float, kept: list[int]) -> None:
    path = write_video("a.mp4", moving_square(7))
    recipe = RECIPE.model_copy(update={"geometry": WorkingGeometry(width=64, height=48, fps=fps)})
    preparation = prepare([path], recipe, tmp_path / "cache", workers=0)
    prepared = preparation.videos[0]
    assert prepared.source_index.tolist() == kept
    images = decoded(path)
    np.testing.assert_array_equal(prepared.frames, [images[index] for index in kept])
    assert prepared.flow_steps is not None
    assert len(prepared.flow_steps) == len(kept)
    assert preparation.pairs == len(kept) - 1


def test_a_single_frame_has_zero_flow(write_video: WriteVideo, tmp_path: Path) -> None:
    prepared = prepare([write_video("a.mp4", moving_square(1))], RECIPE, tmp_path / "cache", workers=0).videos[0]
    assert prepared.flow_steps is not None
    np.testing.assert_array_equal(prepared.flow_steps, np.zeros((1, 48, 64, 2), dtype=np.int16))


def test_frames_alone_need_no_flow(write_video: WriteVideo, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"parameters": None})
    preparation = prepare([write_video("a.mp4", moving_square(3))], recipe, tmp_path / "cache", workers=0)
    assert preparation.videos[0].flow_steps is None
    assert preparation.pairs == 0


class OtherFlow(OpenCvFlow):
    """The same flow by another implementation's name."""

    @property
    def implementation(self) -> str:
        return "other-1"


def test_an_entry_is_used_again_only_for_what_it_was_made_of(write_video: WriteVideo, tmp_path: Path) -> None:
    path, cache = write_video("a.mp4", moving_square(4)), tmp_path / "cache"

    def computed(recipe: FlowRecipe = RECIPE, estimator: type[OpenCvFlow] = OpenCvFlow) -> int:
        return prepare([path], recipe, cache, workers=0, estimator=estimator).computed

    assert computed() == 1
    assert computed() == 0
    slow = PARAMETER_SETS["fast"].model_copy(update={"epsilon": 0.02})
    others = [
        {"parameters": slow},
        {"encoding": FlowEncoding(steps_per_px=16)},
        {"geometry": WorkingGeometry(width=32, height=24)},
        {"geometry": WorkingGeometry(width=64, height=48, fps=15)},
    ]
    for change in others:
        assert computed(RECIPE.model_copy(update=change)) == 1, change
        assert computed() == 1, "the entry was replaced"
    assert computed(estimator=OtherFlow) == 1
    write_video("a.mp4", moving_square(5))
    assert computed() == 1
    assert len(prepare([path], RECIPE, cache, workers=0).videos[0].frames) == 5
    entry = next(child for child in cache.iterdir() if child.is_dir())
    (entry / "flow.npy").unlink()
    assert computed() == 1
    (entry / "frames.npy").write_bytes((entry / "frames.npy").read_bytes()[:-1])
    assert computed() == 1


class BrokenFlow(OpenCvFlow):
    """Fails at the second video."""

    made = 0

    def __init__(self, parameters: FlowParameters) -> None:
        super().__init__(parameters)
        BrokenFlow.made += 1
        if BrokenFlow.made == 3:
            raise KeyboardInterrupt


def test_a_stopped_preparation_resumes_with_whole_videos(write_video: WriteVideo, tmp_path: Path) -> None:
    paths = [write_video("long.mp4", moving_square(5)), write_video("short.mp4", moving_square(3))]
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        prepare(paths, RECIPE, cache, workers=0, estimator=BrokenFlow)
    assert [child.name.split("-")[0] for child in cache.iterdir() if child.is_dir()] == ["long"]
    assert prepare(paths, RECIPE, cache, workers=0, estimator=OpenCvFlow).computed == 1


def truncated(write_video: WriteVideo, name: str) -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    path = write_video(name, noise, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def test_a_damaged_video_leaves_nothing_and_the_others_stay(write_video: WriteVideo, tmp_path: Path) -> None:
    paths = [
        write_video("good.mp4", moving_square(3)),
        truncated(write_video, "cut.mp4"),
        write_video("vfr.mp4", 40, times=[1000 * i + 700 * (i == 20) for i in range(40)]),
    ]
    with pytest.raises(VideoError, match="2 of 3 videos") as caught:
        prepare(paths, RECIPE, tmp_path / "cache", workers=0)
    assert "cut.mp4" in str(caught.value)
    assert "vfr.mp4" in str(caught.value)
    assert [child.name.split("-")[0] for child in (tmp_path / "cache").iterdir() if child.is_dir()] == ["good"]


def test_every_unusable_source_is_named_before_anything_is_computed(write_video: WriteVideo, tmp_path: Path) -> None:
    paths = [
        write_video("tall.mp4", 3, size=(48, 64)),
        write_video("good.mp4", 3),
        write_video("slow.mp4", 3, fps=10),
    ]
    with pytest.raises(VideoError, match=r"2 of 3 (.|\n)*tall\.mp4: the picture(.|\n)*slow\.mp4: 10\.00 frames"):
        prepare(paths, RECIPE, tmp_path / "cache", workers=0)
    assert not (tmp_path / "cache").exists()


def test_processes_give_the_same_and_report_progress(write_video: WriteVideo, tmp_path: Path) -> None:
    paths = [write_video(f"{index}.mp4", moving_square(4 + index)) for index in range(3)]
    seen: list[tuple[int, int]] = []
    there = prepare(
        paths, RECIPE, tmp_path / "there", workers=2, on_progress=lambda done, total: seen.append((done, total))
    )
    here = prepare(paths, RECIPE, tmp_path / "here", workers=0)
    for one, other in zip(there.videos, here.videos, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.flow_steps, other.flow_steps)
    assert seen[-1] == (15, 15)
    assert there.computed == 3
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        prepare([truncated(write_video, "cut.mp4")], RECIPE, tmp_path / "there", workers=1)


def test_a_killed_preparation_leaves_no_entry(write_video: WriteVideo, tmp_path: Path) -> None:
    path, cache = write_video("a.mp4", moving_square(40)), tmp_path / "cache"
    program = f"""
    import time
    from pathlib import Path
    from toolkit.flow.store import FlowRecipe, prepare
    recipe = FlowRecipe.model_validate_json({RECIPE.model_dump_json()!r})
    prepare([Path({str(path)!r})], recipe, Path({str(cache)!r}), workers=0, on_progress=lambda *_: time.sleep(1))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    deadline = time.monotonic() + 30
    while not list(cache.glob(".a-*/frames.npy")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not list(cache.glob("a-*"))
    assert prepare([path], RECIPE, cache, workers=0).computed == 1
    assert not list(cache.glob(".a-*")), "what the killed one left is cleared away"
