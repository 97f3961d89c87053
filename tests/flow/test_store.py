"""The flow store against PyAV and OpenCV called directly."""

from __future__ import annotations

import os
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
from toolkit.flow import PARAMETER_SETS, FlowParameters, OpenCvFlow
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


def stored(cache: Path) -> list[str]:
    """Return the names before the hash of everything in a cache but its lock."""
    return sorted(child.name.split("-")[0] for child in cache.iterdir() if child.name != ".lock")


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
    base = RECIPE.model_copy(update={"geometry": WorkingGeometry(width=64, height=48, aspect="stretch")})

    def computed(recipe: FlowRecipe = base, estimator: type[OpenCvFlow] = OpenCvFlow) -> int:
        return prepare([path], recipe, cache, workers=0, estimator=estimator).computed

    assert computed() == 1
    assert computed() == 0
    for part, fields in CHANGES.items():
        model = getattr(base, part)
        assert set(fields) == set(type(model).model_fields) - UNCHANGEABLE, "a change of every field"
        for field, value in fields.items():
            assert getattr(model, field) != value
            changed = base.model_copy(update={part: model.model_copy(update={field: value})})
            assert computed(changed) == 1, field
            assert computed(changed) == 0, field
    assert computed(base.model_copy(update={"parameters": None})) == 1
    assert computed() == 1, "the store was replaced"
    assert computed(base.model_copy(update={"parameters": None})) == 0, "it holds the same frames, with their flow"
    assert computed() == 0
    assert computed(estimator=OtherFlow) == 1
    write_video("a.mp4", moving_square(5))
    assert computed(estimator=OtherFlow) == 1
    assert len(prepare([path], base, cache, workers=0).videos[0].frames) == 5


UNCHANGEABLE = {"grey"}
CHANGES: dict[str, dict[str, object]] = {
    "parameters": {
        "name": "mine",
        "tau": 0.2,
        "lambda_": 0.1,
        "theta": 0.2,
        "scales": 2,
        "scale_step": 0.6,
        "warps": 1,
        "epsilon": 0.02,
        "inner_iterations": 9,
        "outer_iterations": 2,
        "median": 3,
        "gamma": 0.1,
    },
    "encoding": {"bound_px": 10.0, "steps_per_px": 16},
    "geometry": {
        "width": 32,
        "height": 47,
        "roi": (0, 0, 32, 24),
        "aspect": "pad",
        "fps": 15.0,
        "fps_tolerance": 0.03,
        "light": "infrared",
        "interpolation": "linear",
    },
}


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, -30, -12, -1], ids=str)
def test_a_store_that_was_cut_is_made_anew(write_video: WriteVideo, tmp_path: Path, keep: float) -> None:
    path, cache = write_video("a.mp4", moving_square(4)), tmp_path / "cache"
    whole = prepare([path], RECIPE, cache, workers=0).videos[0]
    frames, content = np.asarray(whole.frames), whole.store.read_bytes()
    whole.store.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    again = prepare([path], RECIPE, cache, workers=0)
    assert again.computed == 1
    np.testing.assert_array_equal(again.videos[0].frames, frames)


def test_a_store_with_a_damaged_index_is_made_anew(write_video: WriteVideo, tmp_path: Path) -> None:
    path, cache = write_video("a.mp4", moving_square(4)), tmp_path / "cache"
    store = prepare([path], RECIPE, cache, workers=0).videos[0].store
    content = bytearray(store.read_bytes())
    content[-200] ^= 1
    store.write_bytes(content)
    assert prepare([path], RECIPE, cache, workers=0).computed == 1


