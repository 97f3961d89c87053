"""TV-L1 on a real GPU: the CPU's flow to the bit, graphs or not, and nothing that stays behind. Skipped without one."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.flow.test_cuda import QUICK, textured
from toolkit.errors import FlowError
from toolkit.flow import PARAMETER_SETS, FlowParameters, cuda_driver
from toolkit.flow.cpu import CpuFlow
from toolkit.flow.cuda import CudaFlow
from toolkit.frames import read_frames
from toolkit.preprocess import grey_frame

pytestmark = [
    pytest.mark.skipif(CudaFlow.available() is not None, reason=f"no GPU: {CudaFlow.available()}"),
    pytest.mark.skipif(CpuFlow.available() is not None, reason="the CPU extension was not built"),
]

VIDEOS = ["homecage/mit_side_view.mp4", "homecage/video5_groom_163.mpg", "openfield/m3v1.mp4"]


def noise(height: int, width: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (count, height, width), dtype=np.uint8)


def assert_equals_the_cpu(frames: NDArray[np.uint8], parameters: FlowParameters) -> None:
    cpu = CpuFlow(parameters)
    with CudaFlow(parameters) as gpu:
        for previous, current in pairwise(frames):
            assert gpu.flow(previous, current).tobytes() == cpu.flow(previous, current).tobytes()


@pytest.mark.parametrize("name", ["paper", "fast"])
@pytest.mark.parametrize("size", [(16, 16), (37, 53), (96, 128), (240, 320), (480, 640), (16, 4096)])
def test_pairs_equal_the_cpu_s(name: str, size: tuple[int, int]) -> None:
    assert_equals_the_cpu(textured(*size, 3), PARAMETER_SETS[name])


@pytest.mark.parametrize("median", [1, 3, 5])
def test_other_medians_equal_the_cpu_s(median: int) -> None:
    assert_equals_the_cpu(textured(49, 71, 3), QUICK.model_copy(update={"median": median}))


def test_pairs_that_need_every_round_equal_the_cpu_s() -> None:
    assert_equals_the_cpu(noise(96, 128, 3), PARAMETER_SETS["paper"])


@pytest.mark.parametrize("name", ["paper", "fast"])
@pytest.mark.parametrize("video", VIDEOS)
def test_real_footage_equals_the_cpu_s(real_footage: Path, video: str, name: str) -> None:
    frames = np.stack([grey_frame(frame.image) for frame in islice(read_frames(real_footage / video), 6)])
    assert_equals_the_cpu(frames, PARAMETER_SETS[name])


@pytest.mark.parametrize("pairs", [1, 5, 32, 33])
def test_batches_equal_the_cpu_s(pairs: int) -> None:
    frames, parameters = np.concatenate([textured(49, 71, pairs), noise(49, 71, 1)]), PARAMETER_SETS["fast"]
    cpu = CpuFlow(parameters)
    with CudaFlow(parameters) as gpu:
        found = gpu.flow_batch(frames)
    # What the CPU returns is borrowed until its next call.
    assert found.tobytes() == np.stack([cpu.flow(*pair).copy() for pair in pairwise(frames)]).tobytes()


def test_the_same_without_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_graph_library", lambda: None)
    assert_equals_the_cpu(textured(96, 128, 4), PARAMETER_SETS["paper"])


def test_this_driver_captures_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = []
    capture = cuda_driver.CudaDevice.capture

    def noted(device: cuda_driver.CudaDevice, *arguments: Any) -> cuda_driver.CudaGraph | None:
        captured.append(capture(device, *arguments))
        return captured[-1]

    monkeypatch.setattr(cuda_driver.CudaDevice, "capture", noted)
    assert_equals_the_cpu(textured(96, 128, 6), PARAMETER_SETS["paper"])
    assert captured
    assert None not in captured


def free_bytes() -> int:
    """Return the device's free memory, asked in a context of its own making."""
    device = cuda_driver.CudaDevice()
    import pycuda.driver

    with device.current():
        free = int(pycuda.driver.mem_get_info()[0])
    device.close()
    return free


def test_what_is_closed_leaves_nothing_behind() -> None:
    frames = textured(240, 320, 3)
    before = []
    for _ in range(6):
        with CudaFlow(PARAMETER_SETS["paper"]) as gpu:
            gpu.flow(frames[0], frames[1])
            gpu.flow_batch(frames)
        before.append(free_bytes())
    assert before[-1] == before[1]


def test_a_long_run_holds_on_to_nothing() -> None:
    frames = textured(96, 128, 20)
    with CudaFlow(PARAMETER_SETS["fast"]) as gpu:
        for previous, current in pairwise(frames):
            gpu.flow(previous, current)
        before = free_bytes()
        for _ in range(50):
            for previous, current in pairwise(frames):
                gpu.flow(previous, current)
        assert free_bytes() == before


def test_a_gpu_without_room_says_so_and_leaves_nothing_behind() -> None:
    frames = textured(480, 640, 2)
    before = free_bytes()
    with CudaFlow(PARAMETER_SETS["paper"], batch=100_000) as gpu:
        with pytest.raises(FlowError, match="out of memory"):
            gpu.flow_batch(frames)
        assert gpu.flow(frames[0], frames[1]).any()
    assert free_bytes() == before


def test_no_such_device() -> None:
    with pytest.raises(FlowError, match="no CUDA device 99"):
        CudaFlow(PARAMETER_SETS["paper"], device=99)
