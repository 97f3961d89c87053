"""From source frame to network input, against other libraries' resize and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from toolkit.errors import VideoError
from toolkit.preprocess import StreamInput, WorkingGeometry, flow_input, grey_frame, rgb_input


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_grey_is_bt601_full_range() -> None:
    image = random_image(24, 32)
    expected = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey_frame(image) - expected).max() <= 0.51


def test_a_frame_of_working_size_is_not_touched() -> None:
    image = random_image(240, 320)
    assert np.array_equal(WorkingGeometry().working_frame(image), image)


def test_halving_by_area_is_the_mean_of_four_pixels() -> None:
    image = random_image(96, 128)
    expected = image.reshape(48, 2, 64, 2, 3).mean(axis=(1, 3))
    working = WorkingGeometry(width=64, height=48).working_frame(image)
    assert np.abs(working - expected).max() <= 0.51


def test_the_region_of_interest_comes_first() -> None:
    image = random_image(100, 100)
    geometry = WorkingGeometry(width=40, height=30, roi=(7, 11, 40, 30))
    assert np.array_equal(geometry.working_frame(image), image[11:41, 7:47])


def test_infrared_frames_lose_their_colour() -> None:
    working = WorkingGeometry(width=32, height=24, light="infrared").working_frame(random_image(24, 32))
    assert np.array_equal(working[..., 0], working[..., 1])
    assert np.array_equal(working[..., 0], working[..., 2])


def test_padding_keeps_the_shape_of_things() -> None:
    image = np.full((100, 100, 3), 200, dtype=np.uint8)
    working = WorkingGeometry(width=80, height=60, aspect="pad").working_frame(image)
    assert working.shape == (60, 80, 3)
    assert (working[30] > 100).all(axis=-1).sum() == pytest.approx(60, abs=1)


@pytest.mark.parametrize(
    ("size", "fps", "words"),
    [
        ((640, 360), 30.0, "aspect"),
        ((320, 240), 25.0, "slower camera"),
        ((320, 240), 31.0, "without gaps"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(size: tuple[int, int], fps: float, words: str) -> None:
    with pytest.raises(VideoError, match=words):
        WorkingGeometry().check_source(*size, fps, "cam")


def test_a_region_outside_the_picture_is_refused() -> None:
    with pytest.raises(VideoError, match="reaches outside"):
        WorkingGeometry(roi=(100, 0, 320, 240)).check_source(320, 240, 30.0, "cam")


@pytest.mark.parametrize("fps", [29.97, 30.0, 30.3, 60.0, 50.0])
def test_a_source_that_fits_passes(fps: float) -> None:
    WorkingGeometry().check_source(640, 480, fps, "cam")


def test_rgb_input_is_in_minus_one_to_one() -> None:
    spec = rgb_input(24, 16)
    out = np.empty((3, 16, 16), dtype=np.float32)
    spec.network_frame(np.full((24, 24, 3), (0, 255, 51), dtype=np.uint8), out)
    assert out[:, 5, 5] == pytest.approx([-1.0, 1.0, -0.6], abs=1e-6)


def test_mean_and_deviation_are_applied_per_channel() -> None:
    spec = rgb_input(24, 16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
    out = np.empty((3, 16, 16), dtype=np.float32)
    spec.network_frame(np.full((24, 24, 3), 102, dtype=np.uint8), out)
    assert out[:, 0, 0] == pytest.approx([0.0, -0.4, -0.4], abs=1e-6)


def test_the_crop_is_central_unless_a_corner_is_given() -> None:
    image = random_image(20, 20)
    spec = rgb_input(20, 16)
    central, corner = np.empty((2, 3, 16, 16), dtype=np.float32)
    spec.network_frame(image, central)
    spec.network_frame(image, corner, corner=(0, 3))
    scaled = (image / 127.5 - 1).transpose(2, 0, 1)
    assert central == pytest.approx(scaled[:, 2:18, 2:18], abs=1e-6)
    assert corner == pytest.approx(scaled[:, 0:16, 3:19], abs=1e-6)


def test_mirroring_flow_negates_its_horizontal_channel() -> None:
    flow = np.random.default_rng(0).normal(0, 3, (20, 20, 2)).astype(np.float32)
    spec = flow_input(20, 20)
    plain, mirrored = np.empty((2, 2, 20, 20), dtype=np.float32)
    spec.network_frame(flow, plain)
    spec.network_frame(flow, mirrored, mirror=True)
    assert np.array_equal(mirrored[0], -plain[0, :, ::-1])
    assert np.array_equal(mirrored[1], plain[1, :, ::-1])


def test_flow_is_divided_by_its_bound_and_not_rescaled_by_the_resize() -> None:
    spec = flow_input(40, 32, bound_px=20.0)
    out = np.empty((2, 32, 32), dtype=np.float32)
    flow = np.full((20, 30, 2), (5.0, -10.0), dtype=np.float32)
    spec.network_frame(flow, out)
    assert out[:, 7, 9] == pytest.approx([0.25, -0.5])


def test_an_inconsistent_input_is_refused() -> None:
    with pytest.raises(ValidationError, match="must not exceed"):
        rgb_input(112, 128)
    with pytest.raises(ValidationError, match="2 values"):
        StreamInput(stream="flow", resize=32, crop=32, scale=(1.0,), offset=(0.0,))
