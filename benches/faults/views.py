"""Pictures that show no behaviour, before a network that always says "rest": none of it may become a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from benches.faults.outcome import Outcome, broken_account
from tests.cage.test_view import FPS, FRAMES, REASONS, START, STOP, MemoryCamera, watched
from toolkit.frames import NS_PER_S
from toolkit.synth import FaultKind, SyntheticVideo, ViewFault
from toolkit.synth.fault import with_faults
from toolkit.synth.scene import COATS


def spoil_a_view(kind: FaultKind, folder: Path, coats: Sequence[str] = tuple(COATS)) -> Outcome:
    """Let a real daemon watch a synthetic cage of each coat, 10 s each, of which 5 s are spoilt.

    `Outcome.frames_lost` are sound frames without a row: those before a freeze is known, and after a fault until the
    picture is believed again. `recovery_s` is the longest time of the latter. The reason recorded may be a neighbour's
    (docs/view.md): what must not be is a row.
    """
    lost, rows_lost, recovery_s, faults = 0, 0, 0.0, list[str]()
    for seed, coat in enumerate(coats):
        frames = islice(SyntheticVideo(seed, 20.0, strain=coat).frames(), FRAMES)
        spoilt = list(with_faults(frames, [ViewFault(kind, START / FPS, STOP / FPS)], FPS, seed=seed))
        log = watched(folder / coat, MemoryCamera(spoilt))
        rows = log.source_index
        inside = int(((rows >= START) & (rows < STOP)).sum())
        if inside:
            faults.append(f"{coat}: {inside} rows of what nobody could see")
        reasons = {gap.reason for gap in log.unobserved}
        if not reasons <= set(REASONS.values()):
            faults.append(f"{coat}: recorded as {', '.join(reason.value for reason in reasons)}")
        lost += FRAMES - (STOP - START) - len(rows) + inside
        status = json.loads((folder / coat / "log" / "a1" / "status.json").read_text())
        rows_lost += status["rows"] - len(rows)
        after = log.time_ns[rows >= STOP]
        ended_ns = int(log.time_ns[0]) + STOP * NS_PER_S // FPS
        recovery_s = max(recovery_s, (int(after[0]) - ended_ns) / NS_PER_S if len(after) else float("inf"))
        faults += [f"{coat}: {found}" for found in broken_account(folder / coat / "log" / "a1")]
    return Outcome(f"view: {kind}", len(coats), lost, rows_lost, recovery_s, tuple(faults))
