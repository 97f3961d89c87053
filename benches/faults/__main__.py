"""Harm what a real daemon or a real behaviour log depends on, and say what it cost.

python -m benches.faults all
python -m benches.faults log-kill --times 200
python -m benches.faults log-power
python -m benches.faults log-writes
python -m benches.faults views
python -m benches.faults cameras
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benches.faults.cameras import lose_a_camera
from benches.faults.log_kill import kill_a_writer
from benches.faults.log_power import lose_power
from benches.faults.log_writes import fail_writes
from benches.faults.outcome import Outcome
from benches.faults.views import spoil_a_view
from tests.cage.test_view import REASONS


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
    campaigns.add_parser("views", help="pictures that show no behaviour, before a network that says rest")
    cameras = campaigns.add_parser("cameras", help="a camera that fails or falls silent")
    cameras.add_argument("--times", type=int, default=20)
    campaigns.add_parser("all", help="all of them, as long as their defaults say; needs gcc")
    arguments = parser.parse_args()
    chosen: dict[str, list[Callable[[Path], Outcome]]] = {
        "log-kill": [lambda folder: kill_a_writer(getattr(arguments, "times", 200), folder)],
        "log-power": [
            lambda folder: lose_power(
                folder, commits=getattr(arguments, "commits", 40), every=getattr(arguments, "every", 1)
            )
        ],
        "log-writes": [lambda folder: fail_writes(getattr(arguments, "times", 100), folder)],
        "views": [partial(spoil_a_view, kind) for kind in REASONS],
        "cameras": [partial(lose_a_camera, what, getattr(arguments, "times", 20)) for what in ("fails", "stalls")],
    }
    names = list(chosen) if arguments.campaign == "all" else [arguments.campaign]
    broken = False
    for campaign in (one for name in names for one in chosen[name]):
        with tempfile.TemporaryDirectory() as name:
            outcome = campaign(Path(name))
        print(outcome, flush=True)
        broken |= bool(outcome.faults or outcome.rows_lost)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
