"""Colours of flow, by hand: direction is hue, speed is saturation."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from toolkit.flow.picture import flow_colours, flow_picture


def one(u: float, v: float, max_px: float = 4.0) -> list[int]:
    return [int(c) for c in flow_colours(np.full((1, 1, 2), (u, v), dtype=np.float32), max_px)[0, 0]]


def test_no_motion_is_white() -> None:
    assert one(0, 0) == [255, 255, 255]


def test_right_is_red_and_left_its_complement() -> None:
    assert one(4, 0) == [255, 0, 0]
    assert one(-4, 0) == [0, 255, 255]


@pytest.mark.parametrize("degrees", [30, 90, 135, 200, 270, 330])
def test_colours_are_those_of_the_hsv_circle(degrees: float) -> None:
    u, v = 2 * np.cos(np.radians(degrees)), 2 * np.sin(np.radians(degrees))
    expected = np.array(colorsys.hsv_to_rgb(degrees / 360, 0.5, 1)) * 255
    np.testing.assert_allclose(one(u, v), expected, atol=1.5)


def test_faster_than_the_scale_is_no_other_colour() -> None:
    assert one(0, 9) == one(0, 4)


def test_a_picture_holds_the_frame_its_flow_and_a_legend() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    flow = np.zeros((240, 320, 2), dtype=np.float32)
    flow[..., 0] = 4
    picture = flow_picture(frame, flow, 4.0, "mouse.mp4, frame 0 to 1")
    np.testing.assert_array_equal(picture[8:248, 8:328], frame)
    np.testing.assert_array_equal(picture[8:248, 336:656], np.broadcast_to((255, 0, 0), (240, 320, 3)))
    legend = picture[:240, 664:]
    assert len(np.unique(legend.reshape(-1, 3), axis=0)) > 500
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0


def test_small_frames_are_enlarged() -> None:
    picture = flow_picture(np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64, 2), np.float32), 1.0)
    assert (picture[8:248, 8:328] == 0).all()
