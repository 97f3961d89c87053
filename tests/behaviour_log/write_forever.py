"""A writer to be killed: writes rows as fast as it can and prints the number of those that are committed.

Run as a program: ``write_forever.py FOLDER NUMBER``; NUMBER is the start's, from 1.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.behaviour_log.sessions import INTERVAL_NS, add_rows, session
from toolkit.behaviour_log import LogWriter, Reason


def main(folder: Path, number: int) -> None:
    offset_ns = time.time_ns() - time.monotonic_ns()
    began = session(number, start_ns=time.time_ns(), offset_ns=offset_ns)
    print("started", flush=True)
    with LogWriter(folder, "a1", began) as log:
        time_ns = log.session.start_ns - log.session.utc_offset_ns
        row = 0
        while True:
            for _ in range(10):
                add_rows(log, [time_ns], label=row // 25 % 3, first=row)
                row += 1
                time_ns += INTERVAL_NS
            if row % 70 == 0:
                log.unobserved(time_ns, time_ns + 5 * INTERVAL_NS, Reason.OVERLOAD)
                time_ns += 5 * INTERVAL_NS
            log.flush()
            print(row, flush=True)
            # Rows are dated ahead of the clock by less than this sleeps, so that the next start is later.
            time.sleep(0.12)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
