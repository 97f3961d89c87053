"""Frames that cannot show a behaviour are told apart, and no others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from toolkit.behaviour_log import Reason
from toolkit.frames import NS_PER_S
from toolkit.view import CHECKS, ViewMonitor, ViewTable

Image = NDArray[np.uint8]
FPS = 30
RNG = np.random.default_rng(5)
SCENE = cv2.resize(RNG.integers(60, 190, (15, 20, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_NEAREST)


def sensed(scene: Image = SCENE, sigma: float = 2.0) -> Image:
    """Return a picture of a scene with a sensor's noise."""
    return (scene + RNG.normal(0, sigma, scene.shape)).round().clip(0, 255).astype(np.uint8)


def reasons(images: list[Image], table: ViewTable | None = None, fps: float = FPS) -> list[Reason | None]:
    monitor = ViewMonitor(table or ViewTable())
    return [monitor.judge(image, round(index * NS_PER_S / fps)).reason for index, image in enumerate(images)]


def moved(scene: Image, pixels: int) -> Image:
    return np.roll(scene, pixels, axis=1)


def covered(scene: Image, share: float) -> Image:
    hand = scene.copy()
    hand[:, : round(share * scene.shape[1])] = (206, 160, 138)
    return hand


FAULTS = {
    Reason.DARK: np.full_like(SCENE, 10),
    Reason.SATURATED: np.full_like(SCENE, 255),
    Reason.BLURRED: cv2.GaussianBlur(SCENE, (0, 0), 4.0),
    Reason.SHIFTED: moved(SCENE, 24),
    Reason.OBSTRUCTED: covered(SCENE, 0.5),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_counts_from_its_first_frame_and_until_it_is_over_for_a_while(reason: Reason) -> None:
    images = [sensed() for _ in range(30)] + [sensed(FAULTS[reason]) for _ in range(30)] + [sensed() for _ in range(30)]
    # recover_s of 0.5 are 15 frames: frame 60 is the first good one, frame 75 is 0.5 s after it.
    assert reasons(images) == [None] * 30 + [reason] * 45 + [None] * 15


@pytest.mark.parametrize("reason", FAULTS)
def test_a_check_can_be_switched_off(reason: Reason) -> None:
    images = [sensed() for _ in range(10)] + [sensed(FAULTS[reason]) for _ in range(10)]
    table = ViewTable(checks=tuple(check for check in CHECKS if check != reason.value))
    assert reason not in reasons(images, table)
    assert set(reasons(images, ViewTable(checks=()))) == {None}
    alone = ViewTable.model_validate({"checks": [reason.value]})
    assert reasons(images, alone)[10:] == [reason] * 10


@pytest.mark.parametrize(
    "scene",
    [
        SCENE // 2,
        np.clip(SCENE * 1.3, 0, 255).astype(np.uint8),
        cv2.GaussianBlur(SCENE, (0, 0), 0.8),
        moved(SCENE, 3),
        covered(SCENE, 0.15),
    ],
    ids=["half the light", "more light", "a little softer", "3 px aside", "a mouse's size covered"],
)
def test_what_is_no_fault(scene: Image) -> None:
    assert set(reasons([sensed() for _ in range(30)] + [sensed(scene) for _ in range(30)])) == {None}


def test_frozen_from_the_first_repetition_on() -> None:
    images = [sensed() for _ in range(31)]
    images += [images[-1]] * 120
    monitor = ViewMonitor(ViewTable())
    views = [monitor.judge(image, index * NS_PER_S // FPS) for index, image in enumerate(images)]
    # frozen_s is 3 s, and frame 30 is the last that is new; it and all before are sound.
    assert [view.reason for view in views] == [None] * 120 + [Reason.FROZEN] * 31
    assert {view.sound_until_ns for view in views[30:]} == {NS_PER_S}
    assert all(view.sound_until_ns == index * NS_PER_S // FPS for index, view in enumerate(views[:31]))


def test_a_key_frame_of_an_encoder_does_not_thaw_a_frozen_picture() -> None:
    still = sensed()
    again = np.clip(still.astype(np.int16) + 5, 0, 255).astype(np.uint8)
    images = [still, *[again if index % 30 == 0 else still for index in range(1, 200)]]
    assert reasons(images)[100:] == [Reason.FROZEN] * 100


def test_a_still_mouse_before_a_live_sensor_is_not_frozen() -> None:
    """Nothing moves for 20 s; noise of 1.2 grey levels is a quiet sensor's, and each frame is delivered twice."""
    images = [image for _ in range(300) for image in [sensed(sigma=1.2)] * 2]
    assert set(reasons(images, fps=60)) == {None}


def test_single_frames_do_not_flap() -> None:
    dark = FAULTS[Reason.DARK]
    images = [sensed() for _ in range(30)] + [sensed(dark if index % 5 == 0 else SCENE) for index in range(60)]
    assert reasons(images)[30:] == [Reason.DARK] * 60


def test_a_fault_that_becomes_another() -> None:
    images = [sensed() for _ in range(30)]
    images += [sensed(FAULTS[Reason.OBSTRUCTED]) for _ in range(10)] + [sensed(FAULTS[Reason.DARK]) for _ in range(60)]
    found = reasons(images)[30:]
    assert found == [Reason.OBSTRUCTED] * 25 + [Reason.DARK] * 45


def test_slow_changes_are_followed_and_lasting_ones_learned_if_so_configured() -> None:
    steps = [moved(SCENE, pixels) for pixels in range(0, 60, 2) for _ in range(30)]
    assert set(reasons([sensed(step) for step in steps], ViewTable(adapt_s=1.0))) == {None}
    lasting = [sensed() for _ in range(30)] + [sensed(FAULTS[Reason.SHIFTED]) for _ in range(120)]
    assert reasons(lasting)[30:] == [Reason.SHIFTED] * 120
    assert reasons(lasting, ViewTable(relearn_s=2.0))[-30:] == [None] * 30


def test_only_the_region_of_interest_is_judged() -> None:
    outside = SCENE.copy()
    outside[:, :160] = 0
    monitor = ViewMonitor(ViewTable(), roi=(160, 0, 160, 240))
    images = [sensed() for _ in range(10)] + [sensed(outside) for _ in range(10)]
    assert {monitor.judge(image, index * NS_PER_S // FPS).reason for index, image in enumerate(images)} == {None}


def test_an_unknown_check_or_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ViewTable.model_validate({"checks": ["frosen"]})
    with pytest.raises(ValidationError, match="Extra inputs"):
        ViewTable.model_validate({"dark": 3})
