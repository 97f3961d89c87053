"""A writer to be harmed: real-time rows, a commit for each few, and a word about every commit that returned.

Run as a program: ``python -m benches.faults.writer FOLDER NUMBER COMMITS``; NUMBER is the start's, from 1. It prints
the number of rows that are committed; where ``FOLDER/a1/announced`` can be made, it writes it there too, so that it
stands in order among the writes that a recorder sees.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_NS, add_rows, session
from toolkit.behaviour_log import LogWriter, Reason

MIDNIGHT_NS = NOON_NS + DAY_NS // 2
ROWS_PER_COMMIT = 2


def write(
    folder: Path,
    number: int,
    announce: Callable[[int], None],
    *,
    start_ns: int,
    commits: int | None = None,
    most_held: int = 0,
    paced: bool = True,
) -> None:
    """Write rows of 10 ms until killed, or `commits` commits, from UTC `start_ns` on.

    Parameters
    ----------
    paced
        Rows are dated by the real time that passes, so that the next start is later than the last row.
    """
    began_ns = time.monotonic_ns()
    offset_ns = start_ns - began_ns
    with LogWriter(folder, "a1", session(number, start_ns=start_ns, offset_ns=offset_ns), most_held=most_held) as log:
        time_ns = log.session.start_ns - log.session.utc_offset_ns
        row = committed = 0
        while commits is None or committed < commits:
            for _ in range(ROWS_PER_COMMIT):
                add_rows(log, [time_ns], label=row // 25 % 3, first=row)
                row += 1
                time_ns += INTERVAL_NS
            if row % 60 == 0:
                log.unobserved(time_ns, time_ns + 5 * INTERVAL_NS, Reason.OVERLOAD)
                time_ns += 5 * INTERVAL_NS
            if paced:
                time.sleep(max(0.0, (time_ns - time.monotonic_ns()) / 1e9))
            log.flush()
            committed += 1
            announce(row - log.held)
        log.close("stopped")


def main(folder: Path, number: int, commits: int) -> None:
    """Write, print and record."""
    announced = os.open(folder / "a1" / "announced", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def announce(rows: int) -> None:
        os.write(announced, f"{number} {rows}\n".encode())

    # The first start passes midnight.
    start_ns = MIDNIGHT_NS - round(0.7 * commits * ROWS_PER_COMMIT * INTERVAL_NS) + (number - 1) * 3600 * 10**9
    write(folder, number, announce, start_ns=start_ns, commits=commits, most_held=1000, paced=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
