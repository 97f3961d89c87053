"""The host form whose engines and flow are on a GPU, over a driver that is played on the CPU, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import RecordingBackend
from tests.engine.device_parts import BOTH, CLASSES, FAST, host_networks, images, needs_extension, spec_of
from tests.engine.fake_cuda import FakeCuda
from tests.engine.fake_tensorrt import logits_of, plan_bytes
from toolkit.benchmark.timed import Stopwatch, TimedNetworks
from toolkit.bundle import Manifest
from toolkit.engine.contract import ClipNetworks
from toolkit.engine.host import HostNetworks
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.errors import EngineError, FlowError
from toolkit.flow import OpenCvFlow, close_flow
from toolkit.flow.cpu import CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.preprocess import Stream


def backends(spec: Manifest, folder: Path) -> Mapping[Stream, TensorRtBackend]:
    """TensorRT's backends of networks whose logits are `logits_of` their clips."""
    made = {}
    for stream in spec.inputs:
        path = folder / f"{stream.stream}.plan"
        shape = (spec.clip.frames, stream.channels, stream.crop, stream.crop)
        path.write_bytes(plan_bytes(stream.stream, shape, CLASSES))
        made[stream.stream] = TensorRtBackend(path, precision="fp16")
    return made


def run(networks: ClipNetworks) -> list[NDArray[np.float32]]:
    with networks:
        logits = []
        for index, image in enumerate(images(4)):
            networks.admit(image, first=index == 0)
            logits.append(networks.infer())
    return logits


@needs_extension
def test_engines_and_flow_on_a_device_give_the_host_s_logits_and_leave_nothing(gpu: FakeCuda, tmp_path: Path) -> None:
    spec = spec_of(*BOTH)
    found = run(HostNetworks(spec, CudaFlow(FAST), backends(spec, tmp_path)))
    assert np.array_equal(found, run(host_networks(spec)))
    assert (gpu.retained, gpu.executions, gpu.graphs.live) == (0, 0, {})
    assert not [block for block in gpu.blocks if block.kind == "device"]


def test_networks_that_are_timed_close_their_flow(gpu: FakeCuda, tmp_path: Path) -> None:
    flow = CudaFlow(FAST)
    run(TimedNetworks(HostNetworks(spec_of("flow"), flow, {"flow": RecordingBackend()}), Stopwatch()))
    assert gpu.retained == 0
    with pytest.raises(FlowError, match="closed"):
        flow.flow(*[image[..., 0].copy() for image in images(2)])


def test_flow_of_the_cpu_is_closed_too_and_one_without_a_close_is_left_alone() -> None:
    close_flow(OpenCvFlow(FAST))
    if CpuFlow.available() is None:
        close_flow(CpuFlow(FAST))


def test_memory_goes_while_an_error_s_traceback_is_looked_at(gpu: FakeCuda, tmp_path: Path) -> None:
    backend = backends(spec_of("rgb"), tmp_path)["rgb"]
    with pytest.raises(EngineError, match="illegal memory access") as caught, backend:
        gpu.fail_at = len(gpu.calls) + 1  # once the clip's upload is queued
        backend.infer(np.zeros((1, 3, 6, 16, 16), np.float32))
    assert caught.tb is not None
    assert (gpu.blocks, gpu.retained, gpu.executions) == ([], 0, 0)


def test_what_is_queued_ends_before_its_memory_goes(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backends(spec_of("rgb"), tmp_path)["rgb"]
    with pytest.raises(EngineError, match="no reason"), backend:
        assert backend._session is not None
        monkeypatch.setattr(type(backend._session.plan.execution), "execute_async_v3", lambda *_: False)
        backend.infer(np.zeros((1, 3, 6, 16, 16), np.float32))
    assert gpu.blocks == []


@pytest.mark.parametrize("call", ["deserialize", "pagelocked_empty", "mem_alloc"])
def test_a_backend_that_cannot_be_entered_leaves_nothing(gpu: FakeCuda, tmp_path: Path, call: str) -> None:
    backend = backends(spec_of("rgb"), tmp_path)["rgb"]
    with backend:
        pass
    gpu.fail_at = len(gpu.calls) + gpu.calls.index(call)
    with pytest.raises(EngineError, match="GPU failed"), backend:
        pass
    assert (gpu.blocks, gpu.retained, gpu.executions) == ([], 0, 0)


def test_logits_outlive_the_engine_and_it_can_be_entered_again(gpu: FakeCuda, tmp_path: Path) -> None:
    backend = backends(spec_of("rgb"), tmp_path)["rgb"]
    clips = np.random.default_rng(0).normal(size=(1, 3, 6, 16, 16)).astype(np.float32)
    for _ in range(2):
        with backend:
            logits = backend.infer(clips)
        assert np.array_equal(logits, logits_of(np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4)), CLASSES))
