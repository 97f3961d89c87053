"""True flow against motions that can be written down, and against the renderer's own pictures."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from toolkit.synth import SyntheticVideo
from toolkit.synth.render import Renderer
from toolkit.synth.scene import Appearance, Camera, Pose, SceneState
from toolkit.synth.true_flow import FlowTruth

SIZE = (320, 240)
LOOK = replace(Appearance.draw(np.random.default_rng(5), "agouti"), noise_sigma=0.0)
CAMERA = Camera.of(LOOK, SIZE)


@pytest.fixture(scope="module")
def truth() -> FlowTruth:
    return FlowTruth(LOOK, SIZE)


def test_a_mouse_that_stands_still_moves_nowhere(truth: FlowTruth) -> None:
    still = truth.between(Pose(), Pose())
    np.testing.assert_allclose(still.flow, 0, atol=1e-5)
    assert still.valid.all()
    assert 0.02 < still.mouse.mean() < 0.2


def test_a_mouse_that_is_shifted_moves_as_one(truth: FlowTruth) -> None:
    step = 3 / CAMERA.scale
    moved = truth.between(Pose(x=160), Pose(x=160 + step))
    np.testing.assert_allclose(moved.flow[moved.mouse], np.broadcast_to((3, 0), (moved.mouse.sum(), 2)), atol=1e-5)
    np.testing.assert_array_equal(moved.flow[~moved.mouse], 0)
    # The cage that the mouse covers in the later frame is no longer to be seen.
    later = truth.between(Pose(x=160 + step), Pose(x=160 + step)).mouse
    np.testing.assert_array_equal(moved.valid[~moved.mouse], ~later[~moved.mouse])
    assert (~moved.valid).sum() > 50


def test_a_part_that_swings_about_the_nape_follows_the_rotation(truth: FlowTruth) -> None:
    flow = truth.between(Pose(head_pitch=0.0), Pose(head_pitch=0.05))
    moving = flow.mouse & (np.hypot(*np.moveaxis(flow.flow, -1, 0)) > 0.3)
    # A rotation by a small angle w is (w * dy, -w * dx) about its centre: its curl is -2 w wherever it is rigid.
    dvdx, dudy = np.gradient(flow.flow[..., 1], axis=1), np.gradient(flow.flow[..., 0], axis=0)
    assert np.median((dvdx - dudy)[moving]) == pytest.approx(-2 * 0.05, rel=0.1)


@pytest.mark.parametrize("behaviour", [2, 5, 7])
def test_the_truth_brings_the_later_picture_onto_the_earlier_one(behaviour: int) -> None:
    video = SyntheticVideo(seed=3, duration_s=20.0)
    look = replace(video.appearance, noise_sigma=0.0, light_level=1.0)
    renderer, truth = Renderer(look, SIZE, 0), FlowTruth(look, SIZE)
    index = int(np.flatnonzero(video.labels == behaviour)[12])
    poses = video.motion.pose(index - 2), video.motion.pose(index)
    earlier, later = (renderer.render(SceneState(0, pose, 1.0)).astype(np.float32) for pose in poses)
    true = truth.between(*poses)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float32)
    back = cv2.remap(later, x + true.flow[..., 0], y + true.flow[..., 1], cv2.INTER_CUBIC)
    moving = true.valid & true.mouse & (np.hypot(true.flow[..., 0], true.flow[..., 1]) > 0.5)
    assert moving.sum() > 150
    assert np.abs(earlier - back)[moving].mean() < 0.45 * np.abs(earlier - later)[moving].mean()


def test_a_video_knows_its_flow() -> None:
    video = SyntheticVideo(seed=3, duration_s=20.0, size=(128, 96))
    here = video.true_flow(40)
    expected = FlowTruth(video.appearance, (128, 96)).between(video.motion.pose(39), video.motion.pose(40))
    np.testing.assert_array_equal(here.flow, expected.flow)
    assert here.flow.shape == (96, 128, 2)
