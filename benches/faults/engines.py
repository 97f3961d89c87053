"""An engine that fails at a random moment: opened again, or replaced by another, and the gap accounted for."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from benches.faults.outcome import Outcome, broken_account, broken_order
from tests.cage.test_engines import LOST, FailingBackend, Shelf, idle_world, networks
from tests.cage.virtual import FPS, World, watched
from toolkit.behaviour_log import Reason
from toolkit.frames import NS_PER_S

SECONDS = 20


def fail_engines(others: bool, times: int, folder: Path, seed: int = 3) -> Outcome:
    """Let the engine of `times` daemons fail once, and where `others` take over, refuse to open again.

    Opening takes up to five seconds of a time that is made up. `recovery_s` is from the first gap's beginning to the
    last one's end: frames that waited in the queue have rows in between.
    """
    chance = random.Random(seed)
    lost, rows_lost, recovery_s, faults = 0, 0, 0.0, list[str]()
    for number in range(times):
        world, opening_s = idle_world(SECONDS), chance.uniform(0, 5)

        def opening(world: World = world, opening_s: float = opening_s) -> None:
            world.clock.work(lambda _: opening_s)

        answers = chance.randrange(1, round((SECONDS - 8) * FPS))
        shelf = Shelf(LOST, FailingBackend(10_000, name="other"), opening=opening) if others else None
        shelf = shelf or Shelf(FailingBackend(10_000), opening=opening)
        place = folder / str(number)
        daemon = replace(world.parts(), networks=networks(FailingBackend(answers)), source=shelf)
        summary, log = watched(world, place, daemon)
        faults += broken_account(place / "log" / "a1") + broken_order(log)
        gaps = [gap for gap in log.unobserved if gap.reason is Reason.ENGINE_FAILED]
        missing = round(SECONDS * FPS) - len(log.time_ns)
        if round(log.unobserved_s().get(Reason.ENGINE_FAILED, 0.0) * FPS) != missing:
            faults.append(f"{missing} frames have no row, which is not what the gaps say")
        if others and log.provenance[-1].engines == log.provenance[0].engines:
            faults.append("other engines took over, and the log does not say so")
        lost += missing
        rows_lost += summary.rows - len(log.time_ns)
        recovery_s = max(recovery_s, (gaps[-1].stop_ns - gaps[0].start_ns) / NS_PER_S if gaps else 0.0)
    name = "engine: fails, another instead" if others else "engine: fails, opened again"
    return Outcome(name, times, lost, rows_lost, recovery_s, tuple(faults))
