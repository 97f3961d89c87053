"""Too slow on purpose, in real time: ``python -m benches.overload [--seconds 30]``.

The daemon, its threads and its log are real; flow and networks sleep for as long as they are said to take. Prints what
`toolkit.cage.pace` forecasts beside what became of it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bundles import manifest
from tests.cage.parts import FreeBackend, FreeFlow, ScriptedCamera, config
from toolkit.behaviour_log import Reason, read_log
from toolkit.bundle import Bundle
from toolkit.cage.daemon import run
from toolkit.cage.pace import Costs, demand_of, forecast
from toolkit.cage.watch import Parts
from toolkit.engine.host import HostNetworks

CASES = {
    "keeps up": Costs(0.008, 0.012),
    "networks too slow": Costs(0.008, 0.060),
    "networks far too slow": Costs(0.008, 0.180),
    "flow too slow": Costs(0.060, 0.010),
    "both too slow": Costs(0.050, 0.150),
}


class SleepingBackend(FreeBackend):
    """A network that sleeps, and always says the same."""

    def __init__(self, cost_s: float) -> None:
        super().__init__()
        self._cost_s = cost_s

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(self._cost_s)
        return super().infer(clips)


def watch(costs: Costs, seconds: float, folder: Path) -> str:
    """Run one daemon and return its line of the table."""
    described = manifest()
    camera = ScriptedCamera([(round(seconds * 30), 0.0)])
    backends = {"rgb": SleepingBackend(costs.window_s), "flow": FreeBackend()}
    parts = Parts(
        Bundle(folder, described, "b" * 64), camera, HostNetworks(described, FreeFlow(costs.frame_s), backends)
    )
    table = config(folder)
    expected = forecast(costs, demand_of(table, described, camera.info))
    summary = run(table, stop=threading.Event(), parts=parts)
    log = read_log(folder / "log")
    lost_s = log.unobserved_s().get(Reason.OVERLOAD, 0.0)
    # The queue that is left at the end was processed after the camera's time.
    coverage = 1 - lost_s / (log.observed_s + lost_s)
    stride = int(np.median(np.diff(log.source_index)))
    return (
        f"{expected.regime:12}  {expected.stride:6}  {stride:6}  {expected.coverage:8.0%}  {coverage:8.0%}  "
        f"{expected.latency_s:7.2f}  {summary.latency_p99_s or 0:7.2f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    print(f"{'':23}{'forecast':12}  stride   found  coverage     found  latency  p99 found")
    for name, costs in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name:23}{watch(costs, seconds, Path(folder))}", flush=True)


if __name__ == "__main__":
    main()
