"""The device runtime on a real GPU, networks by torch in TensorRT's place: the host form's clips and logits to the bit.

Skipped without a GPU. What TensorRT itself does stays unverified (docs/device-runtime.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.bundles import RecordingBackend
from tests.engine.device_parts import BOTH, FAST, images, needs_extension, segments, spec_of
from tests.engine.torch_plan import both_forms
from toolkit.clips import ClipGeometry
from toolkit.engine.cuda import KERNELS, USER
from toolkit.engine.device_memory import DeviceMemory
from toolkit.engine.host import HostNetworks
from toolkit.engine.resident import ResidentClips
from toolkit.flow import PARAMETER_SETS, cuda_driver
from toolkit.flow.cpu import CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.pipeline import Pipeline
from toolkit.preprocess import Stream, StreamInput, WorkingGeometry, flow_input, rgb_input

torch = pytest.importorskip("torch")

SMALL: dict[Stream, StreamInput] = {"rgb": rgb_input(36, 32), "flow": flow_input(36, 32)}

pytestmark = [
    pytest.mark.skipif(CudaFlow.available() is not None, reason=f"no GPU: {CudaFlow.available()}"),
    needs_extension,
]


@pytest.mark.parametrize(
    ("geometry", "size"),
    [
        ({"width": 64, "height": 48}, (48, 64)),
        ({"width": 64, "height": 48}, (96, 120)),
        ({"width": 320, "height": 240}, (480, 640)),
        ({"width": 320, "height": 240}, (720, 1280)),
        ({"width": 64, "height": 48, "roi": (5, 3, 80, 60)}, (70, 96)),
        ({"width": 64, "height": 48, "aspect": "pad", "light": "infrared"}, (96, 96)),
        ({"width": 48, "height": 32, "aspect": "stretch", "interpolation": "linear"}, (64, 60)),
        ({"width": 101, "height": 67, "interpolation": "area"}, (333, 517)),
    ],
)
def test_clips_equal_the_host_form_s(geometry: dict[str, Any], size: tuple[int, int]) -> None:
    spec = spec_of(*BOTH, geometry=WorkingGeometry(**geometry))
    backends = {"rgb": RecordingBackend(), "flow": RecordingBackend()}
    host, flow = HostNetworks(spec, CpuFlow(FAST), backends), CudaFlow(FAST)
    device = cuda_driver.CudaDevice(kernels=KERNELS, user=USER)
    with device.current():
        clips, memory = ResidentClips(device, spec, flow), DeviceMemory(device)
        for frame in segments([3, 9], size):
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


@pytest.mark.parametrize("streams", [BOTH, ("rgb",), ("flow",)])
@pytest.mark.parametrize("stride", [1, 3])
def test_logits_equal_the_host_form_s(streams: tuple[Stream, ...], stride: int) -> None:
    spec = spec_of(*streams, inputs=tuple(SMALL[stream] for stream in streams))
    device, host = both_forms(spec, "r2plus1d-small", FAST)
    frames = segments([1, 2, 9, 40])
    with device, host:
        results = []
        for networks in (device, host):
            pipeline = Pipeline(spec, networks, source_fps=30.0, stride=stride)
            labelled = [result for frame in frames for result in pipeline.push(frame)] + pipeline.end_segment()
            results.append(np.stack([each.logits for each in labelled]))
    assert np.isfinite(results[0]).all()
    assert np.ptp(results[0], axis=0).max() > 0
    assert results[0].tobytes() == results[1].tobytes()


def test_networks_are_replayed_as_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = []
    capture = cuda_driver.CudaDevice.capture

    def noted(device: cuda_driver.CudaDevice, *arguments: Any) -> cuda_driver.CudaGraph | None:
        captured.append(capture(device, *arguments))
        return captured[-1]

    monkeypatch.setattr(cuda_driver.CudaDevice, "capture", noted)
    spec = spec_of(*BOTH, inputs=tuple(SMALL.values()))
    device, _ = both_forms(spec, "r2plus1d-small", FAST)
    with device:
        for index, image in enumerate(images(40)):
            device.admit(image, first=index == 0)
            device.infer()
    assert None not in captured
    assert len(captured) == 2 * spec.clip.frames + 2  # flow's: one for each slot of its newest frame


def test_what_is_left_leaves_nothing_behind() -> None:
    spec = spec_of(*BOTH, inputs=tuple(SMALL.values()))
    free = []
    for _ in range(6):
        device, _host = both_forms(spec, "r2plus1d-small", FAST)
        with device:
            for index, image in enumerate(images(40)):
                device.admit(image, first=index == 0)
                device.infer()
        free.append(torch.cuda.mem_get_info()[0])
    # Not every megabyte that the driver keeps is ours; what grows with each opening would be.
    assert free[-1] >= free[2] - 4 * 2**20, free


def test_the_paper_s_networks_run_beside_flow() -> None:
    inputs = (rgb_input(255, 224), flow_input(255, 224))
    spec = spec_of(*BOTH, inputs=inputs, geometry=WorkingGeometry(width=320, height=240), clip=ClipGeometry())
    device, host = both_forms(spec, "i3d", PARAMETER_SETS["paper"])
    with device, host:
        for index, image in enumerate(images(20, size=(480, 640))):
            for networks in (device, host):
                networks.admit(image, first=index == 0)
            assert device.infer().tobytes() == host.infer().tobytes()
