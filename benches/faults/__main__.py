"""Harm a real behaviour log and say what it cost.

python -m benches.faults log-kill --times 200
python -m benches.faults log-power
python -m benches.faults log-writes
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benches.faults.log_kill import kill_a_writer
from benches.faults.log_power import lose_power
from benches.faults.log_writes import fail_writes


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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.campaign == "log-kill":
            outcome = kill_a_writer(arguments.times, Path(name))
        elif arguments.campaign == "log-writes":
            outcome = fail_writes(arguments.times, Path(name))
        else:
            outcome = lose_power(Path(name), commits=arguments.commits, every=arguments.every)
    print(outcome)
    return 1 if outcome.faults or outcome.rows_lost else 0


if __name__ == "__main__":
    sys.exit(main())
