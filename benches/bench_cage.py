"""What is ours in a cage's loop: everything but flow and networks, frame by frame, and one commit of the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.behaviour_log.sessions import session
from tests.bundles import manifest
from tests.cage.parts import FreeBackend, FreeFlow
from toolkit.behaviour_log import LogWriter, Quality, Reason
from toolkit.bundle import Bundle
from toolkit.cage.capture import CameraInfo
from toolkit.cage.config import CageConfig
from toolkit.cage.daemon import run
from toolkit.cage.watch import Parts
from toolkit.engine.host import HostNetworks
from toolkit.frames import NS_PER_S, Frame
from toolkit.preprocess import WorkingGeometry, flow_input, rgb_input

FRAMES = 600


class MemoryCamera:
    """Delivers noise from memory as fast as it is taken, timed at 30 frames per second."""

    info = CameraInfo("memory", 320, 240, 30.0, live=False, frames=FRAMES, hole=Reason.CAMERA_LOST)

    def __init__(self) -> None:
        self._images = np.random.default_rng(0).integers(0, 256, (16, 240, 320, 3), dtype=np.uint8)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        start_ns = time.monotonic_ns()
        for index in range(FRAMES):
            if stop.is_set():
                return
            yield Frame(index, start_ns + index * NS_PER_S // 30, self._images[index % 16])


@pytest.mark.benchmark(group=f"cage loop, {FRAMES} frames of 320 x 240, free networks and free flow")
@pytest.mark.parametrize(("resize", "crop"), [(255, 224), (128, 112), (64, 56)])
def bench_cage_loop(benchmark: BenchmarkFixture, tmp_path: Path, resize: int, crop: int) -> None:
    spec = manifest(geometry=WorkingGeometry(), inputs=(rgb_input(resize, crop), flow_input(resize, crop)))
    runs = iter(range(1000))

    def watch() -> None:
        folder = tmp_path / str(next(runs))
        config = CageConfig.model_validate(
            {"cage": {"name": "a", "bundle": "b"}, "camera": {"video": "v"}, "log": {"folder": folder}}
        )
        backends = {"rgb": FreeBackend(), "flow": FreeBackend()}
        parts = Parts(Bundle(tmp_path, spec, "f" * 64), MemoryCamera(), HostNetworks(spec, FreeFlow(), backends))
        summary = run(config, stop=threading.Event(), parts=parts)
        assert summary.rows == FRAMES

    benchmark.pedantic(watch, rounds=5, warmup_rounds=1)
    benchmark.extra_info["ms_per_frame"] = 1000 * benchmark.stats.stats.median / FRAMES
    print(f"\nours per frame at {crop} px: {benchmark.extra_info['ms_per_frame']:.2f} ms")


@pytest.mark.benchmark(group="behaviour log, one commit of 60 rows")
def bench_log_commit(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    probabilities = np.full(3, 1 / 3, dtype=np.float32)
    with LogWriter(tmp_path, "a", session()) as log:
        index = 0

        def two_seconds() -> None:
            nonlocal index
            for _ in range(60):
                log.row(index, index * 10_000_000, probabilities, 0, Quality(0))
                index += 1
            log.flush()

        benchmark.pedantic(two_seconds, rounds=30, warmup_rounds=2)
        log.close("stopped")
