"""Engines that fail while a cage is watched: opened again, replaced, or the end; and every lost frame accounted for."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.bundles import manifest
from tests.cage.parts import FreeBackend, FreeFlow, ScriptedCamera, config, parts
from tests.cage.test_check import built as built
from tests.cage.virtual import World, assert_covered_once, watched
from tests.conftest import WriteVideo
from toolkit.behaviour_log import Reason, read_log
from toolkit.bundle import Bundle
from toolkit.cage.cameras import VideoFileCamera
from toolkit.cage.config import EngineTable
from toolkit.cage.daemon import open_parts, run
from toolkit.cage.engines import WINDOW_S, BundleNetworks, Engines
from toolkit.cage.health import Health, ailments
from toolkit.cage.stages import Stages
from toolkit.engine.contract import ClipNetworks
from toolkit.engine.host import HostNetworks
from toolkit.engine.openvino import OpenVinoBackend
from toolkit.errors import EngineError, FlowError, ToolkitError
from toolkit.frames import NS_PER_S

FRAME_NS = NS_PER_S // 30
LOST = EngineError("the device is lost. Restart it.")


class FailingBackend(FreeBackend):
    """A network that answers so many times, and fails from then on."""

    def __init__(self, answers: int, error: Exception = LOST, name: str = "first") -> None:
        super().__init__()
        self._answers, self._error = answers, error
        self.identity = f"{name}/cpu/fp32"
        self.entered = self.left = 0

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self._answers:
            raise self._error
        self._answers -= 1
        return super().infer(clips)

    def __enter__(self) -> FailingBackend:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.left += 1


def networks(backend: FailingBackend, flow: Any = None) -> HostNetworks:
    described = manifest()
    return HostNetworks(described, flow or FreeFlow(), {"rgb": backend, "flow": FreeBackend()})


class Shelf:
    """A `NetworkSource`: what is opened next, or why it cannot be; then what is fallen back to, in turn."""

    def __init__(
        self,
        again: FailingBackend | ToolkitError,
        *others: FailingBackend | ToolkitError,
        opening: Callable[[], None] = lambda: None,
    ) -> None:
        self._in_use, self._others, self._opening = again, list(others), opening
        self.opened = 0

    def open(self) -> ClipNetworks:
        self.opened += 1
        self._opening()
        if isinstance(self._in_use, ToolkitError):
            raise self._in_use
        return networks(self._in_use)

    @property
    def fallen_back(self) -> bool:
        return False

    def fall_back(self) -> bool:
        if not self._others:
            return False
        self._in_use = self._others.pop(0)
        return True


def status(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "log" / "a1" / "status.json").read_text())
    return values


def idle_world(seconds: float) -> World:
    return World(seconds, lambda _: 0.001, lambda _: 0.001)


def test_a_failure_is_mended_by_opening_the_engine_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The 41st inference fails: frame 40 is lost, and the 7 after it, which were waiting for their clips."""
    first, second = FailingBackend(40), FailingBackend(10_000)
    world = idle_world(10)
    daemon = replace(world.parts(), networks=networks(first), source=Shelf(second))
    with caplog.at_level(logging.INFO, logger="toolkit.cage"):
        summary, log = watched(world, tmp_path, daemon)
    assert_covered_once(log)
    assert log.source_index.tolist() == [*range(40), *range(48, 300)]
    gap = log.unobserved[0]
    assert (gap.reason, gap.start_ns) == (Reason.ENGINE_FAILED, log.time_ns[39] + log.duration_ns[39])
    assert gap.stop_ns == log.time_ns[40]
    assert log.unobserved_s()[Reason.ENGINE_FAILED] == pytest.approx(8 / 30)
    assert (first.entered, first.left, second.entered, second.left) == (1, 1, 1, 1)
    assert len(log.provenance) == 1
    assert summary.frames_dropped == 0
    assert (status(tmp_path)["engine_failures"], status(tmp_path)["engine_fallen_back"]) == (1, False)
    events = [message.split()[1] for message in caplog.messages]
    assert events.index("event=engine-failed") < events.index("event=engine-back")
    assert "event=overloaded" not in events


