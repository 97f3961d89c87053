"""Random clips from the flow store next to decoding them from the video, and the training loader's clips per second.

One thread, as in a loader process. Real footage where it is at hand (TOOLKIT_FOOTAGE), else the synthetic cage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from toolkit.flow import PARAMETER_SETS
from toolkit.flow.store import FlowRecipe, Preparation, StoredArray, prepare
from toolkit.preprocess import Stream, WorkingGeometry
from toolkit.synth.dataset import write_dataset
from toolkit.train.config import train_config
from toolkit.train.dataset import LabelledVideo, fill_training_clip

T, CLIPS = 16, 20
SIZE = (320, 240)
FOOTAGE = Path(os.environ.get("TOOLKIT_FOOTAGE", Path(__file__).parents[2] / "shared" / "data"))
WITH_FLOW = ["homecage/mit_side_view.mp4", "homecage/video5_groom_163.mpg"] if FOOTAGE.is_dir() else ["synthetic cage"]
RGB_ONLY = ["openfield/m3v1.mp4"] if FOOTAGE.is_dir() else []
ARCHITECTURES = ["i3d", "r2plus1d-18"]

# The first benchmark of a source prepares it: a minute and more of `paper` flow.
pytestmark = pytest.mark.timeout(600)

Prepare = Callable[[str], Preparation]


@pytest.fixture(scope="module", autouse=True)
def one_opencv_thread() -> Iterator[None]:
    """Let OpenCV run on one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Return what prepares a source, once, with `paper` flow where it is read."""
    folder = tmp_path_factory.mktemp("store")

    @lru_cache
    def once(source: str) -> Preparation:
        path = FOOTAGE / source
        if source == "synthetic cage":
            write_dataset(folder / "data", videos=1, duration_s=20.0, seed=3)
            (path,) = (folder / "data").rglob("*.mp4")
        parameters = PARAMETER_SETS["paper"] if source in WITH_FLOW else None
        recipe = FlowRecipe(geometry=WorkingGeometry(width=SIZE[0], height=SIZE[1]), parameters=parameters)
        return prepare([path], recipe, folder / "cache", workers=2)

    return once


def _starts(frames: int) -> list[int]:
    return [int(start) for start in np.random.default_rng(0).integers(0, frames - T, CLIPS)]


def _read_clips(array: StoredArray[np.uint8] | StoredArray[np.int16], starts: list[int]) -> None:
    for start in starts:
        array[np.arange(start, start + T)]


def _per_clip(benchmark: BenchmarkFixture, run: Callable[..., object], *arguments: object) -> None:
    benchmark.pedantic(run, args=arguments, rounds=3, warmup_rounds=1)
    median_s = benchmark.stats.stats.median / CLIPS
    benchmark.extra_info["ms_per_clip"] = round(1000 * median_s, 2)
    benchmark.extra_info["clips_per_s"] = round(1 / median_s, 1)


@pytest.mark.benchmark(group="20 random 16-frame clips, 320 x 240")
@pytest.mark.parametrize("source", WITH_FLOW + RGB_ONLY)
def bench_rgb_from_store(benchmark: BenchmarkFixture, prepared: Prepare, source: str) -> None:
    preparation = prepared(source)
    frames = preparation.videos[0].frames
    _per_clip(benchmark, _read_clips, frames, _starts(len(frames)))
    benchmark.extra_info["gb_per_hour"] = round(preparation.bytes_per_hour / 1e9, 2)
    benchmark.extra_info["uncompressed_gb_per_hour"] = round(SIZE[0] * SIZE[1] * 7 * 108_000 / 1e9, 1)


@pytest.mark.benchmark(group="20 random 16-frame clips, 320 x 240")
@pytest.mark.parametrize("source", WITH_FLOW)
def bench_flow_from_store(benchmark: BenchmarkFixture, prepared: Prepare, source: str) -> None:
    steps = prepared(source).videos[0].flow_steps
    assert steps is not None
    _per_clip(benchmark, _read_clips, steps, _starts(len(steps)))


@pytest.mark.benchmark(group="20 random 16-frame clips, 320 x 240")
@pytest.mark.parametrize("source", WITH_FLOW + RGB_ONLY)
def bench_rgb_decoded_by_seeking(benchmark: BenchmarkFixture, prepared: Prepare, source: str) -> None:
    """Peer: seek to the key frame before the clip, decode to the clip, resize. Not every container seeks exactly."""
    video = prepared(source).videos[0]
    with av.open(str(video.path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        times = [picture.pts for picture in container.decode(stream)]

        def clip(start: int) -> NDArray[np.uint8]:
            container.seek(times[start], stream=stream)
            images: list[NDArray[np.uint8]] = []
            for picture in container.decode(stream):
                if picture.pts < times[start]:
                    continue
                image = picture.to_ndarray(format="rgb24")
                images.append(
                    image if image.shape[1] == SIZE[0] else cv2.resize(image, SIZE, None, 0, 0, cv2.INTER_AREA)
                )
                if len(images) == T:
                    break
            return np.stack(images)

        starts = _starts(len(times))
        wrong = sum(not np.array_equal(clip(start), video.frames[start : start + T]) for start in starts)
        _per_clip(benchmark, lambda: [clip(start) for start in starts])
    benchmark.extra_info["clips_that_were_others"] = f"{wrong} of {CLIPS}"


@pytest.mark.benchmark(group="loader: 20 random training clips")
@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def bench_loader(benchmark: BenchmarkFixture, prepared: Prepare, architecture: str, stream: Stream) -> None:
    """Store read, resize, random crop and flip, scale."""
    config = train_config({"architecture": architecture})
    spec = config.stream_input(stream)
    video = prepared(WITH_FLOW[0]).videos[0]
    labels = np.zeros(len(video.frames), dtype=np.int8)
    labelled = LabelledVideo("a", "a", 30.0, video, labels, ((0, len(labels)),))
    out = np.empty((spec.channels, T, spec.crop, spec.crop), dtype=np.float32)

    def load() -> None:
        generator = np.random.default_rng(0)
        for start in _starts(len(labels)):
            fill_training_clip(labelled, start + config.clip.before, spec, config, generator, out)

    _per_clip(benchmark, load)


@pytest.mark.benchmark(group="preparing one video, paper flow, 320 x 240")
@pytest.mark.parametrize("workers", [1, 2])
def bench_prepare(benchmark: BenchmarkFixture, prepared: Prepare, tmp_path: Path, workers: int) -> None:
    """Decode, compute flow, compress, compare; a second worker is a second thread of flow."""
    path = prepared(WITH_FLOW[-1]).videos[0].path
    recipe = FlowRecipe(geometry=WorkingGeometry(width=SIZE[0], height=SIZE[1]), parameters=PARAMETER_SETS["paper"])
    preparation = benchmark.pedantic(prepare, args=([path], recipe, tmp_path / "cache"), kwargs={"workers": workers})
    benchmark.extra_info["pairs_per_s"] = round(preparation.pairs_per_s, 1)
