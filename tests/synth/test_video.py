"""The synthetic cage is the truth for other tests, so its own properties are checked from pixels and geometry."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.synth import Camera, SyntheticVideo
from toolkit.synth.body import body_parts, mouth
from toolkit.synth.scene import HOPPER_HEIGHT, SPOUT_HEIGHT

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def video() -> SyntheticVideo:
    return SyntheticVideo(0, 40.0)


@pytest.fixture(scope="module")
def frames(video: SyntheticVideo) -> NDArray[np.uint8]:
    return np.stack(list(video.frames()))


def _bouts(labels: NDArray[np.int8], behaviour: str) -> list[tuple[int, int]]:
    here = np.concatenate([[0], labels == MOUSE_HOME_CAGE.index(behaviour), [0]]).astype(int)
    edges = np.flatnonzero(np.diff(here))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _body_box(video: SyntheticVideo, index: int) -> tuple[slice, slice]:
    camera = Camera.of(video.appearance, video.size)
    points = np.concatenate(
        [
            camera.project(part.centres)
            for part in body_parts(video.state(index).pose, video.appearance.mouse_scale)
            if part.name in ("back", "head")
        ]
    )
    left, top = np.maximum(points.min(axis=0) - 18, 0).astype(int)
    right, bottom = (points.max(axis=0) + 18).astype(int)
    return slice(top, bottom), slice(left, right)


def test_same_seed_same_video(video: SyntheticVideo, frames: NDArray[np.uint8]) -> None:
    again = SyntheticVideo(0, 40.0)
    np.testing.assert_array_equal(again.labels, video.labels)
    for expected, found in zip(frames[:20], again.frames(), strict=False):
        np.testing.assert_array_equal(found, expected)


def test_other_seed_other_video(frames: NDArray[np.uint8], video: SyntheticVideo) -> None:
    other = SyntheticVideo(1, 40.0)
    assert other.appearance != video.appearance
    assert not np.array_equal(other.labels, video.labels)
    assert np.abs(next(iter(other.frames())).astype(int) - frames[0]).mean() > 3


def test_one_frame_per_label(frames: NDArray[np.uint8], video: SyntheticVideo) -> None:
    assert frames.shape == (1200, 240, 320, 3)
    assert frames.dtype == np.uint8
    assert video.labels.shape == (1200,)
    assert video.labels.dtype == np.int8


@pytest.mark.parametrize("seed", range(12))
def test_every_behaviour_has_two_bouts_of_a_second(seed: int) -> None:
    labels = SyntheticVideo(seed, 40.0).labels
    for behaviour in MOUSE_HOME_CAGE.names:
        long = [bout for bout in _bouts(labels, behaviour) if bout[1] - bout[0] >= 30]
        assert len(long) >= 2, behaviour
        assert (labels == MOUSE_HOME_CAGE.index(behaviour)).mean() < 0.4


@pytest.mark.parametrize("seed", range(6))
def test_shortest_video_holds_every_behaviour(seed: int) -> None:
    assert set(SyntheticVideo(seed, 20.0).labels.tolist()) == set(range(8))


def test_rest_is_still_and_micro_movement_is_not(video: SyntheticVideo, frames: NDArray[np.uint8]) -> None:
    energy: dict[str, list[float]] = {}
    for behaviour in ("rest", "micro-movement"):
        energy[behaviour] = []
        for start, stop in _bouts(video.labels, behaviour):
            rows, columns = _body_box(video, start)
            grey = frames[start + 5 : stop - 5, rows, columns].astype(float).mean(axis=-1)
            # Light flickers and the sensor is noisy: without both, what is left is motion.
            grey -= grey.mean(axis=(1, 2), keepdims=True)
            noise = 2 * 0.8**2 * video.appearance.noise_sigma**2
            energy[behaviour].append(float((np.diff(grey, axis=0) ** 2).mean()) - noise)
    assert min(energy["micro-movement"]) > 4 * max(max(energy["rest"]), 1.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_rest_and_micro_movement_share_place_and_posture(seed: int) -> None:
    video = SyntheticVideo(seed, 60.0)

    def homes(behaviour: str) -> NDArray[np.float64]:
        return np.array([video.motion.poses[start] for start, _ in _bouts(video.labels, behaviour)])

    rest, micro = homes("rest"), homes("micro-movement")
    place = [0, 2, 3, 4, 5, 6]
    for pose in rest:
        assert np.abs(micro[:, place] - pose[place]).max(axis=1).min() < 0.35


@pytest.mark.parametrize("seed", SEEDS)
def test_resting_mouse_only_breathes(seed: int) -> None:
    video = SyntheticVideo(seed, 40.0)
    for start, stop in _bouts(video.labels, "rest"):
        parts = [body_parts(video.motion.pose(i), video.appearance.mouse_scale) for i in range(start, stop)]
        for before, after in pairwise(parts):
            for was, now in zip(before, after, strict=True):
                if was.name in ("back", "head"):
                    moved = np.linalg.norm(now.centres - was.centres, axis=1).max()
                    assert moved + np.abs(now.radii - was.radii).max() < 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_drinks_at_the_spout_and_eats_at_the_hopper(seed: int) -> None:
    video = SyntheticVideo(seed, 40.0)
    look = video.appearance
    assert look.spout_x < 80 < 225 < look.hopper_x
    for behaviour, x, height in (("drink", look.spout_x, SPOUT_HEIGHT), ("eat", look.hopper_x, HOPPER_HEIGHT)):
        for index in np.flatnonzero(video.labels == MOUSE_HOME_CAGE.index(behaviour)):
            at = mouth(video.motion.pose(int(index)), look.mouse_scale)
            assert np.hypot(at[0] - x, at[1] - height) < 6


@pytest.mark.parametrize("seed", SEEDS)
def test_motion_is_smooth(seed: int) -> None:
    video = SyntheticVideo(seed, 40.0)
    snouts = np.array([mouth(video.motion.pose(i), video.appearance.mouse_scale) for i in range(len(video))])
    assert np.linalg.norm(np.diff(snouts, axis=0), axis=1).max() < 30


def test_walking_covers_ground(video: SyntheticVideo) -> None:
    for start, stop in _bouts(video.labels, "walk"):
        x = video.motion.poses[start:stop, 0]
        assert abs(x[-1] - x[0]) > 30


def test_light_flickers_and_the_sensor_is_noisy(video: SyntheticVideo, frames: NDArray[np.uint8]) -> None:
    room = frames[:200, :60, 140:180].astype(float)
    light = room.mean(axis=(1, 2, 3))
    assert 0.002 < light.std() / light.mean() < 0.03
    grey = room - room.mean(axis=(1, 2), keepdims=True)
    noise = np.diff(grey, axis=0).std() / np.sqrt(2)
    assert noise == pytest.approx(video.appearance.noise_sigma, rel=0.25)
    assert not np.array_equal(frames[0], frames[1])


def test_other_sizes_show_the_same_scene() -> None:
    small = SyntheticVideo(4, 20.0, size=(160, 120))
    large = SyntheticVideo(4, 20.0)
    np.testing.assert_array_equal(small.labels, large.labels)
    halved = next(iter(large.frames())).reshape(120, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.abs(next(iter(small.frames())) - halved).mean() < 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration_s": 5.0}, "at least 20 s"),
        ({"duration_s": float("nan")}, "at least 20 s"),
        ({"duration_s": 40.0, "fps": 2.0}, "10 to 120"),
        ({"duration_s": 40.0, "size": (8, 8)}, "64 to 1280"),
    ],
)
def test_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SyntheticVideo(0, **arguments)  # type: ignore[arg-type]


def test_a_strain_fixes_the_coat_and_nothing_else() -> None:
    drawn, white = SyntheticVideo(0, 20.0), SyntheticVideo(0, 20.0, strain="white")
    assert white.appearance.coat == "white"
    assert {**vars(white.appearance), "coat": ""} == {**vars(drawn.appearance), "coat": ""}
    np.testing.assert_array_equal(white.labels, drawn.labels)
    assert next(white.frames()).mean() > next(SyntheticVideo(0, 20.0, strain="black").frames()).mean()


def test_an_unknown_strain_is_refused() -> None:
    with pytest.raises(InputError, match="expected a strain of black"):
        SyntheticVideo(0, 20.0, strain="purple")
