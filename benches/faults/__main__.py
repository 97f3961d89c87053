"""Harm a real behaviour log and say what it cost.

python -m benches.faults all
python -m benches.faults log-kill --times 200
python -m benches.faults log-power
python -m benches.faults log-writes
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benches.faults.log_kill import kill_a_writer
from benches.faults.log_power import lose_power
from benches.faults.log_writes import fail_writes
from benches.faults.outcome import Outcome


def main() -> int:
    """Run one campaign; 1 if a guarantee was broken."""
    parser = argparse.ArgumentParser(prog="python -m benches.faults", description="Harm a real behaviour log.")
    campaigns = parser.add_subparsers(dest="campaign", required=True)
    kill = campaigns.add_parser("log-kill", help="kill -9 at random moments")
    kill.add_argument("--times", type=int, default=200)
    power = campaigns.add_parser("log-power", help="power loss after every write; needs gcc")
    power.add_argument("--every", type=int, default=1, help="look at every n-th call only")
    power.add_argument("--commits", type=int, default=40, help="commits of each of two starts")
    writes = campaigns.add_parser("log-writes", help="failing writes and syncs; needs gcc")
    writes.add_argument("--times", type=int, default=100)
    campaigns.add_parser("all", help="the three of them, as long as their defaults say; needs gcc")
    arguments = parser.parse_args()
    chosen: dict[str, Callable[[Path], Outcome]] = {
        "log-kill": lambda folder: kill_a_writer(arguments.times, folder),
        "log-power": lambda folder: lose_power(folder, commits=arguments.commits, every=arguments.every),
        "log-writes": lambda folder: fail_writes(arguments.times, folder),
    }
    if arguments.campaign == "all":
        chosen = {
            "log-kill": lambda folder: kill_a_writer(200, folder),
            "log-power": lambda folder: lose_power(folder, commits=40, every=1),
            "log-writes": lambda folder: fail_writes(100, folder),
        }
    else:
        chosen = {arguments.campaign: chosen[arguments.campaign]}
    broken = False
    for campaign in chosen.values():
        with tempfile.TemporaryDirectory() as name:
            outcome = campaign(Path(name))
        print(outcome, flush=True)
        broken |= bool(outcome.faults or outcome.rows_lost)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
