"""One inference of one clip per network and stream. The peer is torch eager, float32, run in turn with each runtime."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from toolkit.engine.select import CpuEngineName, cpu_backend
from toolkit.preprocess import StreamInput, flow_input, rgb_input
from toolkit.train.export import export_onnx
from toolkit.train.networks import ARCHITECTURES, build_network

NETWORKS = [(name, stream) for name in ("i3d", "r2plus1d-18", "r2plus1d-small") for stream in ("rgb", "flow")]
THREADS = torch.get_num_threads()


def network_and_input(name: str, stream: str) -> tuple[nn.Module, StreamInput]:
    """Return a network with random weights and how it sees a frame."""
    architecture = ARCHITECTURES[name]
    spec = (rgb_input if stream == "rgb" else flow_input)(architecture.resize, architecture.crop)
    torch.manual_seed(0)
    return build_network(name, channels=spec.channels, classes=8).eval(), spec


def ring_clip(spec: StreamInput) -> NDArray[np.float32]:
    """Return a clip in the memory order of `ClipRing.clip`."""
    frames = np.random.default_rng(0).normal(size=(16, spec.channels, spec.crop, spec.crop))
    return frames.astype(np.float32).transpose(1, 0, 2, 3)[np.newaxis]


@pytest.fixture(scope="module")
def graph_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return what exports a network, once for all runtimes."""

    @lru_cache
    def graph(name: str, stream: str) -> Path:
        path = tmp_path_factory.mktemp("graphs") / f"{name}-{stream}.onnx"
        export_onnx(*network_and_input(name, stream), 16, path)
        return path

    return graph


@pytest.mark.benchmark(group="one clip per inference")
@pytest.mark.parametrize(("name", "stream"), NETWORKS)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.timeout(600)
def bench_runtime(
    benchmark: BenchmarkFixture, graph_of: Callable[[str, str], Path], name: str, stream: str, runtime: CpuEngineName
) -> None:
    network, spec = network_and_input(name, stream)
    clip = ring_clip(spec)
    tensor = torch.from_numpy(np.ascontiguousarray(clip))
    eager_s: list[float] = []

    def eager() -> None:
        # As a round's setup: so runtime and peer take turns, and what else the machine does hits both.
        started = time.perf_counter()
        network(tensor)
        eager_s.append(time.perf_counter() - started)

    with torch.inference_mode(), cpu_backend(runtime, graph_of(name, stream), threads=THREADS) as backend:
        error = np.abs(backend.infer(clip) - network(tensor).numpy()).max()
        benchmark.pedantic(backend.infer, args=(clip,), setup=eager, rounds=7, warmup_rounds=2)
    ratio = float(np.median(eager_s[2:])) / benchmark.stats.stats.median
    benchmark.extra_info |= {"times_torch_eager": ratio, "max_logit_error": float(error)}
    print(f"\n{runtime}, {name} {stream}: {ratio:.2f} times torch eager, largest logit error {error:.1g}")


@pytest.mark.benchmark(group="one clip per inference")
@pytest.mark.parametrize(("name", "stream"), NETWORKS)
def bench_torch_eager(benchmark: BenchmarkFixture, name: str, stream: str) -> None:
    network, spec = network_and_input(name, stream)
    clip = torch.from_numpy(np.ascontiguousarray(ring_clip(spec)))
    with torch.inference_mode():
        benchmark.pedantic(network, args=(clip,), rounds=7, warmup_rounds=2)