def test_what_is_dropped_while_engines_are_opened_is_their_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening takes 5 s, in which 150 frames come: the queue keeps 64, and the rest is not overload."""
    world = idle_world(20)
    shown: list[str | None] = []

    def opening() -> None:
        world.clock.work(lambda _: 5.0)
        (health,) = seen
        shown.append(health.unobserved_now)

    seen: list[Health] = []
    monkeypatch.setattr("toolkit.cage.daemon.Health", lambda name: seen.append(Health(name)) or seen[0])
    shelf = Shelf(FailingBackend(10_000), opening=opening)
    summary, log = watched(world, tmp_path, replace(world.parts(), networks=networks(FailingBackend(40)), source=shelf))
    assert_covered_once(log)
    assert shown == ["engine-failed"]
    assert seen[0].unobserved_now is None
    assert summary.frames_dropped == pytest.approx(150 - 64, abs=3)
    assert set(log.unobserved_s()) <= {Reason.ENGINE_FAILED, Reason.END_OF_SOURCE}
    assert log.unobserved_s()[Reason.ENGINE_FAILED] == pytest.approx((summary.frames_dropped + 8) / 30, abs=0.01)
    assert (np.diff(log.source_index) == 1).sum() == len(log.time_ns) - 3


def test_a_second_failure_brings_another_engine(tmp_path: Path) -> None:
    world = idle_world(10)
    shelf = Shelf(FailingBackend(50), FailingBackend(10_000, name="slower"))
    _, log = watched(world, tmp_path, replace(world.parts(), networks=networks(FailingBackend(40)), source=shelf))
    assert_covered_once(log)
    assert [session.engines["rgb"] for session in log.provenance] == ["first/cpu/fp32", "slower/cpu/fp32"]
    assert log.provenance[0].stop_reason == f"EngineError: {LOST}"
    assert log.provenance[0].stop_ns == log.provenance[1].start_ns
    # 40 rows, 8 lost, 50 rows, 8 lost.
    assert log.source_index.tolist() == [*range(40), *range(48, 98), *range(106, 300)]
    assert log.unobserved_s()[Reason.ENGINE_FAILED] == pytest.approx(16 / 30)
    found = status(tmp_path)
    assert (found["engine_failures"], found["engine_fallen_back"]) == (2, True)
    assert found["engines"]["rgb"] == "slower/cpu/fp32"
    running = found | {"state": "running"}
    assert ailments(running, 0.0) == [f"degraded: other engines took over after {LOST}"]


def test_stopping_is_the_other_choice(tmp_path: Path) -> None:
    world = idle_world(10)
    shelf = Shelf(FailingBackend(50), FailingBackend(10_000, name="slower"))
    daemon = replace(world.parts(), networks=networks(FailingBackend(40)), source=shelf)
    with pytest.raises(EngineError, match="the device is lost"):
        watched(world, tmp_path, daemon, engine={"on_failure": "stop"})
    log = read_log(tmp_path / "log")
    assert_covered_once(log)
    assert log.source_index.tolist() == [*range(40), *range(48, 98)]
    assert log.provenance[0].stop_reason == f"EngineError: {LOST}"
    assert log.unobserved[-1].reason is Reason.ENGINE_FAILED
    assert (status(tmp_path)["state"], status(tmp_path)["error"]) == ("failed", str(LOST))


def test_an_engine_that_cannot_be_opened_again(tmp_path: Path) -> None:
    world = idle_world(4)
    shelf = Shelf(EngineError("gone"), EngineError("not here either"), FailingBackend(10_000, name="third"))
    _, log = watched(world, tmp_path, replace(world.parts(), networks=networks(FailingBackend(40)), source=shelf))
    assert log.provenance[-1].engines["rgb"] == "third/cpu/fp32"
    assert shelf.opened == 3
    assert len(log.time_ns) == 120 - 8


def test_nothing_left_to_try(tmp_path: Path) -> None:
    world = idle_world(4)
    shelf = Shelf(EngineError("gone"), EngineError("not here either"))
    with pytest.raises(EngineError, match="not here either"):
        watched(world, tmp_path, replace(world.parts(), networks=networks(FailingBackend(40)), source=shelf))
    log = read_log(tmp_path / "log")
    assert_covered_once(log)
    assert len(log.time_ns) == 40


def test_without_a_source_of_others_a_failure_is_the_end(tmp_path: Path) -> None:
    daemon = parts(ScriptedCamera([(30, 0.0)]))
    daemon = replace(daemon, networks=networks(FailingBackend(5)))
    with pytest.raises(EngineError, match="lost"):
        run(config(tmp_path), stop=threading.Event(), parts=daemon)
    assert len(read_log(tmp_path / "log").time_ns) == 5


def test_a_failure_at_the_very_end_closes_the_log(tmp_path: Path) -> None:
    """The last frame's clip is padded and inferred when the source has ended: seven answers are wanting."""
    world = idle_world(2)
    daemon = replace(world.parts(), networks=networks(FailingBackend(53)), source=Shelf(FailingBackend(10_000)))
    _, log = watched(world, tmp_path, daemon)
    assert_covered_once(log)
    assert log.source_index.tolist() == list(range(53))
    assert log.unobserved[0].reason is Reason.ENGINE_FAILED
    assert log.provenance[0].stop_reason == "end-of-source"


