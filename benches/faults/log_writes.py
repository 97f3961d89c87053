"""Failing writes and syncs, as of a full, broken or write-protected disk: the writer holds its rows and goes on.

Run as a program, ``python -m benches.faults.log_writes FOLDER TIMES SEED``, it is the writer that the faults befall.
"""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from benches.faults.log_power import compile_recorder
from benches.faults.outcome import Outcome, broken_account, broken_files, rows_of_sessions
from tests.behaviour_log.sessions import INTERVAL_NS, SESSION, add_rows
from toolkit.behaviour_log import LogWriter

FAULTS = (f"{errno.ENOSPC} w", f"{errno.EIO} w", f"{errno.EIO} s", f"{errno.EROFS} w", f"{errno.ENOSPC} ws")


def fail_writes(times: int, folder: Path, seed: int = 5) -> Outcome:
    """Let a writer's disk fail `times` times for some commits, and hold the log against what it was given."""
    cage = folder / "log" / "a1"
    cage.mkdir(parents=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(compile_recorder(folder)),
        "FAULT_FOLDER": str(cage.resolve()),
        "FAULT_CONTROL": str((folder / "control").resolve()),
    }
    command = [sys.executable, "-m", "benches.faults.log_writes", str(folder.resolve()), str(times), str(seed)]
    said = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout.split()
    given, failed, longest_s = int(said[0]), int(said[1]), float(said[2])
    found = rows_of_sessions(cage).get(SESSION.uuid, [])
    faults = broken_files(cage) + broken_account(cage)
    if found != list(range(given)):
        faults.append(f"{given} rows were given, the log has {len(found)}, or not in order")
    if failed < times:
        faults.append(f"only {failed} commits failed in {times} faults: this shows nothing")
    return Outcome("log: failing writes", times, given - len(found), given - len(found), longest_s, tuple(faults))


def main(folder: Path, times: int, seed: int) -> None:
    """Write; print the rows given, the commits that failed, and the longest time to the first commit that did not."""
    chance = random.Random(seed)
    control = folder / "control"
    rows = failed = 0
    longest_s = 0.0
    with LogWriter(folder / "log", "a1", SESSION, most_held=10_000) as log:
        for number in range(times):
            for is_failing in (False, True):
                if is_failing:
                    control.write_text(FAULTS[number % len(FAULTS)])
                for _ in range(chance.randrange(1, 6)):
                    count = chance.randrange(1, 200)
                    add_rows(log, [row * INTERVAL_NS for row in range(rows, rows + count)], first=rows, label=rows % 3)
                    rows += count
                    log.flush()
                    failed += bool(log.faults)
            control.unlink()
            begun_s = time.perf_counter()
            log.flush()
            if log.held:
                raise SystemExit(f"rows are held though nothing fails: {log.faults}")
            longest_s = max(longest_s, time.perf_counter() - begun_s)
        log.close("stopped")
    print(rows, failed, longest_s)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
