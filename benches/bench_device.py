"""A frame through the device runtime on a GPU, next to the host form with the same flow and the same networks.

Networks are torch's, FP16, in TensorRT's place (tests/engine/torch_plan.py): what is compared is where frames live, not
what runs the networks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from tests.bundles import manifest
from tests.engine.torch_plan import both_forms
from toolkit.bundle import Manifest
from toolkit.engine.contract import ClipNetworks
from toolkit.flow import PARAMETER_SETS
from toolkit.flow.cuda import CudaFlow
from toolkit.fusion import fusion_for
from toolkit.preprocess import Stream, WorkingGeometry, flow_input, rgb_input
from toolkit.synth import SyntheticVideo
from toolkit.synth.render import Renderer

pytestmark = pytest.mark.skipif(CudaFlow.available() is not None, reason=f"no GPU: {CudaFlow.available()}")

SIZE = (640, 480)
FRAMES = 300
WARM_UP = 64
"""Every address of a clip's ring has been met twice by then, and each network has its graphs."""
SIZES = {"i3d": (255, 224), "r2plus1d-18": (128, 112)}
BOTH: tuple[Stream, ...] = ("rgb", "flow")


@lru_cache
def images() -> tuple[NDArray[np.uint8], ...]:
    """Return (480, 640, 3) frames of a walking mouse, to and fro."""
    video = SyntheticVideo(seed=3, duration_s=20.0, size=SIZE)
    walk = int(np.flatnonzero(video.labels == 7)[20])
    renderer = Renderer(video.appearance, SIZE, 3)
    there = [renderer.render(video.state(walk + i)) for i in range(24)]
    return (*there, *there[-2:0:-1])


def spec_of(architecture: str, streams: tuple[Stream, ...]) -> Manifest:
    """Return the manifest of a bundle at the paper's sizes."""
    resize, crop = SIZES[architecture]
    inputs = {"rgb": rgb_input(resize, crop), "flow": flow_input(resize, crop)}
    return manifest(
        geometry=WorkingGeometry(width=320, height=240),
        inputs=tuple(inputs[stream] for stream in streams),
        fusion=fusion_for(streams),
    )


def stepper(networks: ClipNetworks, *, infer: bool) -> Callable[[], object]:
    """Return what takes the next frame, and its clip's logits if `infer`."""
    frames, taken = images(), 0

    def step() -> object:
        nonlocal taken
        networks.admit(frames[taken % len(frames)], first=taken == 0)
        taken += 1
        return networks.infer() if infer else None

    return step


@pytest.mark.benchmark(group="a frame on the GPU, 640 x 480, stride 1, paper flow")
@pytest.mark.parametrize("streams", [BOTH, ("rgb",), ("flow",)], ids="+".join)
@pytest.mark.parametrize("architecture", list(SIZES))
@pytest.mark.parametrize("form", ["device", "host"])
def bench_frame(benchmark: BenchmarkFixture, form: str, architecture: str, streams: tuple[Stream, ...]) -> None:
    device, host = both_forms(spec_of(architecture, streams), architecture, PARAMETER_SETS["paper"])
    with device if form == "device" else host as networks:
        step = stepper(networks, infer=True)
        benchmark.pedantic(step, rounds=FRAMES, warmup_rounds=WARM_UP)
    benchmark.extra_info["frames_per_s"] = round(1 / benchmark.stats.stats.median, 1)


@pytest.mark.benchmark(group="a frame on the GPU, 640 x 480, no networks, paper flow")
@pytest.mark.parametrize("streams", [BOTH, ("rgb",)], ids="+".join)
@pytest.mark.parametrize("form", ["device", "host"])
def bench_admission(benchmark: BenchmarkFixture, form: str, streams: tuple[Stream, ...]) -> None:
    device, host = both_forms(spec_of("i3d", streams), "r2plus1d-small", PARAMETER_SETS["paper"])
    with device if form == "device" else host as networks:
        benchmark.pedantic(stepper(networks, infer=False), rounds=FRAMES, warmup_rounds=WARM_UP)
    benchmark.extra_info["frames_per_s"] = round(1 / benchmark.stats.stats.median, 1)
