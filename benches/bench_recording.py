"""What a recording costs: an encoder by itself, the daemon's loop beside it, and bytes of real footage."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bundles import manifest
from tests.cage.parts import FreeBackend, FreeFlow
from toolkit.behaviour_log import Reason
from toolkit.bundle import Bundle
from toolkit.cage.cameras import CameraInfo
from toolkit.cage.config import CageConfig
from toolkit.cage.daemon import run
from toolkit.cage.recording.encoder import Encoder
from toolkit.cage.watch import Parts
from toolkit.engine.host import HostNetworks
from toolkit.frames import NS_PER_S, Frame, read_frames
from toolkit.preprocess import WorkingGeometry, flow_input, rgb_input
from toolkit.synth import SyntheticVideo

FRAMES = 300
FOOTAGE = Path(os.environ.get("TOOLKIT_FOOTAGE", Path(__file__).parents[2] / "shared" / "data")) / "openfield/m3v1.mp4"
SIZES = [(320, 240), (640, 480)]


@pytest.fixture(scope="module", params=SIZES, ids=["320x240", "640x480"])
def mouse(request: pytest.FixtureRequest) -> list[NDArray[np.uint8]]:
    """Return ten seconds of a synthetic mouse."""
    return list(islice(SyntheticVideo(seed=3, duration_s=20.0, size=request.param).frames(), FRAMES))


@pytest.mark.benchmark(group=f"recording, {FRAMES} frames by libx264, one thread")
def bench_encoder(benchmark: BenchmarkFixture, mouse: list[NDArray[np.uint8]]) -> None:
    height, width = mouse[0].shape[:2]

    def encode() -> int:
        encoder = Encoder("libx264", width, height, 30.0, quality=23)
        return sum(
            packet.size
            for number, image in enumerate(mouse)
            for packet in encoder.encode(image, number * 33_333, key=number % 30 == 0)
        )

    size = benchmark.pedantic(encode, rounds=3, warmup_rounds=1)
    benchmark.extra_info["ms_per_frame"] = round(1000 * benchmark.stats.stats.median / FRAMES, 2)
    benchmark.extra_info["mb_per_hour"] = round(size / FRAMES * 30 * 3600 / 1e6)
    print(f"\n{width} x {height}: {benchmark.extra_info}")


class MemoryCamera:
    """Delivers the mouse at 30 frames per second, by the clock."""

    def __init__(self, images: list[NDArray[np.uint8]]) -> None:
        self._images = images
        height, width = images[0].shape[:2]
        self.info = CameraInfo("memory", width, height, 30.0, live=True, frames=FRAMES, hole=Reason.CAMERA_LOST)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        begin_ns = time.monotonic_ns()
        for index, image in enumerate(self._images):
            due_ns = begin_ns + index * NS_PER_S // 30
            if stop.wait(max(0.0, (due_ns - time.monotonic_ns()) / NS_PER_S)):
                return
            yield Frame(index, due_ns, image)


@pytest.mark.benchmark(group=f"recording, the loop's work on {FRAMES} live frames, free networks and free flow")
def bench_loop(benchmark: BenchmarkFixture, tmp_path: Path, mouse: list[NDArray[np.uint8]]) -> None:
    """The loop's own work per frame and its way from frame to row, without and with a recording, in turn."""
    spec = manifest(geometry=WorkingGeometry(), inputs=(rgb_input(255, 224), flow_input(255, 224)))
    work_ms: dict[str, list[float]] = {"off": [], "continuous": []}
    late_ms: dict[str, list[float]] = {"off": [], "continuous": []}
    dropped = 0

    def watch(mode: str) -> None:
        nonlocal dropped
        folder = tmp_path / f"{mode}{len(work_ms[mode])}"
        config = CageConfig.model_validate(
            {
                "cage": {"name": "a", "bundle": "b"},
                "camera": {"video": "v"},
                "log": {"folder": folder},
                "recording": {"mode": mode, "folder": folder / "video", "encoder": "libx264", "min_free_gb": 0.0},
            }
        )
        networks = HostNetworks(spec, FreeFlow(), {"rgb": FreeBackend(), "flow": FreeBackend()})
        parts = Parts(Bundle(tmp_path, spec, "f" * 64), MemoryCamera(mouse), networks)
        summary = run(config, stop=threading.Event(), parts=parts)
        assert summary.rows == FRAMES
        work_ms[mode].append(1000 * summary.busy_s / FRAMES)
        late_ms[mode].append(1000 * (summary.latency_p99_s or 0.0))

    benchmark.pedantic(watch, args=("continuous",), setup=lambda: watch("off"), rounds=3)
    for mode in work_ms:
        benchmark.extra_info[f"{mode}_work_ms_per_frame"] = round(float(np.median(work_ms[mode])), 3)
        benchmark.extra_info[f"{mode}_frame_to_row_p99_ms"] = round(float(np.median(late_ms[mode])))
    print(f"\n{benchmark.extra_info}")


@pytest.mark.benchmark(group="recording, real footage")
@pytest.mark.parametrize("quality", [18, 23, 28])
@pytest.mark.skipif(not FOOTAGE.is_file(), reason="needs the real footage, which is not part of the project")
def bench_footage(benchmark: BenchmarkFixture, quality: int) -> None:
    images = [frame.image for frame in islice(read_frames(FOOTAGE), FRAMES)]
    height, width = images[0].shape[:2]

    def encode() -> int:
        encoder = Encoder("libx264", width, height, 30.0, quality)
        return sum(
            packet.size
            for number, image in enumerate(images)
            for packet in encoder.encode(image, number * 33_333, key=number % 30 == 0)
        )

    size = benchmark.pedantic(encode, rounds=1, warmup_rounds=1)
    benchmark.extra_info["ms_per_frame"] = round(1000 * benchmark.stats.stats.median / len(images), 2)
    benchmark.extra_info["mb_per_hour"] = round(size / len(images) * 30 * 3600 / 1e6)
    print(f"\n{width} x {height}, quality {quality}: {benchmark.extra_info}")
