"""OpenCV's TV-L1 through our contract, against a motion that is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from toolkit.errors import FlowError
from toolkit.flow import PARAMETER_SETS, OpenCvFlow


def texture(height: int = 96, width: int = 128) -> np.ndarray:
    noise = np.random.default_rng(3).integers(0, 256, (height, width)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.0), None, 20, 235, cv2.NORM_MINMAX)


@pytest.mark.parametrize("name", ["paper", "fast"])
def test_a_translation_is_found_x_first_from_previous_to_current(name: str) -> None:
    shift = np.float32([[1, 0, 1.5], [0, 1, -0.5]])
    previous = texture()
    current = cv2.warpAffine(previous, shift, (128, 96), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    flow = OpenCvFlow(PARAMETER_SETS[name]).flow(previous.astype(np.uint8), current.astype(np.uint8))
    assert flow.shape == (96, 128, 2)
    assert flow.dtype == np.float32
    assert np.median(flow[16:-16, 16:-16], axis=(0, 1)) == pytest.approx([1.5, -0.5], abs=0.1)


def test_parameters_reach_opencv() -> None:
    estimator = OpenCvFlow(PARAMETER_SETS["fast"])
    assert estimator.implementation == f"opencv-{cv2.__version__}"
    assert (estimator._algorithm.getScalesNumber(), estimator._algorithm.getWarpingsNumber()) == (3, 2)


def test_paper_parameters_are_opencv_s_defaults() -> None:
    default = cv2.optflow.DualTVL1OpticalFlow_create()
    ours = OpenCvFlow(PARAMETER_SETS["paper"])._algorithm
    getters = [name for name in dir(default) if name.startswith("get") and name != "getDefaultName"]
    assert len(getters) >= 11
    for getter in getters:
        assert getattr(ours, getter)() == getattr(default, getter)(), getter


@pytest.mark.parametrize(
    ("previous", "current"),
    [
        (np.zeros((48, 64), np.uint8), np.zeros((48, 60), np.uint8)),
        (np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64, 3), np.uint8)),
        (np.zeros((48, 64), np.float32), np.zeros((48, 64), np.float32)),
        (np.zeros((8, 64), np.uint8), np.zeros((8, 64), np.uint8)),
    ],
)
def test_a_bad_pair_is_refused(previous: np.ndarray, current: np.ndarray) -> None:
    with pytest.raises(FlowError, match="found"):
        OpenCvFlow(PARAMETER_SETS["fast"]).flow(previous, current)
