"""A day file that is damaged by hand, or emptied: set aside at the next start, and the log goes on beside it."""

from __future__ import annotations

import time
from pathlib import Path

from benches.faults.outcome import Outcome, broken_account, rows_of_sessions
from tests.behaviour_log.sessions import DAY_NS, NOON_NS, add_rows, session, steps
from tests.behaviour_log.test_damage import (
    cut_in_half,
    make_empty,
    make_text,
    overwrite_late_pages,
    write_a_page_to_the_wrong_place,
    written,
)
from toolkit.behaviour_log import LogWriter

KINDS = (overwrite_late_pages, write_a_page_to_the_wrong_place, make_empty, make_text, cut_in_half)
ROWS, MORE = 1000, 100


def damage_files(times: int, folder: Path) -> Outcome:
    """Damage today's file between two starts, yesterday's being sound, in each of five ways in turn.

    `Outcome.frames_lost` are the rows of the damaged files, which are kept beside; `rows_lost` those of the sound day
    and of the next start.
    """
    aside, lost, longest_s, faults = 0, 0, 0.0, list[str]()
    for number in range(times):
        damage, place = KINDS[number % len(KINDS)], folder / str(number)
        yesterday = session(8, start_ns=NOON_NS - DAY_NS, offset_ns=NOON_NS - DAY_NS)
        with LogWriter(place, "a1", yesterday) as log:
            add_rows(log, steps(0, MORE))
            log.close("stopped")
        path = written(place, ROWS)
        damage(path)
        damaged = path.read_bytes()
        next_ns = NOON_NS + DAY_NS // 4
        begun_s = time.perf_counter()
        with LogWriter(place, "a1", session(9, start_ns=next_ns, offset_ns=next_ns)) as log:
            longest_s = max(longest_s, time.perf_counter() - begun_s)
            add_rows(log, steps(0, MORE))
            if not any("damaged" in fault for fault in log.faults):
                faults.append(f"{damage.__name__}: nobody is told")
            log.close("stopped")
        if [kept.read_bytes() for kept in (place / "a1").glob("*.corrupt-1")] != [damaged]:
            faults.append(f"{damage.__name__}: the damaged file is not kept as it was")
        faults += broken_account(place / "a1")
        found = rows_of_sessions(place / "a1")
        lost += 2 * MORE - sum(len(found.get(session(uuid).uuid, [])) for uuid in (8, 9))
        aside += ROWS
    return Outcome("log: a damaged or empty file", times, aside, lost, longest_s, tuple(faults))
