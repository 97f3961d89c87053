"""Kill -9 of a real writing process at random moments, starts and ends of files included."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from multiprocessing.connection import Connection
from pathlib import Path

from benches.faults.outcome import Outcome, broken_account, broken_files, rows_of_sessions
from benches.faults.writer import MIDNIGHT_NS, write
from tests.behaviour_log.sessions import NS, session
from toolkit.behaviour_log import LogWriter

LONGEST_S = 0.4


def kill_a_writer(times: int, folder: Path, seed: int = 2) -> Outcome:
    """Start and kill a writer `times` times on one log, which passes a midnight half-way.

    After every kill a copy of the log is opened and held against what the writer had announced; the next writer then
    recovers the log itself.
    """
    moments = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benches.faults.writer"])
    began_ns = time.monotonic_ns()
    # Some 0.35 s each: half of them before midnight.
    offset_ns = MIDNIGHT_NS - round(times * 0.15 * NS) - began_ns
    announced: dict[int, int] = {}
    given: dict[int, int] = {}
    faults: list[str] = []
    longest_s = 0.0
    for number in range(1, times + 1):
        receiver, sender = context.Pipe(duplex=False)
        writer = context.Process(target=_write, args=(folder / "log", number, sender, time.monotonic_ns() + offset_ns))
        writer.start()
        sender.close()
        receiver.recv()
        time.sleep(moments.uniform(0.0, LONGEST_S))
        writer.kill()
        writer.join()
        announced[number], given[number] = _last(receiver)
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder / "log", copy, ignore=shutil.ignore_patterns("*-shm"))
        begun_s = time.perf_counter()
        now_ns = time.monotonic_ns() + offset_ns
        with LogWriter(copy, "a1", session(10**6, start_ns=now_ns, offset_ns=offset_ns)) as log:
            longest_s = max(longest_s, time.perf_counter() - begun_s)
            log.close("stopped")
        faults += [f"kill {number}: {fault}" for fault in broken_files(copy / "a1")]
        faults += [f"kill {number}: {fault}" for fault in _missing(copy / "a1", {number: announced[number]})]
    cage = folder / "log" / "a1"
    faults += broken_files(cage) + _missing(cage, announced)
    if sum(announced.values()):
        faults += broken_account(cage)
    found = rows_of_sessions(cage)
    frames = sum(max(0, given[number] - len(found.get(session(number).uuid, []))) for number in given)
    rows = sum(max(0, announced[number] - len(found.get(session(number).uuid, []))) for number in announced)
    if sum(announced.values()) < times:
        faults.append(f"the writers wrote {sum(announced.values())} rows in {times} starts: this shows nothing")
    return Outcome("log: kill -9", times, frames, rows, longest_s, tuple(faults))


def _write(folder: Path, number: int, sender: Connection, start_ns: int) -> None:
    sender.send(0)
    write(folder, number, sender.send, start_ns=start_ns)


def _last(receiver: Connection) -> tuple[int, int]:
    """Return the rows that were announced last, and those that were given by then at most."""
    from benches.faults.writer import ROWS_PER_COMMIT

    rows = 0
    try:
        while True:
            rows = receiver.recv()
    except (EOFError, OSError):
        # The kill may cut the last message short.
        return rows, rows + ROWS_PER_COMMIT


def _missing(cage: Path, announced: dict[int, int]) -> list[str]:
    found = rows_of_sessions(cage)
    faults = []
    for number, rows in announced.items():
        indices = found.get(session(number).uuid, [])
        if len(indices) < rows:
            faults.append(f"start {number} announced {rows} rows, the log has {len(indices)}")
        if indices != list(range(len(indices))):
            faults.append(f"start {number}: rows are not 0 to {len(indices) - 1} in order")
    return faults
