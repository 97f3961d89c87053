"""Frames that stay on the device, over a driver that is played on the CPU: the host's logits, in a proven order."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import RecordingBackend, manifest
from tests.engine.fake_cuda import FakeCuda, Hazard, fake_tensorrt, logits_of, plan_bytes
from tests.engine.tiny import FunctionBackend
from toolkit.bundle import Bundle, Manifest
from toolkit.clips import ClipGeometry
from toolkit.engine.cuda import KERNELS, USER, DeviceNetworks
from toolkit.engine.device_memory import DeviceMemory
from toolkit.engine.host import HostNetworks
from toolkit.engine.networks import open_networks
from toolkit.engine.plan import PlanFile
from toolkit.engine.resident import ResidentClips
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.errors import EngineError
from toolkit.flow import PARAMETER_SETS, FlowChoice, cuda_driver
from toolkit.flow.cpu import CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.frames import NS_PER_S, Frame
from toolkit.fusion import fusion_for
from toolkit.pipeline import CentreLogits, Pipeline
from toolkit.preprocess import Stream, StreamInput, WorkingGeometry, flow_input, rgb_input

FAST = PARAMETER_SETS["fast"]
INPUTS: dict[Stream, StreamInput] = {"rgb": rgb_input(20, 16), "flow": flow_input(20, 16)}
BOTH: tuple[Stream, ...] = ("rgb", "flow")
CLASSES = 8

needs_extension = pytest.mark.skipif(CpuFlow.available() is not None, reason="the CPU extension was not built")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shims")


@pytest.fixture
def cuda(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """Play a machine with a GPU, PyCUDA, nvcc and TensorRT; prove at the end that nothing is left on it."""
    driver = FakeCuda(folder)
    package, compiler = ModuleType("pycuda"), ModuleType("pycuda.compiler")
    compiler.compile = lambda source, **options: b"cubin"  # type: ignore[attr-defined]
    package.driver, package.compiler = driver, compiler  # type: ignore[attr-defined]
    modules = {"pycuda": package, "pycuda.driver": driver, "pycuda.compiler": compiler}
    for name, module in {**modules, "tensorrt": fake_tensorrt(driver)}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cuda_driver, "_graph_library", lambda: None)
    yield driver
    assert (driver.depth, driver.retained, driver.executions) == (0, 0, 0)
    assert not [block for block in driver.blocks if block.kind == "device"]


def spec_of(*streams: Stream, **changes: Any) -> Manifest:
    inputs = tuple(INPUTS[stream] for stream in streams)
    fields = {"inputs": inputs, "fusion": fusion_for(streams), "clip": ClipGeometry(before=3, after=2)}
    return manifest(**{**fields, **changes})


def device_networks(spec: Manifest, folder: Path) -> DeviceNetworks:
    plans = {}
    for stream in spec.inputs:
        path = folder / f"{stream.stream}.plan"
        shape = (spec.clip.frames, stream.channels, stream.crop, stream.crop)
        path.write_bytes(plan_bytes(stream.stream, shape, CLASSES))
        plans[stream.stream] = PlanFile(path, "fp16")
    return DeviceNetworks(spec, plans, CudaFlow(FAST) if "flow" in spec.streams else None)


def host_networks(spec: Manifest) -> HostNetworks:
    def network(clips: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits_of(np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4)), CLASSES)

    estimator = CpuFlow(FAST) if "flow" in spec.streams else None
    return HostNetworks(spec, estimator, {stream: FunctionBackend(network) for stream in spec.streams})


def images(count: int, *, size: tuple[int, int] = (48, 64), seed: int = 0) -> list[NDArray[np.uint8]]:
    """Frames of smooth coloured waves that move, with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    shifts = np.cumsum(rng.normal(0, 0.8, (count, 2)), axis=0)
    waves = [
        [128 + 60 * np.sin((x - u) / 4 + c) + 40 * np.cos((y - v) / 5 - (x - u) / 11) for c in range(3)]
        for u, v in shifts
    ]
    noisy = np.stack(waves).transpose(0, 2, 3, 1) + rng.normal(0, 2, (count, *size, 3))
    return list(noisy.clip(0, 255).astype(np.uint8))