def test_flow_that_fails(tmp_path: Path) -> None:
    class FailingFlow(FreeFlow):
        def flow(self, previous: NDArray[np.uint8], current: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == 20:
                raise FlowError("CUDA flow: an illegal address")
            return super().flow(previous, current)

    world = idle_world(3)
    first = networks(FailingBackend(10_000), FailingFlow())
    _, log = watched(world, tmp_path, replace(world.parts(), networks=first, source=Shelf(FailingBackend(10_000))))
    assert_covered_once(log)
    # The 20th flow is frame 20's, when 13 frames have had their 7 followers.
    assert log.source_index.tolist() == [*range(13), *range(21, 90)]
    assert log.unobserved_s()[Reason.ENGINE_FAILED] == pytest.approx(8 / 30)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=5), st.floats(0, 4), st.floats(0, 0.08))
@example([0, 0, 0], 3.0, 0.05)
def test_whenever_engines_fail(answers: list[int], opening_s: float, window_s: float) -> None:
    """Each engine fails after so many answers, those that follow take their time to open, and work may be too slow."""
    world = World(12, lambda _: 0.001, lambda _: window_s / 2)
    first, *later = [FailingBackend(count, name=f"engine{number}") for number, count in enumerate(answers)]
    shelf = Shelf(*later, FailingBackend(10_000, name="last"), opening=lambda: world.clock.work(lambda _: opening_s))
    with tempfile.TemporaryDirectory() as folder:
        summary, log = watched(world, Path(folder), replace(world.parts(), networks=networks(first), source=shelf))
    assert_covered_once(log)
    assert (np.diff(log.source_index) > 0).all()
    # All that is inferred is logged, and a failure loses the 8 frames that it finds waiting, fewer at the beginning.
    assert len(log.time_ns) + summary.windows_skipped + summary.frames_dropped >= 360 - 8 * len(answers)
    assert log.unobserved_s()[Reason.ENGINE_FAILED] > 0


def opened(first: HostNetworks, source: Shelf, on_failure: Any = "fall-back") -> tuple[Engines, list[str]]:
    told: list[str] = []
    return Engines(first, source, on_failure, Stages(), told.append), told


def test_what_a_devices_library_raises_is_an_engine_error() -> None:
    engines, _ = opened(networks(FailingBackend(0, RuntimeError("CUDA error 719"))), Shelf(FailingBackend(1)))
    with engines:
        engines.admit(np.zeros((48, 64, 3), dtype=np.uint8), first=True)
        with pytest.raises(EngineError, match="the engines failed: RuntimeError: CUDA error 719"):
            engines.infer()


def test_failures_long_apart_are_mended_one_by_one() -> None:
    shelf = Shelf(FailingBackend(1), FailingBackend(1, name="slower"))
    engines, _ = opened(networks(FailingBackend(1)), shelf)
    with engines:
        for times in range(5):
            engines.recover(LOST, 1_000.0 + times * (WINDOW_S + 1))
        assert (engines.state.failures, engines.state.fallen_back) == (5, False)
        engines.recover(LOST, 1_000.0 + 4 * (WINDOW_S + 1) + 60)
        assert engines.state.fallen_back
        assert engines.engines["rgb"] == "slower/cpu/fp32"


