"""Frames that stay on the device, over a driver that is played on the CPU: the host form's logits, byte for byte."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bundles import RecordingBackend
from tests.engine.device_parts import (
    BOTH,
    FAST,
    INPUTS,
    device_networks,
    host_networks,
    images,
    needs_extension,
    segments,
    spec_of,
)
from tests.engine.fake_cuda import FakeCuda
from toolkit.bundle import Bundle
from toolkit.engine.cuda import KERNELS, USER, DeviceNetworks
from toolkit.engine.device_memory import DeviceMemory
from toolkit.engine.host import HostNetworks
from toolkit.engine.networks import open_networks
from toolkit.engine.resident import ResidentClips
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.errors import EngineError
from toolkit.flow import PARAMETER_SETS, FlowChoice, cuda_driver
from toolkit.flow.cpu import CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.frames import Frame
from toolkit.pipeline import CentreLogits, Pipeline
from toolkit.preprocess import Stream, WorkingGeometry, flow_input, grey_frame, rgb_input


def labelled(pipeline: Pipeline, frames: Sequence[Frame]) -> list[CentreLogits]:
    results = [result for frame in frames for result in pipeline.push(frame)]
    return results + pipeline.end_segment()


@needs_extension
@pytest.mark.parametrize("streams", [BOTH, ("rgb",), ("flow",)])
@pytest.mark.parametrize("stride", [1, 3])
def test_the_pipeline_gives_the_host_form_s_logits(
    gpu: FakeCuda, tmp_path: Path, streams: tuple[Stream, ...], stride: int
) -> None:
    spec, frames = spec_of(*streams), segments([1, 2, 4, 9, 13])
    with host_networks(spec) as host:
        expected = labelled(Pipeline(spec, host, source_fps=30.0, stride=stride), frames)
    with device_networks(spec, tmp_path) as networks:
        found = labelled(Pipeline(spec, networks, source_fps=30.0, stride=stride), frames)
    assert [(r.index, r.padded) for r in found] == [(r.index, r.padded) for r in expected]
    assert np.stack([r.logits for r in found]).tobytes() == np.stack([r.logits for r in expected]).tobytes()


@needs_extension
@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        ({"width": 64, "height": 48, "roi": (5, 3, 80, 60)}, (70, 96)),
        ({"width": 64, "height": 48, "aspect": "pad", "light": "infrared"}, (96, 96)),
        ({"width": 48, "height": 32, "aspect": "stretch", "interpolation": "linear"}, (64, 60)),
    ],
)
def test_other_geometries_give_the_host_form_s_logits(
    gpu: FakeCuda, tmp_path: Path, geometry: dict[str, Any], size: tuple[int, int]
) -> None:
    spec, frames = spec_of(*BOTH, geometry=WorkingGeometry(**geometry)), segments([7], size)
    with host_networks(spec) as host, device_networks(spec, tmp_path) as networks:
        for frame in frames:
            for each in (host, networks):
                each.admit(frame.image, first=frame.index == 0)
            assert np.array_equal(networks.infer(), host.infer())


@needs_extension
def test_a_flow_that_needs_more_iterations_gets_them(gpu: FakeCuda, tmp_path: Path) -> None:
    unrelated = np.random.default_rng(3).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    parameters = PARAMETER_SETS["paper"].model_copy(update={"scales": 1, "warps": 1, "epsilon": 1e-4})
    spec = spec_of("flow")
    with host_networks(spec, parameters) as host, device_networks(spec, tmp_path, parameters) as networks:
        for index, image in enumerate(unrelated):
            for each in (host, networks):
                each.admit(image, first=index == 0)
        assert np.array_equal(networks.infer(), host.infer())
    # In the usual rounds, and once more in all of them.
    assert gpu.calls.count("capture tvl1_begin") == gpu.calls.count("graph launch") == 2


def test_a_frame_costs_one_upload_and_three_launches_beside_flow_and_allocates_nothing(
    gpu: FakeCuda, tmp_path: Path
) -> None:
    spec = spec_of(*BOTH)
    with device_networks(spec, tmp_path) as networks:
        for index, image in enumerate(images(6)):
            gpu.calls.clear()
            networks.admit(image, first=index == 0)
            networks.infer()
        calls = [call for call in gpu.calls if not call.startswith("tvl1_")]
    assert calls == [
        *("event synchronize", "upload", "record", "prepare_working", "prepare_rgb", "record", "wait_for_event"),
        *("graph launch", "download"),  # 32 bytes: whether flow needs more iterations
        *("execute rgb", "download"),
        *("stream synchronize", "prepare_flow"),  # flow is waited for only now
        *("execute flow", "download", "stream synchronize", "stream synchronize"),
    ]


def captures_of(gpu: FakeCuda, stream: str) -> int:
    return gpu.calls.count(f"capture execute {stream}")


@needs_extension
@pytest.mark.parametrize(
    "graphs", ["captured", "no library", "begin capture", "end capture", "instantiate", "TensorRT"]
)
def test_engines_are_replayed_where_they_can_be_captured_with_the_same_logits(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphs: str
) -> None:
    if graphs == "no library":
        monkeypatch.setattr(cuda_driver, "_graph_library", lambda: None)
    monkeypatch.setattr(sys.modules["tensorrt"], "refuses_captures", graphs == "TensorRT")
    gpu.graphs.refuses = {graphs}
    spec, frames = spec_of(*BOTH), segments([31])
    with host_networks(spec) as host, device_networks(spec, tmp_path) as networks:
        for frame in frames:
            if frame.index == 30:
                gpu.calls.clear()
            for each in (host, networks):
                each.admit(frame.image, first=frame.index == 0)
            assert networks.infer().tobytes() == host.infer().tobytes()
        newest = [call for call in gpu.calls if "launch" in call or "execute" in call or "capture" in call]
    # One launch is flow's, which TensorRT cannot hinder.
    assert newest == {
        "captured": ["graph launch"] * 3,
        "TensorRT": ["graph launch", "execute rgb", "execute flow"],
    }.get(graphs, ["execute rgb", "execute flow"])


def test_an_engine_is_captured_once_per_address_of_its_clips(gpu: FakeCuda, tmp_path: Path) -> None:
    spec = spec_of(*BOTH)
    with device_networks(spec, tmp_path) as networks:
        for index, image in enumerate(images(20)):
            networks.admit(image, first=index == 0)
            networks.infer()
            if index == 5:
                # Every address has been met once, and what TensorRT does at first may not be captured.
                assert captures_of(gpu, "rgb") == 0
        assert captures_of(gpu, "rgb") == captures_of(gpu, "flow") == spec.clip.frames
        assert gpu.calls.count("execute rgb") == gpu.calls.count("execute flow") == spec.clip.frames
        assert len(gpu.graphs.live) == 2 * spec.clip.frames + 2  # flow's: a graph for each slot of its newest frame


def test_a_capture_that_failed_is_the_last(gpu: FakeCuda, tmp_path: Path) -> None:
    spec = spec_of("rgb")
    gpu.graphs.refuses = {"instantiate"}
    with device_networks(spec, tmp_path) as networks:
        for index, image in enumerate(images(20)):
            networks.admit(image, first=index == 0)
            networks.infer()
    assert captures_of(gpu, "rgb") == 1
    assert gpu.calls.count("execute rgb") == 20


def test_repeating_copies_one_slot_twice_per_stream(gpu: FakeCuda, tmp_path: Path) -> None:
    with device_networks(spec_of(*BOTH), tmp_path) as networks:
        for index, image in enumerate(images(3)):
            networks.admit(image, first=index == 0)
        networks.infer()
        gpu.calls.clear()
        networks.repeat()
        assert gpu.calls == ["copy"] * 4


def test_a_source_may_change_its_size_between_segments_only(gpu: FakeCuda, tmp_path: Path) -> None:
    small, large = images(3), images(3, size=(96, 128))
    spec = spec_of("rgb")
    with host_networks(spec) as host, device_networks(spec, tmp_path) as networks:
        for index, image in enumerate([*small, *large, *small]):
            for each in (host, networks):
                each.admit(image, first=index % 3 == 0)
            assert np.array_equal(networks.infer(), host.infer())
        for each in (host, networks):
            # Nothing has waited for the last frame of the size before.
            each.admit(small[0], first=True)
            each.admit(large[0], first=True)
        assert np.array_equal(networks.infer(), host.infer())
        with pytest.raises(EngineError, match="64 x 48 px follows one of another size"):
            networks.admit(small[0], first=False)


@pytest.mark.parametrize(("crop", "fits"), [(224, True), (112, True), (16, True), (101, False), (20, False)])
def test_clips_start_where_tensorrt_can_read_them(monkeypatch: pytest.MonkeyPatch, crop: int, fits: bool) -> None:
    monkeypatch.setattr("toolkit.engine.cuda.shutil.which", lambda name: "nvcc")
    spec = spec_of(*BOTH, inputs=(rgb_input(255, crop), flow_input(255, crop)))
    assert (DeviceNetworks.why_not(spec) is None) == fits


def test_kernels_need_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.engine.cuda.shutil.which", lambda name: None)
    assert "nvcc" in str(DeviceNetworks.why_not(spec_of(*BOTH)))


@pytest.mark.parametrize(
    ("streams", "flow", "crop", "nvcc", "expected"),
    [
        (BOTH, "auto", 16, True, DeviceNetworks),
        (("rgb",), "auto", 16, True, DeviceNetworks),
        (("flow",), "cuda", 16, True, DeviceNetworks),
        (("rgb",), "cpu", 16, True, DeviceNetworks),
        pytest.param(BOTH, "cpu", 16, True, HostNetworks, marks=needs_extension),
        (BOTH, "auto", 18, True, HostNetworks),
        (("rgb",), "auto", 16, False, HostNetworks),
    ],
)
def test_frames_stay_on_the_device_where_engines_and_flow_do(
    gpu: FakeCuda,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    streams: tuple[Stream, ...],
    flow: FlowChoice,
    crop: int,
    nvcc: bool,
    expected: type,
) -> None:
    inputs = [spec.model_copy(update={"crop": crop}) for spec in INPUTS.values() if spec.stream in streams]
    spec = spec_of(*streams, inputs=tuple(inputs))
    backends = {stream: TensorRtBackend(tmp_path / f"{stream}.plan", precision="fp16") for stream in streams}
    monkeypatch.setattr("toolkit.engine.networks.open_backends", lambda bundle, **options: backends)
    monkeypatch.setattr("toolkit.engine.cuda.shutil.which", lambda name: "nvcc" if nvcc else None)
    warnings: list[str] = []
    networks = open_networks(Bundle(tmp_path, spec, "0" * 64), flow=flow, warn=warnings.append)
    assert type(networks) is expected
    assert networks.engines["rgb" if "rgb" in streams else "flow"] == "tensorrt-10.3.0/Orin (sm87)/fp16"
    if isinstance(networks, DeviceNetworks) and networks._flow is not None:
        assert networks.engines["optical flow"] == "toolkit-tvl1-1/fast"
    about_frames = [line for line in warnings if line.startswith("networks: frames do not stay on the GPU")]
    assert bool(about_frames) == (crop == 18 or not nvcc)
    for estimator in (getattr(networks, "_flow", None), getattr(networks, "_estimator", None)):
        if isinstance(estimator, CudaFlow):
            estimator.close()


def test_other_engines_keep_frames_on_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.engine.networks.open_backends", lambda bundle, **options: {"rgb": RecordingBackend()})
    networks = open_networks(Bundle(tmp_path, spec_of("rgb"), "0" * 64), warn=print)
    assert isinstance(networks, HostNetworks)


def check_resident_clips() -> None:
    """Compare the clips on the device with the host form's, byte by byte; needs no engine."""
    spec, backends = spec_of(*BOTH), {"rgb": RecordingBackend(), "flow": RecordingBackend()}
    host, flow = HostNetworks(spec, CpuFlow(FAST), backends), CudaFlow(FAST)
    device = cuda_driver.CudaDevice(kernels=KERNELS, user=USER)
    with device.current():
        clips = ResidentClips(device, spec, flow)
        memory = DeviceMemory(device)
        for frame in segments([3, 9], (96, 120)):
            first = frame.index in (0, 3)
            clips.admit(frame.image, first=first)
            clips.finish_flow()
            host.admit(frame.image, first=first)
            if frame.index % 4 == 3:
                clips.repeat()
                host.repeat()
            host.infer()
            for stream in BOTH:
                expected = backends[stream].clips.pop().transpose(0, 2, 1, 3, 4)
                found = memory.pinned(expected.shape, np.float32)
                device.download(found, clips.clip(stream), clips.stream(stream))
                clips.stream(stream).synchronize()
                assert found.tobytes() == expected.tobytes(), (frame.index, stream)
        memory.free()
        clips.free()
    flow.close()
    device.close()


@needs_extension
@pytest.mark.parametrize("graphs", [True, False])
def test_flow_by_graphs_equals_the_cpu_s(gpu: FakeCuda, graphs: bool) -> None:
    if not graphs:
        gpu.graphs.refuses = {"begin capture"}
    frames = [grey_frame(image) for image in images(5)]
    with CudaFlow(FAST) as flow:
        cpu = CpuFlow(FAST)
        for previous, current in pairwise(frames):
            assert np.array_equal(flow.flow(previous, current), cpu.flow(previous, current))
    assert gpu.calls.count("capture tvl1_begin") == (2 if graphs else 0)
    assert gpu.calls.count("tvl1_begin") == (0 if graphs else 4)


@needs_extension
def test_clips_on_the_device_equal_the_host_form_s(gpu: FakeCuda) -> None:
    check_resident_clips()
