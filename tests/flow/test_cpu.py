"""Our TV-L1 on the CPU against OpenCV's, against motions that are known, and against itself run otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from toolkit.errors import FlowError
from toolkit.flow import PARAMETER_SETS, OpenCvFlow
from toolkit.flow.cpu import CpuFlow, flow_batch

PAPER, FAST = PARAMETER_SETS["paper"], PARAMETER_SETS["fast"]
built = pytest.mark.skipif(CpuFlow.available() is not None, reason=str(CpuFlow.available()))


def test_the_extension_is_built_where_there_is_a_compiler() -> None:
    if shutil.which("g++") is None and shutil.which("c++") is None:
        pytest.skip("no C++ compiler here")
    assert CpuFlow.available() is None


def texture(height: int = 96, width: int = 128, seed: int = 3) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 20, 235, cv2.NORM_MINMAX)


def moved(image: NDArray[np.float32], matrix: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image and the same image after an affine motion of its content."""
    height, width = image.shape
    after = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.rint(image).astype(np.uint8), np.rint(np.clip(after, 0, 255)).astype(np.uint8)


def motion(matrix: NDArray[np.float64], height: int = 96, width: int = 128) -> NDArray[np.float64]:
    """Return the true flow of an affine motion."""
    y, x = np.mgrid[:height, :width].astype(float)
    at = np.stack([x, y, np.ones_like(x)], axis=-1)
    return at @ matrix.T - at[..., :2]


TRANSLATION = np.array([[1, 0, 1.5], [0, 1, -0.5]])
ROTATION = cv2.getRotationMatrix2D((63.5, 47.5), 2.0, 1.0)
ZOOM = cv2.getRotationMatrix2D((63.5, 47.5), 0.0, 1.03)


@built
@pytest.mark.parametrize("parameters", [PAPER, FAST], ids=lambda p: p.name)
@pytest.mark.parametrize("matrix", [TRANSLATION, ROTATION, ZOOM], ids=["translation", "rotation", "zoom"])
def test_a_known_motion_is_found(parameters: object, matrix: NDArray[np.float64]) -> None:
    previous, current = moved(texture(), matrix)
    flow = CpuFlow(parameters).flow(previous, current)
    assert flow.shape == (96, 128, 2)
    assert flow.dtype == np.float32
    error = np.linalg.norm(flow - motion(matrix), axis=2)[12:-12, 12:-12]
    assert error.mean() < 0.1


@built
@pytest.mark.parametrize("parameters", [PAPER, FAST], ids=lambda p: p.name)
@pytest.mark.parametrize("video", ["homecage/mit_side_view.mp4", "homecage/video5_groom_163.mpg", "openfield/m3v1.mp4"])
def test_it_agrees_with_opencv_on_real_footage(real_footage: Path, video: str, parameters: object) -> None:
    capture = cv2.VideoCapture(str(real_footage / video))
    errors = []
    ours, opencv = CpuFlow(parameters), OpenCvFlow(parameters)
    for start in (5, 60):
        capture.set(cv2.CAP_PROP_POS_FRAMES, start)
        pair = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY) for _ in range(2)]
        previous, current = (cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA) for image in pair)
        errors.append(np.linalg.norm(ours.flow(previous, current) - opencv.flow(previous, current), axis=2))
    assert np.mean(errors) <= 0.05
    assert np.percentile(errors, 99) <= 0.5


@built
def test_it_agrees_with_opencv_on_odd_sizes_and_a_3_px_median() -> None:
    parameters = PAPER.model_copy(update={"median": 3})
    previous, current = moved(texture(77, 101), TRANSLATION)
    difference = CpuFlow(parameters).flow(previous, current) - OpenCvFlow(parameters).flow(previous, current)
    assert np.linalg.norm(difference, axis=2).mean() <= 0.05


@built
def test_one_iteration_without_median_is_opencv_s_but_for_rounding() -> None:
    # With a fixed number of iterations the stopping test plays no part, and only the arithmetic can differ.
    fixed = {"median": 1, "inner_iterations": 20, "outer_iterations": 1, "epsilon": 1e-6}
    parameters = FAST.model_copy(update=fixed)
    previous, current = moved(texture(), TRANSLATION)
    difference = CpuFlow(parameters).flow(previous, current) - OpenCvFlow(parameters).flow(previous, current)
    inner = np.abs(difference)[4:-4, 4:-4]
    assert np.percentile(inner, 99) < 2e-3


@built
@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(16, 70),
    height=st.integers(16, 70),
    seed=st.integers(0, 2**32 - 1),
    contrast=st.sampled_from([0, 1, 255]),
)
def test_flow_is_finite_and_the_same_without_avx2(width: int, height: int, seed: int, contrast: int) -> None:
    generator = np.random.default_rng(seed)
    pair = generator.integers(0, contrast + 1, (2, height, width)).astype(np.uint8)
    flow = CpuFlow(PAPER).flow(*pair).copy()
    assert np.isfinite(flow).all()
    assert np.array_equal(flow, CpuFlow(PAPER, avx2=False).flow(*pair))


