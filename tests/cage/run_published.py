"""A daemon that publishes until it is stopped or killed: ``run_published.py FOLDER PORT``. Prints its rows.

Its network says another behaviour every five frames, so that a bout ends six times a second.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bundles import manifest
from tests.cage.mqtt_broker import USER
from tests.cage.parts import FreeBackend, FreeFlow, ScriptedCamera, config, parts
from toolkit.cage.config import CageConfig
from toolkit.cage.daemon import run, stop_on_signals
from toolkit.cage.journal import events_to_stderr
from toolkit.cage.summary import Progress
from toolkit.cage.watch import Parts
from toolkit.engine.host import HostNetworks


class ChangingBackend(FreeBackend):
    """A network that changes its mind every five frames."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = 0

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = np.zeros((1, 8), dtype=np.float32)
        logits[0, self._frames // 5 % 8] = 4
        self._frames += 1
        return logits


def changing_parts(frames: int) -> Parts:
    """Return a daemon's parts that see so many frames."""
    described = manifest()
    backends = {stream: ChangingBackend() for stream in described.streams}
    daemon = parts(ScriptedCamera([(frames, 0.0)]))
    return replace(daemon, networks=HostNetworks(described, FreeFlow(), backends))


def published(folder: Path, port: int, **changes: object) -> CageConfig:
    """Return a configuration that publishes to a broker on this machine."""
    table = {"host": "127.0.0.1", "port": port, "username": USER, "password_file": folder / "password", **changes}
    return config(folder, mqtt=table)


def tell(progress: Progress) -> None:
    print(progress.rows, flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with stop_on_signals() as stop, events_to_stderr():
        run(published(folder, int(sys.argv[2])), stop=stop, on_progress=tell, parts=changing_parts(1_000_000))
