"""The training step alone next to the loader alone: the ratio says how many loader processes it takes.

The step is on the GPU where there is one. The loader is one process on one thread, over the synthetic cage.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from toolkit.flow import PARAMETER_SETS
from toolkit.flow.store import FlowRecipe, PreparedVideo, prepare
from toolkit.preprocess import Stream, WorkingGeometry
from toolkit.synth.dataset import write_dataset
from toolkit.train.config import TrainConfig, train_config
from toolkit.train.dataset import LabelledVideo, fill_training_clip
from toolkit.train.distributed import Processes
from toolkit.train.finetune import amp_dtype, begin, choose_device, memory_format, move, train_one_epoch
from toolkit.train.networks import build_network

LOADED = 40
STREAMS: tuple[Stream, ...] = ("rgb", "flow")

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedVideo]:
    """Return a prepared synthetic video, OpenCV on one thread."""
    folder = tmp_path_factory.mktemp("training")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    write_dataset(folder / "data", videos=1, duration_s=20.0, seed=3)
    (path,) = (folder / "data").rglob("*.mp4")
    recipe = FlowRecipe(geometry=WorkingGeometry(), parameters=PARAMETER_SETS["fast"])
    yield prepare([path], recipe, folder / "cache", workers=1).videos[0]
    cv2.setNumThreads(threads)


def loaded_clips_per_s(video: PreparedVideo, config: TrainConfig, stream: Stream) -> float:
    """Return how many training clips one loader process makes per second: store read, crop, flip, scale."""
    spec, generator = config.stream_input(stream), np.random.default_rng(0)
    labels = np.zeros(len(video.frames), dtype=np.int8)
    labelled = LabelledVideo("a", "a", 30.0, video, labels, ((0, len(labels)),))
    out = np.empty((spec.channels, config.clip.frames, spec.crop, spec.crop), dtype=np.float32)
    started_s = time.perf_counter()
    for _ in range(LOADED):
        fill_training_clip(labelled, int(generator.integers(len(labels))), spec, config, generator, out)
    return LOADED / (time.perf_counter() - started_s)


@pytest.mark.benchmark(group="training: one optimiser step of a batch that is there")
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(("architecture", "preset"), [("i3d", "paper"), ("r2plus1d-18", "paper"), ("i3d", "modern")])
def bench_step(
    benchmark: BenchmarkFixture, video: PreparedVideo, architecture: str, preset: str, stream: Stream
) -> None:
    config = train_config({"architecture": architecture, "preset": preset}).of(stream)
    device = choose_device(config)
    spec = config.stream_input(stream)
    network = build_network(architecture, channels=spec.channels, classes=8, dropout=config.dropout)
    move(network, device, config, memory_format(config, device))
    course = begin(network, config, 1000, device)
    shape = (config.batch, spec.channels, config.clip.frames, spec.crop, spec.crop)
    batch = torch.rand(shape).to(device), torch.zeros(config.batch, dtype=torch.int64).to(device), config.batch

    def step() -> None:
        # The epoch's sums are fetched at its end, which waits for a GPU.
        train_one_epoch(network, course, [batch], config, device, 1, lambda _seen, _line: None, Processes())

    benchmark.pedantic(step, rounds=5 if device.type == "cuda" else 1, warmup_rounds=1)
    clips_per_s = config.batch / benchmark.stats.stats.median
    loaded = loaded_clips_per_s(video, config, stream)
    benchmark.extra_info.update(
        device=torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads",
        amp=str(amp_dtype(config, device)),
        step_clips_per_s=round(clips_per_s, 2),
        loader_clips_per_s=round(loaded, 1),
        loader_processes_needed=round(clips_per_s / loaded, 3),
    )
    print(f"\nstep {clips_per_s:.2f} clips/s, one loader process {loaded:.1f}: {clips_per_s / loaded:.3f} needed")