def test_networks_that_cannot_even_be_closed() -> None:
    class Stuck(FailingBackend):
        def __exit__(self, *_: object) -> None:
            raise OSError("context is destroyed")

    engines, told = opened(networks(Stuck(1)), Shelf(FailingBackend(1)))
    with engines:
        engines.recover(LOST, 0.0)
    assert told == ["the failed engines could not be closed: context is destroyed"]


def test_one_that_took_over_is_the_cages_health() -> None:
    health = Health("a1", state="running")
    assert ailments(health.status(Path()), 0.0) == []
    health.overload_share, health.min_coverage = 0.2, 0.9
    assert ailments(health.status(Path()), 0.0) == ["overloaded: 20% of the last minute was not observed"]


def test_what_takes_over_touches_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if on a machine with a GPU: TensorRT gives way to OpenVINO, that to ONNX Runtime, and CUDA's flow to ours."""
    asked: list[tuple[str, str]] = []

    def open_networks(_bundle: Bundle, *, engine: str, flow: str, **_: object) -> None:
        asked.append((engine, flow))

    monkeypatch.setattr("toolkit.cage.engines.choose_engine", lambda kind: ({"auto": "tensorrt"}.get(kind, kind), ""))
    monkeypatch.setattr("toolkit.engine.current.ensure_current", lambda *_, **__: None)
    monkeypatch.setattr("toolkit.engine.networks.open_networks", open_networks)
    monkeypatch.setattr("toolkit.cage.engines.why_absent", lambda _: None)
    bundle = Bundle(Path("none"), manifest(), "b" * 64)
    source = BundleNetworks(bundle, EngineTable(flow="cuda"), lambda _: None, lambda _: None)
    source.open()
    while source.fall_back():
        source.open()
    assert asked == [("auto", "cuda"), ("openvino", "cpu"), ("onnxruntime", "cpu")]


def test_openvino_gives_way_to_onnx_runtime(
    tmp_path: Path, built: Path, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real bundle: OpenVINO fails twice, and the rows that follow are to the byte those of ONNX Runtime alone."""
    pytest.importorskip("openvino")
    shutil.copytree(built, tmp_path / "bundles")
    path = tmp_path / "bundles" / "tiny"
    video = write_video("mouse.mp4", 60)
    calls = 0
    infer = OpenVinoBackend.infer

    def failing(self: OpenVinoBackend, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls > 40:
            raise EngineError("OpenVINO failed: out of luck.")
        return infer(self, clips)

    def rows(name: str, kind: str) -> tuple[NDArray[np.int64], NDArray[np.uint8], Any]:
        table = config(
            tmp_path / name,
            cage={"bundle": path},
            camera={"video": video, "pace": "fast"},
            engine={"kind": kind, "flow": "opencv"},
        )
        stop = threading.Event()
        run(table, stop=stop, parts=open_parts(table, stop=stop, warn=lambda _: None))
        log = read_log(tmp_path / name / "log")
        assert_covered_once(log)
        return log.source_index, log.probabilities, log

    whole, expected, _ = rows("alone", "onnxruntime")
    open_parts(
        config(tmp_path, cage={"bundle": path}, camera={"video": video}, engine={"kind": "openvino"}),
        stop=threading.Event(),
        warn=lambda _: None,
    )
    monkeypatch.setattr(OpenVinoBackend, "infer", failing)
    seen, found, log = rows("both", "openvino")
    assert [session.engines["rgb"].split("-")[0] for session in log.provenance] == ["openvino", "onnxruntime"]
    first, second = (session.engines["optical flow"] for session in log.provenance)
    assert first == second
    assert first.startswith("opencv-")
    assert VideoFileCamera(video, realtime=False).info.frames == 60 == len(whole)
    # The tiny clip has one frame after its centre; two streams, so 40 calls are 20 rows.
    assert seen.tolist() == [*range(20), *range(24, 60)]
    # A segment begins anew after the failure: from the third frame on its clips are those of the whole video.
    later = seen >= 24 + 3
    assert (found[later] == expected[np.isin(whole, seen[later])]).all()
