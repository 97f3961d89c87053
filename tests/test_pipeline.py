"""The pipeline's clips against `clip_indices` over frames that carry their number."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.bundles import DifferenceFlow, RecordingBackend, manifest
from toolkit.clips import ClipGeometry, clip_indices
from toolkit.engine.host import HostNetworks
from toolkit.errors import BundleError
from toolkit.frames import NS_PER_S, Frame
from toolkit.fusion import fusion_for
from toolkit.pipeline import CentreLogits, Pipeline
from toolkit.preprocess import WorkingGeometry, rgb_input

CLIP = ClipGeometry()


class Rig:
    """A pipeline of recording backends, fed with uniform frames of a given grey level."""

    def __init__(self, *, fps: float = 30.0, source_fps: float = 30.0, stride: int = 1) -> None:
        self.rgb, self.flow = RecordingBackend(), RecordingBackend()
        spec = manifest(geometry=WorkingGeometry(width=64, height=48, fps=fps))
        backends = {"rgb": self.rgb, "flow": self.flow}
        networks = HostNetworks(spec, DifferenceFlow(), backends)
        self.pipeline = Pipeline(spec, networks, source_fps=source_fps, stride=stride)
        self.results: list[CentreLogits] = []

    def push(self, index: int, time_s: float, level: int) -> None:
        image = np.full((48, 64, 3), level, dtype=np.uint8)
        self.results += self.pipeline.push(Frame(index, round(time_s * NS_PER_S), image))

    def end(self) -> None:
        self.results += self.pipeline.end_segment()

    def rgb_levels(self) -> list[list[int]]:
        return [np.rint((clip[0, 0, :, 0, 0] + 1) * 127.5).astype(int).tolist() for clip in self.rgb.clips]

    def flow_steps(self) -> list[list[float]]:
        return [(clip[0, 0, :, 0, 0] * 20).round(3).tolist() for clip in self.flow.clips]


def expected_levels(levels: list[int]) -> list[list[int]]:
    return [[levels[i] for i in clip_indices(c, len(levels), CLIP)] for c in range(len(levels))]


def expected_steps(levels: list[int]) -> list[list[float]]:
    steps = [float(b - a) for a, b in itertools.pairwise(levels)] or [0.0]
    steps = [steps[0], *steps] if len(levels) > 1 else steps
    return [[steps[i] for i in clip_indices(c, len(levels), CLIP)] for c in range(len(levels))]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 15, 16, 17, 40])
def test_every_frame_of_a_segment_is_a_centre_once_with_its_own_clip(length: int) -> None:
    rig = Rig()
    levels = [(index * index) % 17 for index in range(length)]
    for index, level in enumerate(levels):
        rig.push(index, index / 30, level)
    rig.end()
    assert [result.index for result in rig.results] == list(range(length))
    assert rig.rgb_levels() == expected_levels(levels)
    assert rig.flow_steps() == expected_steps(levels)
    padded = [centre < 8 or centre + 7 >= length for centre in range(length)]
    assert [result.padded for result in rig.results] == padded


def test_a_centre_is_known_after_7_more_frames() -> None:
    rig = Rig()
    for index in range(7):
        rig.push(index, index / 30, index)
    assert rig.results == []
    rig.push(7, 7 / 30, 7)
    assert [result.index for result in rig.results] == [0]


def test_no_clip_and_no_flow_cross_a_gap() -> None:
    rig = Rig()
    first, second = [3 * i for i in range(20)], [100 + 2 * i for i in range(12)]
    for index, level in enumerate(first):
        rig.push(index, index / 30, level)
    for index, level in enumerate(second, start=30):
        rig.push(index, index / 30, level)
    rig.end()
    assert [result.index for result in rig.results] == [*range(20), *range(30, 42)]
    assert rig.rgb_levels() == expected_levels(first) + expected_levels(second)
    assert rig.flow_steps() == expected_steps(first) + expected_steps(second)


def test_a_clock_that_steps_back_starts_a_new_segment() -> None:
    rig = Rig()
    for index in range(10):
        rig.push(index, 100 + index / 30, index)
    for index in range(10, 20):
        rig.push(index, index / 30, index)
    rig.end()
    assert rig.rgb_levels() == expected_levels(list(range(10))) + expected_levels(list(range(10, 20)))


def test_a_faster_camera_is_decimated_before_flow() -> None:
    rig = Rig(fps=15.0, source_fps=30.0)
    for index in range(40):
        rig.push(index, index / 30, index)
    rig.end()
    assert [result.index for result in rig.results] == list(range(0, 40, 2))
    assert rig.flow_steps() == expected_steps(list(range(0, 40, 2)))


def test_stride_skips_centres_and_no_frames() -> None:
    rig = Rig(stride=4)
    for index in range(30):
        rig.push(index, index / 30, index)
    rig.end()
    assert [result.index for result in rig.results] == list(range(0, 30, 4))
    assert rig.rgb_levels() == expected_levels(list(range(30)))[::4]


def test_a_stride_that_changes_leaves_the_next_centre_where_it_was() -> None:
    """Each centre says how far away the next one is, and that is where it comes."""
    rig = Rig()
    for index in range(60):
        rig.pipeline.stride = 4 if 15 <= index < 40 else 1
        rig.push(index, index / 30, index)
    rig.end()
    indices = [result.index for result in rig.results]
    assert [b - a for a, b in itertools.pairwise(indices)] == [result.stride for result in rig.results[:-1]]
    assert indices[:9] == list(range(9))
    # The 7 frames after a centre come first, so it is frame 8 that is the first at a stride of 4; 33 + 7 ends it.
    assert indices[8:] == [*range(8, 33, 4), *range(36, 60)]
    assert rig.rgb_levels() == [expected_levels(list(range(60)))[index] for index in indices]


@pytest.mark.parametrize(("pushed", "lost"), [(0, None), (5, 0), (8, 4), (11, 4), (12, 8), (15, 8)])
def test_a_segment_that_is_abandoned_tells_from_when_on(pushed: int, lost: int | None) -> None:
    """At a stride of 4, frames 0, 4, 8 are centres, each once the 7 frames after it have come; the rest is lost."""
    rig = Rig(stride=4)
    for index in range(pushed):
        rig.push(index, index / 30, index)
    lost_ns = rig.pipeline.abandon_segment()
    assert lost_ns == (None if lost is None else round(lost / 30 * NS_PER_S))
    before = len(rig.results)
    for index in range(20, 40):
        rig.push(index, index / 30, index)
    rig.end()
    assert [result.index for result in rig.results[before:]] == [20, 24, 28, 32, 36]
    assert rig.rgb_levels()[before:] == expected_levels(list(range(20, 40)))[::4]


def test_results_carry_the_centre_s_own_time() -> None:
    rig = Rig()
    for index in range(20):
        rig.push(index, 5 + index / 30, 0)
    rig.end()
    assert [result.capture_time_ns for result in rig.results] == [round((5 + i / 30) * NS_PER_S) for i in range(20)]


def test_one_stream_needs_no_flow() -> None:
    backend = RecordingBackend()
    spec = manifest(inputs=(rgb_input(20, 16),), fusion=fusion_for(("rgb",)))
    pipeline = Pipeline(spec, HostNetworks(spec, None, {"rgb": backend}), source_fps=30.0)
    for index in range(8):
        results = pipeline.push(Frame(index, index * NS_PER_S // 30, np.zeros((48, 64, 3), dtype=np.uint8)))
    assert results[0].logits.shape == (1, 8)


def test_wrapping_clips_cannot_run_on_a_stream() -> None:
    spec = manifest(clip=ClipGeometry(boundary="wrap"))
    networks = HostNetworks(spec, DifferenceFlow(), {"rgb": RecordingBackend(), "flow": RecordingBackend()})
    with pytest.raises(BundleError, match="wrap"):
        Pipeline(spec, networks, source_fps=30.0)
