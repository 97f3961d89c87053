"""The CUDA kernels, run on the CPU: equal to the CPU path bit for bit, whatever the order of threads."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.flow.shim import KERNELS, Shim, compiler_report
from toolkit.flow import PARAMETER_SETS, FlowParameters, OpenCvFlow
from toolkit.flow.cpu import CpuFlow

QUICK = FlowParameters(name="quick", scales=2, warps=2, inner_iterations=12, outer_iterations=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shim")


def textured(height: int, width: int, count: int) -> NDArray[np.uint8]:
    """`count` frames of smooth waves that move by (0.7, -0.4) px a frame."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for i in range(count):
        u, v = x - 0.7 * i, y + 0.4 * i
        frames.append(128 + 60 * np.sin(u / 3.1 + v / 7) + 50 * np.cos(v / 2.7 - u / 9))
    return np.asarray(np.rint(frames), dtype=np.uint8)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (49, 71), (96, 128)])
def test_order_of_threads_does_not_matter(folder: Path, size: tuple[int, int]) -> None:
    frames = textured(*size, 2)
    forwards, _ = Shim(folder).flow(frames, QUICK)
    backwards, _ = Shim(folder, backwards=True).flow(frames, QUICK)
    assert forwards.tobytes() == backwards.tobytes()


def test_a_missing_barrier_is_caught(folder: Path) -> None:
    frames = textured(49, 71, 2)
    without = "-DBARRIER_AFTER_PRIMAL="
    forwards, _ = Shim(folder, without).flow(frames, QUICK)
    backwards, _ = Shim(folder, without, backwards=True).flow(frames, QUICK)
    assert forwards.tobytes() != backwards.tobytes()


@pytest.mark.skipif(CpuFlow.available() is not None, reason="the CPU extension was not built")
@pytest.mark.parametrize(("name", "size"), [("paper", (96, 128)), ("fast", (96, 128)), ("fast", (37, 53))])
def test_equals_the_cpu_path(folder: Path, name: str, size: tuple[int, int]) -> None:
    frames = textured(*size, 2)
    flow, _ = Shim(folder).flow(frames, PARAMETER_SETS[name])
    assert flow[0].tobytes() == CpuFlow(PARAMETER_SETS[name]).flow(frames[0], frames[1]).tobytes()


def test_batch_equals_single_pairs(folder: Path) -> None:
    frames = textured(49, 71, 4)
    batch, _ = Shim(folder).flow(frames, QUICK)
    singles = [Shim(folder).flow(frames[i : i + 2], QUICK)[0][0] for i in range(3)]
    assert batch.tobytes() == np.array(singles).tobytes()


def test_finds_a_translation(folder: Path) -> None:
    flow, _ = Shim(folder).flow(textured(96, 128, 2), PARAMETER_SETS["paper"])
    assert np.abs(flow[0, 16:-16, 16:-16] - [0.7, -0.4]).mean() < 0.1


def test_neither_zero_motion_nor_no_texture_moves(folder: Path) -> None:
    frames = textured(33, 40, 2)
    for still in (np.repeat(frames[:1], 2, axis=0), np.full_like(frames, 90)):
        assert not Shim(folder).flow(still, QUICK)[0].any()


def test_agrees_with_opencv(folder: Path) -> None:
    frames = textured(96, 128, 2)
    ours = Shim(folder).flow(frames, PARAMETER_SETS["paper"])[0][0]
    opencv = OpenCvFlow(PARAMETER_SETS["paper"]).flow(frames[0], frames[1])
    difference = np.linalg.norm(ours - opencv, axis=2)
    assert difference.mean() <= 0.05
    assert np.percentile(difference, 99) <= 0.5


def test_agrees_with_opencv_on_real_footage(folder: Path, real_footage: Path) -> None:
    capture = cv2.VideoCapture(str(real_footage / "homecage" / "video5_groom_163.mpg"))
    frames = np.stack([cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY)[100:196, 100:228] for _ in range(2)])
    ours = Shim(folder).flow(frames, PARAMETER_SETS["paper"])[0][0]
    difference = np.linalg.norm(ours - OpenCvFlow(PARAMETER_SETS["paper"]).flow(frames[0], frames[1]), axis=2)
    assert difference.mean() <= 0.05
    assert np.percentile(difference, 99) <= 0.5


@pytest.mark.skipif(CpuFlow.available() is not None, reason="the CPU extension was not built")
@pytest.mark.parametrize("median", [1, 3])
def test_other_medians_equal_the_cpu_path(folder: Path, median: int) -> None:
    parameters, frames = QUICK.model_copy(update={"median": median}), textured(49, 71, 2)
    flow, _ = Shim(folder).flow(frames, parameters)
    assert flow[0].tobytes() == CpuFlow(parameters).flow(frames[0], frames[1]).tobytes()


def test_fewer_rounds_are_launched_and_a_pair_that_needs_more_says_so(folder: Path) -> None:
    frames = np.stack([textured(96, 128, 1)[0], np.random.default_rng(1).integers(0, 256, (96, 128), dtype=np.uint8)])
    parameters = PARAMETER_SETS["paper"]
    every, few = Shim(folder), Shim(folder)
    calm, unrelated = textured(96, 128, 2), frames
    flow, controls = few.flow(calm, parameters, rounds=2)
    assert controls["unfinished"][0] == 0
    assert controls["stopped"][0] == 1
    assert flow.tobytes() == every.flow(calm, parameters)[0].tobytes()
    # 5 + 1 + 5 levels of (1 + 5 warps of (1 + 2 rounds of 7)), + 1: what a captured pair launches.
    assert few.launches == 5 + 1 + 5 * (1 + 5 * (1 + 2 * 7)) + 1
    _, controls = few.flow(unrelated, parameters, rounds=1)
    assert controls["unfinished"][0] == 1 or controls["stopped"][0] == 0


@pytest.mark.parametrize("architecture", ["sm_87", "sm_90", "sm_110"])
def test_every_kernel_compiles_without_spills(tmp_path: Path, architecture: str) -> None:
    source = KERNELS / "tvl1.cu"
    report = compiler_report(source, tmp_path, architecture)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) == source.read_text().count("\nKERNEL ")
    assert set(spills) == {("0", "0")}
