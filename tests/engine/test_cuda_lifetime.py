"""What becomes of errors and of order on the device, over a driver that is played on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.device_parts import BOTH, CLASSES, device_networks, images, spec_of
from tests.engine.fake_cuda import FakeCuda, Hazard
from tests.engine.fake_tensorrt import plan_bytes
from toolkit.bundle import Manifest
from toolkit.clips import ClipGeometry
from toolkit.engine.device_memory import DeviceMemory
from toolkit.errors import EngineError
from toolkit.flow import cuda_driver
from toolkit.preprocess import Stream, WorkingGeometry


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_a_wrong_frame_is_one_error(gpu: FakeCuda, tmp_path: Path, image: NDArray[Any]) -> None:
    with (
        device_networks(spec_of("rgb"), tmp_path) as networks,
        pytest.raises(EngineError, match=r"expected a frame of \(H, W, 3\) uint8 RGB, found"),
    ):
        networks.admit(image, first=True)


def test_a_region_outside_the_frame_is_one_error(gpu: FakeCuda, tmp_path: Path) -> None:
    spec = spec_of("rgb", geometry=WorkingGeometry(width=64, height=48, roi=(10, 0, 64, 48)))
    with device_networks(spec, tmp_path) as networks, pytest.raises(EngineError, match="reaches outside"):
        networks.admit(images(1)[0], first=True)


def test_another_bundle_s_plan_is_one_error(gpu: FakeCuda, tmp_path: Path) -> None:
    networks = device_networks(spec_of("rgb"), tmp_path)
    (tmp_path / "rgb.plan").write_bytes(plan_bytes("rgb", (16, 3, 16, 16), CLASSES))
    with pytest.raises(EngineError, match=r"frames=6.*found.*frames=16.*build-engine"), networks:
        pass


def test_networks_that_are_not_open_say_so(gpu: FakeCuda, tmp_path: Path) -> None:
    networks = device_networks(spec_of("rgb"), tmp_path)
    with networks:
        pass
    with pytest.raises(EngineError, match="with block"):
        networks.infer()


def test_networks_can_be_entered_once(gpu: FakeCuda, tmp_path: Path) -> None:
    networks = device_networks(spec_of("rgb"), tmp_path)
    with networks:
        with pytest.raises(EngineError, match="opened once"):
            networks.__enter__()
        networks.admit(images(1)[0], first=True)
        networks.infer()
    with pytest.raises(EngineError, match=r"opened once.*Make new ones"), networks:
        pass


def run_shortly(spec: Manifest, folder: Path) -> NDArray[np.float32]:
    frames = images(5)
    with device_networks(spec, folder) as networks:
        for index, image in enumerate(frames):
            networks.admit(image, first=index == 0)
        networks.repeat()
        return networks.infer()


def run_replayed(spec: Manifest, folder: Path) -> None:
    """Run until engines have been enqueued, captured and replayed at an address, and captured at others."""
    with device_networks(spec, folder) as networks:
        for index, image in enumerate(images(7)):
            networks.admit(image, first=index == 0)
            networks.infer()


THREE_FRAMES = ClipGeometry(before=1, after=1)


@pytest.mark.parametrize("run", [run_shortly, run_replayed])
@pytest.mark.parametrize("streams", [BOTH, ("rgb",)])
def test_a_device_that_vanishes_at_any_call_is_one_error_and_leaves_nothing(
    gpu: FakeCuda, tmp_path: Path, streams: tuple[Stream, ...], run: Callable[[Manifest, Path], object]
) -> None:
    spec = spec_of(*streams, clip=THREE_FRAMES)
    run(spec, tmp_path)
    calls, opening = list(gpu.calls), 0
    if "flow" in streams:
        # Flow is opened before the networks, by whoever chooses it, with errors of its own.
        opening = 1 + calls.index("module_from_buffer")
    firsts = {name: calls.index(name, opening) for name in calls[opening:] if name in calls[opening:]}
    lasts = {name: len(calls) - 1 - calls[::-1].index(name) for name in firsts}
    # What only leaving calls may fail unsaid.
    last = calls.index("stream synchronize", lasts["download"]) if "download" in lasts else len(calls)
    for at in sorted({*firsts.values(), *lasts.values()}):
        if at > last:
            continue
        gpu.calls.clear()
        gpu.lost, gpu.fail_at = False, at
        with pytest.raises(EngineError, match=r"(illegal memory access|CUDA error 700).*Restart the process\."):
            run(spec, tmp_path)
        assert (gpu.depth, gpu.retained, gpu.executions) == (0, 0, 0), calls[at]
        assert (gpu.graphs.captures, gpu.graphs.live) == ({}, {}), calls[at]
        assert not [block for block in gpu.blocks if block.kind == "device"], calls[at]


def test_short_memory_is_one_error_and_leaves_nothing(gpu: FakeCuda, tmp_path: Path) -> None:
    spec, everything = spec_of(*BOTH), gpu.free_bytes
    run_shortly(spec, tmp_path)
    needed = everything - gpu.free_bytes
    for short in range(1, 20):
        gpu.free_bytes = needed - short * needed // 20
        with pytest.raises(EngineError, match="out of memory"):
            run_shortly(spec, tmp_path)
        assert (gpu.depth, gpu.retained, gpu.executions) == (0, 0, 0)
        assert not [block for block in gpu.blocks if block.kind == "device"]
    gpu.free_bytes = needed
    run_shortly(spec, tmp_path)


def test_page_locked_memory_is_given_back(gpu: FakeCuda, tmp_path: Path) -> None:
    run_shortly(spec_of("rgb"), tmp_path)
    assert gpu.blocks == []


def test_graphs_are_gone_before_what_they_read(gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("rgb", clip=THREE_FRAMES)
    free, order = DeviceMemory.free, []

    def noted(memory: DeviceMemory) -> None:
        order.append(dict(gpu.graphs.live))
        free(memory)

    with device_networks(spec, tmp_path) as networks:
        for index, image in enumerate(images(5)):
            networks.admit(image, first=index == 0)
            networks.infer()
        assert len(gpu.graphs.live) == 2
        monkeypatch.setattr(DeviceMemory, "free", noted)
    assert order
    assert not any(order)


def test_without_the_event_flow_would_read_a_grey_image_that_is_being_written(gpu: FakeCuda, tmp_path: Path) -> None:
    gpu.ignored = {"wait_for_event"}
    with pytest.raises(Hazard, match=r"tvl1_load on stream 1 and prepare_working on stream 2 meet"):
        run_shortly(spec_of(*BOTH), tmp_path)


def test_without_the_event_the_host_would_overwrite_a_frame_on_its_way_up(gpu: FakeCuda, tmp_path: Path) -> None:
    gpu.ignored = {"event synchronize"}
    with pytest.raises(Hazard, match="host overwrote page-locked memory before its upload was done"):
        run_shortly(spec_of("rgb"), tmp_path)


def test_without_waiting_for_flow_the_next_frame_would_overwrite_its_grey_image(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_driver.CudaDevice, "wait", lambda device: None)
    with pytest.raises(Hazard, match=r"meet in device memory of 3072 bytes"):
        run_shortly(spec_of(*BOTH), tmp_path)


def test_without_waiting_for_the_engines_logits_would_be_garbage(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with device_networks(spec_of("rgb"), tmp_path) as networks:
        networks.admit(images(1)[0], first=True)
        gpu.ignored = {"stream synchronize"}
        assert np.isnan(networks.infer()).all()
        gpu.ignored = set()
