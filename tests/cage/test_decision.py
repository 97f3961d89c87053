"""A daemon whose bouts a filter decides."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bundles import manifest
from tests.cage.parts import FreeBackend, FreeFlow, ScriptedCamera, config
from tests.conftest import WriteVideo
from toolkit.behaviour_log import read_log
from toolkit.bouts import BundleDecision, ChosenDecision
from toolkit.bundle import Bundle
from toolkit.cage.cameras import VideoFileCamera
from toolkit.cage.daemon import run
from toolkit.cage.watch import Parts
from toolkit.engine.host import HostNetworks
from toolkit.errors import ConfigError

REST, WALK = 6, 7


class Flickering(FreeBackend):
    """A network that says rest, but walk of every eleventh frame."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = 0

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        self._frames += 1
        return 4 * np.eye(8, dtype=np.float32)[None, WALK if self._frames % 11 == 0 else REST]


def flickering(camera: VideoFileCamera | ScriptedCamera, decision: BundleDecision | None = None) -> Parts:
    described = manifest(decision=decision)
    backends = {stream: Flickering() for stream in described.streams}
    return Parts(Bundle(Path("none"), described, "b" * 64), camera, HostNetworks(described, FreeFlow(), backends))


CHOSEN = BundleDecision(chosen=ChosenDecision(smoothing_s=0.1, min_bout_s=0.0, uncertain_below=None, frames=9))


@pytest.mark.parametrize(
    ("table", "bundle"),
    [({"filter": "hysteresis", "min_bout_s": 0.1}, None), ({"filter": "bundle"}, CHOSEN)],
)
def test_rows_keep_what_the_networks_said_and_bouts_do_not_flicker(
    tmp_path: Path, write_video: WriteVideo, table: dict[str, object], bundle: BundleDecision | None
) -> None:
    camera = VideoFileCamera(write_video("mouse.mp4", 40), realtime=False)
    run(config(tmp_path, decision=table), stop=threading.Event(), parts=flickering(camera, bundle))
    log = read_log(tmp_path / "log" / "a1")
    assert np.flatnonzero(log.label == WALK).tolist() == [10, 21, 32]
    assert [(bout.behaviour, bout.frames) for bout in log.bouts] == [(REST, 40)]
    assert log.decided.tolist() == [REST] * 40
    assert log.provenance[0].config["decision"]["filter"] == table["filter"]


def test_a_bundle_without_transitions_stops_viterbi_before_anything_is_written(tmp_path: Path) -> None:
    daemon = flickering(ScriptedCamera([(1, 0.0)]))
    with pytest.raises(ConfigError, match='"viterbi" needs transitions'):
        run(config(tmp_path, decision={"filter": "viterbi"}), stop=threading.Event(), parts=daemon)
    assert not list((tmp_path / "log").rglob("*.sqlite"))
