"""A camera that fails, or falls silent, and comes back: one interval of absence each, and nothing twice."""

from __future__ import annotations

import threading
from pathlib import Path

from benches.faults.outcome import Outcome, broken_account
from tests.cage.parts import RecoveringCamera, config, parts
from toolkit.behaviour_log import Reason, read_log
from toolkit.cage.daemon import run
from toolkit.frames import NS_PER_S

FRAMES = 20
QUICK = {"stall_s": 0.5, "retry_s": 0.1, "retry_max_s": 0.4, "max_restarts": 1000}


def lose_a_camera(what: str, times: int, folder: Path) -> Outcome:
    """Let a real daemon watch a camera that does it again and again, with a failed opening after each.

    The camera is a scripted one, the daemon's recovery is real; what the network or the driver does is not in it.
    """
    script = [(FRAMES, what), (0, "fails")] * times + [(FRAMES, "ends")]
    camera = RecoveringCamera(script)
    summary = run(config(folder, camera=QUICK), stop=threading.Event(), parts=parts(camera))
    log = read_log(folder / "log" / "a1")
    rows = log.source_index.tolist()
    given = FRAMES * (times + 1)
    faults = broken_account(folder / "log" / "a1")
    if rows != sorted(set(rows)):
        faults.append("a frame is there twice, or out of order")
    absences = [gap for gap in log.unobserved if gap.reason is Reason.CAMERA_LOST]
    # Nothing is known of the time before the first frame and after the last but the interval that says so.
    inner = [gap for gap in absences if log.time_ns[0] <= gap.start_ns < log.time_ns[-1]]
    if len(inner) != times:
        faults.append(f"{len(inner)} absences recorded of {times}")
    longest_s = max((gap.stop_ns - gap.start_ns) / NS_PER_S for gap in inner) if inner else float("inf")
    return Outcome(f"camera: {what}", times, given - len(rows), summary.rows - len(rows), longest_s, tuple(faults))