def segments(lengths: Sequence[int], size: tuple[int, int] = (48, 64)) -> list[Frame]:
    """Segments of these lengths, half a second apart."""
    frames: list[Frame] = []
    start_ns = 0
    for length, image in zip(lengths, (images(n, size=size, seed=n) for n in lengths), strict=True):
        frames += [Frame(len(frames) + i, start_ns + i * NS_PER_S // 30, image[i]) for i in range(length)]
        start_ns += length * NS_PER_S // 30 + NS_PER_S // 2
    return frames


def labelled(pipeline: Pipeline, frames: Sequence[Frame]) -> list[CentreLogits]:
    results = [result for frame in frames for result in pipeline.push(frame)]
    return results + pipeline.end_segment()


@needs_extension
@pytest.mark.parametrize("streams", [BOTH, ("rgb",), ("flow",)])
@pytest.mark.parametrize("stride", [1, 3])
def test_the_pipeline_gives_the_host_form_s_logits(
    cuda: FakeCuda, tmp_path: Path, streams: tuple[Stream, ...], stride: int
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
    cuda: FakeCuda, tmp_path: Path, geometry: dict[str, Any], size: tuple[int, int]
) -> None:
    spec, frames = spec_of(*BOTH, geometry=WorkingGeometry(**geometry)), segments([7], size)
    with host_networks(spec) as host, device_networks(spec, tmp_path) as networks:
        for frame in frames:
            for each in (host, networks):
                each.admit(frame.image, first=frame.index == 0)
            assert np.array_equal(networks.infer(), host.infer())


@needs_extension
def test_a_flow_that_needs_more_iterations_gets_them(cuda: FakeCuda, tmp_path: Path) -> None:
    unrelated = np.random.default_rng(3).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    parameters = PARAMETER_SETS["paper"].model_copy(update={"scales": 1, "warps": 1, "epsilon": 1e-4})
    spec = spec_of("flow")
    networks = device_networks(spec, tmp_path)
    with HostNetworks(spec, CpuFlow(parameters), host_networks(spec)._backends) as host:
        networks._flow.close()
        networks._flow = CudaFlow(parameters)
        with networks:
            for index in range(2):
                networks.admit(unrelated[index], first=index == 0)
                host.admit(unrelated[index], first=index == 0)
            assert np.array_equal(networks.infer(), host.infer())
    assert cuda.calls.count("tvl1_begin") == 2


def test_a_frame_costs_one_upload_and_three_launches_beside_flow_and_allocates_nothing(
    cuda: FakeCuda, tmp_path: Path
) -> None:
    spec = spec_of(*BOTH)
    with device_networks(spec, tmp_path) as networks:
        for index, image in enumerate(images(6)):
            cuda.calls.clear()
            networks.admit(image, first=index == 0)
            networks.infer()
        calls = [call for call in cuda.calls if not call.startswith("tvl1_")]
    assert calls == [
        *("event synchronize", "upload", "record", "prepare_working", "prepare_rgb", "record", "wait_for_event"),
        *("download",),  # 32 bytes: whether flow needs more iterations
        *("execute rgb", "download"),
        *("stream synchronize", "prepare_flow"),  # flow is waited for only now
        *("execute flow", "download", "stream synchronize", "stream synchronize"),
    ]


def test_repeating_copies_one_slot_twice_per_stream(cuda: FakeCuda, tmp_path: Path) -> None:
    with device_networks(spec_of(*BOTH), tmp_path) as networks:
        for index, image in enumerate(images(3)):
            networks.admit(image, first=index == 0)
        networks.infer()
        cuda.calls.clear()
        networks.repeat()
        assert cuda.calls == ["copy"] * 4


def test_a_source_may_change_its_size_between_segments_only(cuda: FakeCuda, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_a_wrong_frame_is_one_error(cuda: FakeCuda, tmp_path: Path, image: NDArray[Any]) -> None:
    with (
        device_networks(spec_of("rgb"), tmp_path) as networks,
        pytest.raises(EngineError, match=r"expected a frame of \(H, W, 3\) uint8 RGB, found"),
    ):
        networks.admit(image, first=True)


def test_a_region_outside_the_frame_is_one_error(cuda: FakeCuda, tmp_path: Path) -> None:
    spec = spec_of("rgb", geometry=WorkingGeometry(width=64, height=48, roi=(10, 0, 64, 48)))
    with device_networks(spec, tmp_path) as networks, pytest.raises(EngineError, match="reaches outside"):
        networks.admit(images(1)[0], first=True)


def test_another_bundle_s_plan_is_one_error(cuda: FakeCuda, tmp_path: Path) -> None:
    networks = device_networks(spec_of("rgb"), tmp_path)
    (tmp_path / "rgb.plan").write_bytes(plan_bytes("rgb", (16, 3, 16, 16), CLASSES))
    with pytest.raises(EngineError, match=r"frames=6.*found.*frames=16.*build-engine"), networks:
        pass


def test_networks_that_are_not_open_say_so(cuda: FakeCuda, tmp_path: Path) -> None:
    networks = device_networks(spec_of("rgb"), tmp_path)
    with networks:
        pass
    with pytest.raises(EngineError, match="with block"):
        networks.infer()


def run_shortly(spec: Manifest, folder: Path) -> NDArray[np.float32]:
    frames = images(5)
    with device_networks(spec, folder) as networks:
        for index, image in enumerate(frames):
            networks.admit(image, first=index == 0)
        networks.repeat()
        return networks.infer()


@pytest.mark.parametrize("streams", [BOTH, ("rgb",)])
def test_a_device_that_vanishes_at_any_call_is_one_error_and_leaves_nothing(
    cuda: FakeCuda, tmp_path: Path, streams: tuple[Stream, ...]
) -> None:
    spec = spec_of(*streams)
    run_shortly(spec, tmp_path)
    calls, opening = list(cuda.calls), 0
    if "flow" in streams:
        # Flow is opened before the networks, by whoever chooses it, with errors of its own.
        opening = 1 + calls.index("module_from_buffer")
    firsts = {name: calls.index(name, opening) for name in calls[opening:] if name in calls[opening:]}
    lasts = {name: len(calls) - 1 - calls[::-1].index(name) for name in firsts}
    # What only leaving calls may fail unsaid.
    last = calls.index("stream synchronize", lasts["download"]) if "download" in lasts else len(calls)
    for at in sorted({*firsts.values(), *lasts.values()}):
        if at > last:
            continue
        cuda.calls.clear()
        cuda.lost, cuda.fail_at = False, at
        with pytest.raises(EngineError, match=r"illegal memory access.*Restart the process\."):
            run_shortly(spec, tmp_path)
        assert (cuda.depth, cuda.retained, cuda.executions) == (0, 0, 0), calls[at]
        assert not [block for block in cuda.blocks if block.kind == "device"], calls[at]


def test_short_memory_is_one_error_and_leaves_nothing(cuda: FakeCuda, tmp_path: Path) -> None:
    spec, everything = spec_of(*BOTH), cuda.free_bytes
    run_shortly(spec, tmp_path)
    needed = everything - cuda.free_bytes
    for short in range(1, 20):
        cuda.free_bytes = needed - short * needed // 20
        with pytest.raises(EngineError, match="out of memory"):
            run_shortly(spec, tmp_path)
        assert (cuda.depth, cuda.retained, cuda.executions) == (0, 0, 0)
        assert not [block for block in cuda.blocks if block.kind == "device"]
    cuda.free_bytes = needed
    run_shortly(spec, tmp_path)


def test_page_locked_memory_is_given_back(cuda: FakeCuda, tmp_path: Path) -> None:
    run_shortly(spec_of("rgb"), tmp_path)
    assert cuda.blocks == []


def test_without_the_event_flow_would_read_a_grey_image_that_is_being_written(cuda: FakeCuda, tmp_path: Path) -> None:
    cuda.ignored = {"wait_for_event"}
    with pytest.raises(Hazard, match=r"tvl1_load on stream 1 and prepare_working on stream 2 meet"):
        run_shortly(spec_of(*BOTH), tmp_path)


def test_without_the_event_the_host_would_overwrite_a_frame_on_its_way_up(cuda: FakeCuda, tmp_path: Path) -> None:
    cuda.ignored = {"event synchronize"}
    with pytest.raises(Hazard, match="host overwrote page-locked memory before its upload was done"):
        run_shortly(spec_of("rgb"), tmp_path)


def test_without_waiting_for_flow_the_next_frame_would_overwrite_its_grey_image(
    cuda: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver.CudaDevice, "wait", lambda device: None)
    with pytest.raises(Hazard, match=r"meet in device memory of 3072 bytes"):
        run_shortly(spec_of(*BOTH), tmp_path)


def test_without_waiting_for_the_engines_logits_would_be_garbage(
    cuda: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with device_networks(spec_of("rgb"), tmp_path) as networks:
        networks.admit(images(1)[0], first=True)
        cuda.ignored = {"stream synchronize"}
        assert np.isnan(networks.infer()).all()
        cuda.ignored = set()


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
    cuda: FakeCuda,
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
def test_clips_on_the_device_equal_the_host_form_s(cuda: FakeCuda) -> None:
    check_resident_clips()


@needs_extension
def test_clips_on_a_gpu_equal_the_host_form_s_where_there_is_one() -> None:
    if CudaFlow.available() is not None:
        pytest.skip(f"no GPU: {CudaFlow.available()}")
    check_resident_clips()
