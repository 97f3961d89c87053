"""What a benchmark measures: parts of known cost, each found in its own stage, and the sums that follow from them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import Self

from tests.bundles import manifest
from tests.cage.parts import FreeBackend, FreeFlow
from tests.conftest import WriteVideo
from toolkit.benchmark import BenchReport, bench, open_source
from toolkit.benchmark.source import Source
from toolkit.bundle import Bundle
from toolkit.engine.contract import ClipNetworks
from toolkit.engine.host import HostNetworks
from toolkit.errors import ConfigError, InputError, VideoError

FLOW_S, RGB_S, MOTION_S = 0.006, 0.012, 0.003


class SlowBackend(FreeBackend):
    """A network that takes a known time."""

    def __init__(self, cost_s: float) -> None:
        super().__init__()
        self._cost_s = cost_s

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(self._cost_s)
        return super().infer(clips)


class ResidentNetworks:
    """Networks whose parts cannot be told apart from outside, as on a device."""

    engines = {"rgb": "resident", "flow": "resident"}  # noqa: RUF012

    def __init__(self) -> None:
        self.entered = 0

    def admit(self, image: NDArray[np.uint8], *, first: bool) -> None:
        time.sleep(0.001)

    def repeat(self) -> None:
        return None

    def infer(self) -> NDArray[np.float32]:
        time.sleep(0.004)
        return np.zeros((2, 8), dtype=np.float32)

    def __enter__(self) -> Self:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.entered -= 1


def memory_source(*, decoded: bool = False, decode_s: float = 0.002) -> Source:
    """Return noise; if it is decoded, a frame takes `decode_s` to take."""
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)

    def frames() -> Iterator[NDArray[np.uint8]]:
        while True:
            for image in images:
                if decoded:
                    time.sleep(decode_s)
                yield image

    return Source("noise", 64, 48, 30.0, decoded, frames)  # type: ignore[arg-type]


def host_networks() -> HostNetworks:
    return HostNetworks(manifest(), FreeFlow(FLOW_S), {"rgb": SlowBackend(RGB_S), "flow": SlowBackend(MOTION_S)})


def measured(networks: ClipNetworks | None = None, source: Source | None = None, **options: Any) -> BenchReport:
    bundle = Bundle(Path("none"), manifest(), "b" * 64)
    options = {"strides": (1,), "duration_s": 0.5, **options}
    return bench(bundle, networks or host_networks(), source or memory_source(), **options)


def test_each_part_is_found_in_its_own_stage(tmp_path: Path) -> None:
    report = measured(source=memory_source(decoded=True), log_folder=tmp_path)
    (run,) = report.runs
    least_ms = {"capture": 2.0, "flow": 6.0, "engine rgb": 12.0, "engine flow": 3.0, "frame to row": 21.0}
    for stage, cost_ms in least_ms.items():
        # A sleep is never shorter than asked for; how much longer is the machine's business.
        assert cost_ms <= run.stages[stage].min_ms, stage
    for stage in ("preprocess", "fusion", "log row"):
        assert run.stages[stage].min_ms < 2.0, stage
    assert run.frames == run.rows == run.stages["flow"].samples == run.stages["frame to row"].samples
    assert list(tmp_path.iterdir()) == []


def test_real_time_factor_and_cages_follow_from_the_work(tmp_path: Path) -> None:
    """At 30 frames a second, 21 ms or more of sleep a frame: 0.63 s of work a second at least."""
    (run,) = measured(source=memory_source(decoded=True)).runs
    assert run.busy_share >= 0.63
    assert run.realtime_factor == pytest.approx(1 / run.busy_share)
    assert run.busy_share == pytest.approx(0.03 * run.stages["frame to row"].mean_ms, rel=0.1)
    assert run.capture_share == pytest.approx(0.03 * run.stages["capture"].mean_ms)
    assert run.cages == int(0.8 / (run.busy_share + run.capture_share))
    assert run.elapsed_s == pytest.approx(sum(window.stop_s - window.start_s for window in run.windows))
    assert len(run.windows) == 10
    assert sum(window.frames for window in run.windows) == run.frames


def test_decoding_counts_against_cages_and_not_against_real_time() -> None:
    """26 ms of decoding a frame, 0.78 s a second: no second cage fits, whatever little the networks take."""
    networks = HostNetworks(manifest(), FreeFlow(0.001), {"rgb": FreeBackend(), "flow": FreeBackend()})
    (run,) = measured(networks, memory_source(decoded=True, decode_s=0.026)).runs
    assert run.capture_share >= 0.78
    assert run.cages <= 1
    assert run.realtime_factor > 1.5


def test_a_stride_saves_inferences_and_not_flow() -> None:
    one, four = measured(strides=(1, 4)).runs
    assert (one.stride, four.stride) == (1, 4)
    assert four.stages["engine rgb"].samples == four.rows
    assert abs(four.frames - 4 * four.rows) < 4
    assert four.stages["flow"].samples == four.frames
    assert four.realtime_factor > one.realtime_factor


def test_a_row_waits_for_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.benchmark.cage.FLUSH_S", 0.2)
    (run,) = measured(duration_s=1.0).runs
    waits, work = run.stages["frame to committed row"], run.stages["frame to row"]
    assert waits.min_ms > work.min_ms
    assert waits.max_ms > 150
    assert run.stages["log commit"].samples >= 3


def test_networks_on_a_device_are_timed_as_a_whole_and_left() -> None:
    networks = ResidentNetworks()
    (run,) = measured(networks).runs
    assert run.stages["upload, flow, preprocess"].min_ms >= 1.0
    assert run.stages["engines"].min_ms >= 4.0
    assert "flow" not in run.stages
    assert networks.entered == 0


def test_the_setup_names_no_host() -> None:
    setup = measured().setup
    assert setup.engines == {"rgb": "free/cpu/fp32", "flow": "free/cpu/fp32", "optical flow": "free/fast"}
    assert setup.clip_wait_s == pytest.approx(7 / 30)
    assert setup.machine.cores >= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strides": (0,)}, "--stride: expected different whole numbers from 1 on, found '0'"),
        ({"strides": (2, 2)}, "--stride"),
        ({"strides": ()}, "--stride"),
        ({"duration_s": 0.0}, "--duration: expected seconds above 0"),
        ({"log_folder": Path("nowhere")}, "--log-dir: nowhere is not a folder"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        measured(**options)


def test_another_setup_is_refused_before_anything_is_measured() -> None:
    expected = measured().setup
    networks = ResidentNetworks()
    with pytest.raises(InputError, match=r"engines: .*free.* before, .*resident"):
        measured(networks, expected=expected)
    assert networks.entered == 0


def test_a_video_is_played_over_and_over(write_video: WriteVideo, tmp_path: Path) -> None:
    video = write_video("cage.mp4", 20)
    source = open_source(Bundle(tmp_path, manifest(), "b" * 64), video)
    assert (source.name, source.width, source.height, source.decoded) == ("cage.mp4", 64, 48, True)
    (run,) = measured(source=source).runs
    assert run.stages["capture"].samples == run.frames


def test_a_video_that_does_not_fit_is_refused(write_video: WriteVideo, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="slower camera"):
        open_source(Bundle(tmp_path, manifest(), "b" * 64), write_video("slow.mp4", 20, fps=10))
