"""The engine room's CUDA kernels, run on the CPU: equal to OpenCV, as preprocess.py calls it, bit for bit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import toolkit.engine
from tests.engine.kernels import Kernels
from tests.flow.shim import compiler_report
from toolkit.engine.preprocess_plan import Slots
from toolkit.flow import FlowEncoding
from toolkit.preprocess import StreamInput, WorkingGeometry, flow_input, grey_frame, rgb_input

GARBAGE = np.float32(-12345.0)
ENCODING = FlowEncoding()
ONE_SLOT = Slots(0, 1, 1)
SIDES = st.integers(16, 90)
# The compiled kernels keep nothing between examples.
FUZZED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def kernels(shims: Path) -> Kernels:
    return Kernels(shims)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def random_flow(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    flow = np.random.default_rng(seed).normal(0, 8, (height, width, 2)).astype(np.float32)
    # What rounds to even, what is clipped, and what rounds to a zero that must not be negative.
    flow.reshape(-1)[:6] = [0.5 / 32, 1.5 / 32, -0.5 / 32, 20.02, -1000, -0.001]
    return flow


def assert_working_equal(kernels: Kernels, image: NDArray[np.uint8], geometry: WorkingGeometry) -> None:
    working, grey = kernels.working_frame(image, geometry)
    expected = geometry.working_frame(image)
    assert np.array_equal(working, expected)
    assert np.array_equal(grey, grey_frame(expected))


def host_frame(spec: StreamInput, image: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.empty((spec.channels, spec.crop, spec.crop), dtype=np.float32)
    spec.network_frame(image, out)
    return out


def device_frame(
    kernels: Kernels,
    spec: StreamInput,
    image: NDArray[np.uint8] | NDArray[np.float32],
    encoding: FlowEncoding = ENCODING,
) -> NDArray[np.float32]:
    ring = np.full((1, spec.channels, spec.crop, spec.crop), GARBAGE)
    if spec.stream == "rgb":
        kernels.rgb(image.astype(np.uint8), spec, ring, ONE_SLOT)
    else:
        kernels.flow(image.astype(np.float32), image.shape[:2], spec, ring, ONE_SLOT, encoding)
    return ring[0]


@pytest.mark.parametrize("interpolation", ["area", "linear"])
@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ((320, 240), {}),
        ((640, 480), {}),
        ((960, 720), {}),
        ((1280, 960), {}),
        ((640, 240), {"aspect": "stretch"}),
        ((1280, 720), {"aspect": "stretch"}),
        ((1280, 720), {"aspect": "pad"}),
        ((640, 480), {"aspect": "pad"}),
        ((333, 481), {"aspect": "pad"}),
        ((319, 240), {"aspect": "pad"}),
        ((1920, 1080), {"roi": (241, 3, 1437, 1077)}),
        ((1920, 1080), {"roi": (640, 400, 320, 240)}),
        ((160, 120), {}),
        ((200, 400), {"aspect": "stretch"}),
        ((321, 243), {}),
        ((1280, 720), {"aspect": "pad", "light": "infrared"}),
        ((320, 240), {"light": "infrared"}),
    ],
)
def test_the_working_frame_and_its_grey_image_equal_opencv(
    kernels: Kernels, source: tuple[int, int], settings: dict[str, object], interpolation: str
) -> None:
    geometry = WorkingGeometry.model_validate({**settings, "interpolation": interpolation})
    assert_working_equal(kernels, noise(source[1], source[0]), geometry)


@FUZZED
@given(
    SIDES,
    SIDES,
    SIDES,
    SIDES,
    st.sampled_from(["area", "linear"]),
    st.sampled_from(["stretch", "pad"]),
    st.integers(0, 99),
)
def test_any_size_equals_opencv(
    kernels: Kernels, width: int, height: int, to_width: int, to_height: int, interpolation: str, aspect: str, seed: int
) -> None:
    fields = {"width": to_width, "height": to_height, "interpolation": interpolation, "aspect": aspect}
    assert_working_equal(kernels, noise(height, width, seed), WorkingGeometry.model_validate(fields))


@FUZZED
@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(16, 40), st.integers(16, 40), st.sampled_from(["area", "linear"])
)
def test_any_whole_ratio_equals_opencv(
    kernels: Kernels, across: int, down: int, width: int, height: int, interpolation: str
) -> None:
    fields = {"width": width, "height": height, "interpolation": interpolation, "aspect": "stretch"}
    assert_working_equal(kernels, noise(height * down, width * across), WorkingGeometry.model_validate(fields))


@pytest.mark.parametrize("level", [0, 1, 254, 255])
def test_a_uniform_frame_stays_uniform(kernels: Kernels, level: int) -> None:
    image = np.full((481, 641, 3), level, np.uint8)
    for interpolation in ("area", "linear"):
        working, _ = kernels.working_frame(image, WorkingGeometry.model_validate({"interpolation": interpolation}))
        assert (np.abs(working.astype(int) - level) <= 1).all()
        assert_working_equal(kernels, image, WorkingGeometry.model_validate({"interpolation": interpolation}))


SPECS = [(255, 224), (128, 112), (160, 160), (320, 224), (120, 101)]


@pytest.mark.parametrize(("resize", "crop"), SPECS)
@pytest.mark.parametrize("size", [(240, 320), (255, 255), (256, 256), (240, 240), (97, 131)])
def test_network_frames_equal_opencv(kernels: Kernels, size: tuple[int, int], resize: int, crop: int) -> None:
    for spec in (rgb_input(resize, crop), rgb_input(resize, crop, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))):
        image = noise(*size)
        assert np.array_equal(device_frame(kernels, spec, image), host_frame(spec, image))
    spec, flow = flow_input(resize, crop), random_flow(*size)
    expected = host_frame(spec, ENCODING.quantise(flow))
    assert device_frame(kernels, spec, flow).tobytes() == expected.tobytes()


@FUZZED
@given(SIDES, SIDES, SIDES, st.integers(0, 40), st.sampled_from([(20.0, 32), (7.5, 31), (20.0, 1)]), st.integers(0, 99))
def test_network_frames_of_any_size_equal_opencv(
    kernels: Kernels, width: int, height: int, crop: int, margin: int, coded: tuple[float, int], seed: int
) -> None:
    rgb, flow = rgb_input(crop + margin, crop), flow_input(crop + margin, crop, bound_px=coded[0])
    image, field = noise(height, width, seed), random_flow(height, width, seed)
    encoding = FlowEncoding(bound_px=coded[0], steps_per_px=coded[1])
    assert np.array_equal(device_frame(kernels, rgb, image), host_frame(rgb, image))
    expected = host_frame(flow, encoding.quantise(field))
    assert device_frame(kernels, flow, field, encoding).tobytes() == expected.tobytes()


def test_flow_at_half_size_adds_in_opencv_s_order(kernels: Kernels) -> None:
    spec, flow = flow_input(32, 32), random_flow(64, 64)
    # Steps of 1/31 px are not exact in binary: another order of the sum would show.
    encoding = FlowEncoding(steps_per_px=31)
    expected = host_frame(spec, encoding.quantise(flow))
    assert device_frame(kernels, spec, flow, encoding).tobytes() == expected.tobytes()


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_both_slots_of_a_ring_are_written_and_no_other(kernels: Kernels, stream: str) -> None:
    spec = rgb_input(20, 16) if stream == "rgb" else flow_input(20, 16)
    image = noise(48, 64) if stream == "rgb" else random_flow(48, 64)
    ring = np.full((8, spec.channels, 16, 16), GARBAGE)
    if stream == "rgb":
        kernels.rgb(image, spec, ring, Slots(1, 4, 2))
    else:
        kernels.flow(image, (48, 64), spec, ring, Slots(1, 4, 2), ENCODING)
    assert np.array_equal(ring[1], device_frame(kernels, spec, image))
    assert np.array_equal(ring[1], ring[5])
    assert (np.delete(ring, [1, 5], axis=0) == GARBAGE).all()


def test_no_motion_fills_a_ring_as_zero_flow_does(kernels: Kernels) -> None:
    spec = StreamInput(stream="flow", resize=20, crop=16, scale=(0.05, 0.05), offset=(0.0, 0.25))
    ring = np.full((8, 2, 16, 16), GARBAGE)
    kernels.flow(None, (48, 64), spec, ring, Slots(0, 1, 8), ENCODING)
    expected = host_frame(spec, np.zeros((48, 64, 2), np.float32))
    assert all(np.array_equal(slot, expected) for slot in ring)


def test_order_of_threads_does_not_matter(shims: Path, kernels: Kernels) -> None:
    backwards, geometry = Kernels(shims, backwards=True), WorkingGeometry(width=60, height=44, aspect="pad")
    image, flow = noise(120, 161), random_flow(44, 60)
    for one, other in zip(
        kernels.working_frame(image, geometry), backwards.working_frame(image, geometry), strict=True
    ):
        assert one.tobytes() == other.tobytes()
    for spec, frame in ((rgb_input(40, 33), noise(44, 60)), (flow_input(40, 33), flow)):
        assert device_frame(kernels, spec, frame).tobytes() == device_frame(backwards, spec, frame).tobytes()


@pytest.mark.parametrize("architecture", ["sm_87", "sm_90", "sm_110"])
def test_every_kernel_compiles_without_spills(tmp_path: Path, architecture: str) -> None:
    source = Path(toolkit.engine.__path__[0]) / "preprocess.cu"
    report = compiler_report(source, tmp_path, architecture)
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) == source.read_text().count("\nKERNEL ")
    assert set(spills) == {("0", "0", "0")}
