"""A daemon under a service manager that the test plays: ``run_service.py FOLDER SCRIPT HANG_AFTER``.

SCRIPT is JSON: for `ScriptedCamera`, or for `RecoveringCamera` where there are words in it. The network hangs for ever
once it has inferred HANG_AFTER times (0: never).
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bundles import manifest
from tests.cage.parts import FreeBackend, FreeFlow, RecoveringCamera, ScriptedCamera, config, parts
from toolkit.cage.daemon import run, stop_on_signals
from toolkit.cage.journal import events_to_stderr
from toolkit.engine.host import HostNetworks


class HangingBackend(FreeBackend):
    """A network that answers so many times, and then never again."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self._answers = answers

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        self._answers -= 1
        if self._answers == 0:
            threading.Event().wait()
        return super().infer(clips)


if __name__ == "__main__":
    described = manifest()
    backends = {stream: HangingBackend(int(sys.argv[3])) for stream in described.streams}
    script = json.loads(sys.argv[2])
    recovers = isinstance(script[0][1], str)
    camera = RecoveringCamera(script) if recovers else ScriptedCamera(script)
    daemon = replace(parts(camera), networks=HostNetworks(described, FreeFlow(), backends))
    table = {"stall_s": 1.0, "retry_s": 1.0, "retry_max_s": 2.0}
    with stop_on_signals() as stop, events_to_stderr():
        run(config(Path(sys.argv[1]), camera=table), stop=stop, parts=daemon)