@built
@pytest.mark.parametrize("image", [np.full((40, 50), 7, np.uint8), np.rint(texture()).astype(np.uint8)])
def test_nothing_moves_between_equal_images(image: NDArray[np.uint8]) -> None:
    assert not CpuFlow(PAPER).flow(image, image.copy()).any()


@built
def test_a_constant_image_has_no_flow_to_another_one() -> None:
    assert not CpuFlow(PAPER).flow(np.full((40, 50), 7, np.uint8), np.full((40, 50), 90, np.uint8)).any()


@built
def test_swapped_frames_give_the_opposite_flow() -> None:
    previous, current = moved(texture(), TRANSLATION)
    there = CpuFlow(PAPER).flow(previous, current)[16:-16, 16:-16].mean(axis=(0, 1))
    back = CpuFlow(PAPER).flow(current, previous)[16:-16, 16:-16].mean(axis=(0, 1))
    assert there == pytest.approx(-back, abs=0.03)


@built
def test_mirrored_frames_give_mirrored_flow() -> None:
    # Pyramids of odd ratios and forward differences are not mirror symmetric to the last bit.
    previous, current = moved(texture(), TRANSLATION)
    flow = CpuFlow(FAST).flow(previous, current).copy()
    mirrored = CpuFlow(FAST).flow(previous[:, ::-1], current[:, ::-1])[:, ::-1] * np.float32([-1, 1])
    assert np.linalg.norm(flow - mirrored, axis=2)[8:-8, 8:-8].mean() < 0.02


@built
def test_a_translated_pair_gives_translated_flow() -> None:
    # By a multiple of every level's ratio to the finest (0.5, twice), so that pyramids translate too.
    image = texture(160, 192)
    previous, current = moved(image, ROTATION)
    here = CpuFlow(FAST).flow(previous[:128, :160], current[:128, :160]).copy()
    there = CpuFlow(FAST).flow(previous[8:136, 16:176], current[8:136, 16:176])
    difference = here[8 + 24 : -24, 16 + 24 : -24] - there[24 : -8 - 24, 24 : -16 - 24]
    assert np.linalg.norm(difference, axis=2).mean() < 0.01


@built
def test_the_kept_pyramid_and_threads_change_nothing() -> None:
    image = texture(48, 64)
    frames = np.stack([moved(image, np.array([[1, 0, 0.5 * i], [0, 1, 0.2 * i]]))[1] for i in range(6)])
    fresh = np.stack([CpuFlow(PAPER).flow(frames[i], frames[i + 1]) for i in range(5)])
    one = CpuFlow(PAPER)
    assert np.array_equal(fresh, np.stack([one.flow(frames[i], frames[i + 1]).copy() for i in range(5)]))
    assert np.array_equal(fresh, flow_batch(frames, PAPER, threads=1))
    assert np.array_equal(fresh, flow_batch(frames, PAPER, threads=3))
    # A pair that does not follow on the last one, and another size between.
    one.flow(frames[0, :32, :32], frames[1, :32, :32])
    assert np.array_equal(fresh[2], one.flow(frames[2], frames[3]))
    assert np.array_equal(fresh[0], one.flow(frames[0], frames[1]))


@built
def test_the_stopping_test_saves_work_where_nothing_moves() -> None:
    image = np.rint(texture()).astype(np.uint8)
    still, moving = CpuFlow(PAPER), CpuFlow(PAPER)
    still.flow(image, image.copy())
    moving.flow(*moved(texture(), TRANSLATION))
    # 5 warps of one group of 5 iterations on each of 5 levels, and no more.
    sides = [(128, 96), (102, 77), (82, 62), (66, 50), (53, 40)]
    assert still.pixel_iterations == sum(5 * 5 * w * h for w, h in sides)
    assert moving.pixel_iterations > still.pixel_iterations


@pytest.mark.parametrize("update", [{"gamma": 0.1}, {"median": 7}])
def test_parameters_that_only_opencv_has_are_refused(update: dict[str, float]) -> None:
    with pytest.raises(FlowError, match=r"[Ee]xpected"):
        CpuFlow(PAPER.model_copy(update=update))


@built
def test_bad_pairs_and_batches_are_refused() -> None:
    with pytest.raises(FlowError, match="found"):
        CpuFlow(PAPER).flow(np.zeros((48, 64), np.uint8), np.zeros((48, 60), np.uint8))
    with pytest.raises(FlowError, match="4096"):
        CpuFlow(PAPER).flow(np.zeros((16, 5000), np.uint8), np.zeros((16, 5000), np.uint8))
    with pytest.raises(FlowError, match="at least 2"):
        flow_batch(np.zeros((1, 48, 64), np.uint8), PAPER)