def test_a_store_that_is_replaced_in_use_is_not_read(write_video: WriteVideo, tmp_path: Path) -> None:
    path, cache = write_video("a.mp4", moving_square(20)), tmp_path / "cache"
    video = prepare([path], RECIPE, cache, workers=0).videos[0]
    other = RECIPE.model_copy(update={"parameters": PARAMETER_SETS["fast"].model_copy(update={"warps": 1})})
    prepare([path], other, cache, workers=0)
    assert video.flow_steps is not None
    with pytest.raises(VideoError, match=r"a-.*\.store: flow \d+ of the flow store is damaged, or was replaced"):
        video.flow_steps[:]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_is_said(write_video: WriteVideo, tmp_path: Path, workers: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    path, cache = write_video("a.mp4", noise), tmp_path / "cache"
    process = run_program(
        tmp_path,
        f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        prepare([Path({str(path)!r})], RECIPE, Path({str(cache)!r}), workers={workers})
        """,
    )
    _, said = process.communicate(timeout=60)
    assert "InputError: " in said
    assert "the flow store of a.mp4 cannot be written (File too large). Make room" in said
    assert stored(cache) == []


def run_program(folder: Path, body: str) -> subprocess.Popen[str]:
    """Start a program that may import this module."""
    head = """
    from pathlib import Path
    from tests.flow.test_store import RECIPE, SlowFlow
    from toolkit.flow.store import prepare
    if __name__ == "__main__":
    """
    script = folder / "program.py"
    script.write_text(textwrap.dedent(head) + textwrap.indent(textwrap.dedent(body), "    "))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, text=True)


def test_a_store_moves_with_its_data_set(write_video: WriteVideo, tmp_path: Path) -> None:
    path = write_video("data/a.mp4", moving_square(4))
    prepare([path], RECIPE, tmp_path / "data/cache", workers=0)
    (tmp_path / "data").rename(tmp_path / "moved")
    again = prepare([tmp_path / "moved/a.mp4"], RECIPE, tmp_path / "moved/cache", workers=0)
    assert again.computed == 0
    np.testing.assert_array_equal(again.videos[0].frames, decoded(tmp_path / "moved/a.mp4"))


def test_it_says_how_large_it_is(write_video: WriteVideo, tmp_path: Path) -> None:
    path = write_video("a.mp4", moving_square(45))
    preparation = prepare([path], RECIPE, tmp_path / "cache", workers=0)
    (store,) = (tmp_path / "cache").glob("*.store")
    assert preparation.stored_bytes == store.stat().st_size
    assert preparation.bytes_per_hour == pytest.approx(store.stat().st_size / 1.5 * 3600)


class SlowFlow(OpenCvFlow):
    """Takes its time, so that it can be killed at work."""

    def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.05)
        return super().flow(previous, current)


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
    assert stored(cache) == ["long"]
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
    assert stored(tmp_path / "cache") == ["good"]


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


def test_one_video_is_shared_by_threads(write_video: WriteVideo, tmp_path: Path) -> None:
    path = write_video("a.mp4", moving_square(30))
    threads = prepare([path], RECIPE, tmp_path / "threads", workers=4)
    alone = prepare([path], RECIPE, tmp_path / "alone", workers=0)
    assert threads.pairs == alone.pairs == 29
    np.testing.assert_array_equal(threads.videos[0].flow_steps, alone.videos[0].flow_steps)
    np.testing.assert_array_equal(threads.videos[0].frames, alone.videos[0].frames)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_preparation_resumes_with_whole_videos(write_video: WriteVideo, tmp_path: Path, workers: int) -> None:
    # Over 1.5 s each: an orphaned worker, which looks for its parent every second, ends before it is done.
    long, short = write_video("long.mp4", moving_square(33)), write_video("short.mp4", moving_square(32))
    cache = tmp_path / "cache"
    paths = f"[Path({str(long)!r}), Path({str(short)!r})]"
    process = run_program(
        tmp_path, f"prepare({paths}, RECIPE, Path({str(cache)!r}), workers={workers}, estimator=SlowFlow)"
    )
    deadline = time.monotonic() + 60
    while not (list(cache.glob("long-*.store")) and list(cache.glob(".short-*"))):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not list(cache.glob("short-*"))
    again = prepare([long, short], RECIPE, cache, workers=0, estimator=OpenCvFlow)
    assert again.computed == 1
    assert stored(cache) == ["long", "short"], "what the killed one left is cleared away"
    np.testing.assert_array_equal(again.videos[0].frames, decoded(long))
    np.testing.assert_array_equal(again.videos[1].frames, decoded(short))
