"""A daemon whose networks, or whose flow, are too slow for a while: what it leaves out, and when it is back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from benches.faults.outcome import Outcome, broken_account, broken_order
from tests.cage.test_overload import steps
from tests.cage.virtual import FPS, World, assert_no_clip_crosses_a_gap, watched
from toolkit.behaviour_log import Reason
from toolkit.frames import NS_PER_S

SECONDS, BEGUN_S, OVER_S = 180.0, 30.0, 90.0
USUAL_S = 0.008
SLOW_S = {"networks": 0.060, "flow": 0.070}
"""Of 33 ms between frames: every third window can be classified; not every frame can be seen."""


def overload_a_daemon(what: Literal["networks", "flow"], folder: Path) -> Outcome:
    """Watch for three minutes, the second of which is too slow. Time is made up: it passes where work is done.

    `recovery_s` is from the end of the slow minute to the first row from which on every frame has one.
    """
    costs = {name: steps((BEGUN_S, USUAL_S), (OVER_S, SLOW_S[name]), (SECONDS, USUAL_S)) for name in SLOW_S}
    usual = steps((SECONDS, USUAL_S))
    world = World(
        SECONDS, costs["flow"] if what == "flow" else usual, costs["networks"] if what == "networks" else usual
    )
    summary, log = watched(world, folder)
    faults = broken_account(folder / "log" / "a1") + broken_order(log)
    try:
        assert_no_clip_crosses_a_gap(world, log)
    except AssertionError as error:
        faults.append(f"a clip crosses a gap: {error}")
    unobserved_s = log.unobserved_s().get(Reason.OVERLOAD, 0.0)
    if abs(unobserved_s - summary.frames_dropped / FPS) > 1e-3:
        faults.append(f"{summary.frames_dropped} frames dropped, {unobserved_s:.3f} s unobserved because of overload")
    seconds = (log.time_ns - log.time_ns[0]) / NS_PER_S
    thinned = np.flatnonzero(np.diff(log.source_index) > 1)
    if not len(thinned):
        faults.append("nothing was left out: this shows nothing")
    recovery_s = float(seconds[thinned[-1] + 1]) - OVER_S if len(thinned) else 0.0
    if recovery_s > SECONDS - OVER_S - 30:
        faults.append("not every frame is classified again")
    rows_lost = summary.rows - len(log.time_ns)
    return Outcome(f"{what} too slow, a minute", 1, summary.frames_dropped, rows_lost, recovery_s, tuple(faults))
