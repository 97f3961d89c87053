"""A system clock that steps, or stands in 1970 until it is set: no row out of order, none misdated, none lost."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benches.faults.outcome import Outcome, broken_account, broken_files, rows_of_sessions
from tests.behaviour_log.sessions import INTERVAL_NS, NOON_NS, NS, SESSION, add_rows, steps
from tests.behaviour_log.test_pending import BOOT_NS, rows, truth, unset
from toolkit.behaviour_log import ClockReading, LogWriter, read_log

LARGEST_STEP_S = 3 * 3600


def step_the_clock(times: int, folder: Path, seed: int = 7) -> Outcome:
    """Let the clock step back or forward, by 1 ms to 3 h, `times` times while rows are written."""
    chance = random.Random(seed)
    count, offset_ns, longest_s, expected = 0, NOON_NS, 0.0, []
    with LogWriter(folder / "log", "a1", SESSION) as log:
        log.clock(ClockReading(0, NOON_NS, True))
        for _ in range(times):
            more = chance.randrange(1, 300)
            add_rows(log, steps(count, count + more), first=count, label=count % 3)
            count += more
            step_ns = round(10 ** chance.uniform(6, 13.03)) * chance.choice((-1, 1))
            offset_ns += step_ns
            expected.append(offset_ns - NOON_NS)
            begun_s = time.perf_counter()
            log.clock(ClockReading(count * INTERVAL_NS, count * INTERVAL_NS + offset_ns, True))
            log.flush()
            longest_s = max(longest_s, time.perf_counter() - begun_s)
        log.close("stopped")
    cage = folder / "log" / "a1"
    faults = broken_files(cage) + broken_account(cage)
    found = read_log(folder / "log")
    if found.time_ns.tolist() != [NOON_NS + time_ns for time_ns in steps(0, count)]:
        faults.append("rows are missing, out of order, or dated by a clock that stepped")
    recorded = []
    for path in sorted(cage.glob("*.sqlite")):
        with closing(sqlite3.connect(path)) as database:
            recorded += [step for (step,) in database.execute("SELECT step_ns FROM clock ORDER BY monotonic_ns")]
    if [step for step in recorded if step] != expected:
        faults.append(f"{len(expected)} steps, recorded are {len(recorded)}")
    lost = count - len(rows_of_sessions(cage).get(SESSION.uuid, []))
    return Outcome("clock: steps, 1 ms to 3 h", times, lost, lost, longest_s, tuple(faults))


def start_in_1970(times: int, folder: Path, seed: int = 11) -> Outcome:
    """Start a log in 1970 and set the clock up to twelve hours later, `times` times.

    `recovery_s` is how long it takes to date what waited.
    """
    chance = random.Random(seed)
    lost, longest_s, faults = 0, 0.0, list[str]()
    for number in range(times):
        began, clock = unset()
        place = folder / str(number)
        before, after = chance.randrange(1, 3000), chance.randrange(1, 300)
        apart_ns = chance.randrange(NS, 12 * 3600 * NS)
        late = [BOOT_NS + apart_ns + time_ns for time_ns in steps(before, before + after)]
        with LogWriter(place, "a1", began, clock=clock) as log:
            log.clock(clock)
            add_rows(log, rows(0, before), label=1)
            if chance.random() < 0.5:
                log.flush()
            begun_s = time.perf_counter()
            log.clock(truth(late[0]))
            longest_s = max(longest_s, time.perf_counter() - begun_s)
            add_rows(log, late, label=2, first=before)
            log.close("stopped")
        found = read_log(place)
        faults += broken_files(place / "a1") + broken_account(place / "a1")
        if found.time_ns.tolist() != [NOON_NS + time_ns for time_ns in [*rows(0, before), *late]]:
            faults.append(f"{before} + {after} rows, found {len(found.time_ns)}, or another date")
        lost += before + after - len(found.time_ns)
    return Outcome("clock: 1970, set hours later", times, lost, lost, longest_s, tuple(faults))
