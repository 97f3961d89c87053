"""Harm what a real daemon or a real behaviour log depends on, and say what it cost.

python -m benches.faults all
python -m benches.faults log-kill --times 200
python -m benches.faults log-power --every 10
python -m benches.faults views
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benches.faults.broker import lose_the_broker
from benches.faults.cameras import lose_a_camera
from benches.faults.clocks import start_in_1970, step_the_clock
from benches.faults.disk import fill_the_disk, protect_the_disk
from benches.faults.engines import fail_engines
from benches.faults.files import damage_files
from benches.faults.log_kill import kill_a_writer
from benches.faults.log_power import lose_power
from benches.faults.log_writes import fail_writes
from benches.faults.outcome import NotRun, Outcome
from benches.faults.overload import overload_a_daemon
from benches.faults.recording import fill_the_recording_s_disk
from benches.faults.sources import lose_a_pipeline, lose_an_rtsp_server
from benches.faults.views import spoil_a_view
from tests.cage.test_view import REASONS

Scenario = Callable[..., Outcome | NotRun]
"""Takes an empty `folder`, and its campaign's options by their names."""

HOW_OFTEN = {
    "times": "how often each is done",
    "every": "look at every n-th call only",
    "commits": "of each of two starts",
}


@dataclass(frozen=True)
class Campaign:
    """Scenarios that go together."""

    what: str
    options: Mapping[str, int]
    """By the names of the scenarios' parameters, with what they are unless told otherwise."""
    scenarios: Sequence[Scenario]


CAMPAIGNS = {
    "log-kill": Campaign("kill -9 at random moments", {"times": 200}, [kill_a_writer]),
    "log-power": Campaign("power loss after every write; needs gcc", {"every": 1, "commits": 40}, [lose_power]),
    "log-writes": Campaign("failing writes and syncs; needs gcc", {"times": 100}, [fail_writes]),
    "disk": Campaign(
        "a disk that is full, or read-only; needs root",
        {"times": 30},
        [fill_the_disk, protect_the_disk],
    ),
    "files": Campaign("damaged and empty files", {"times": 25}, [damage_files]),
    "clocks": Campaign("a clock that steps, or starts in 1970", {"times": 50}, [step_the_clock, start_in_1970]),
    "views": Campaign(
        "pictures that show no behaviour, before a network that says rest",
        {},
        [partial(spoil_a_view, kind) for kind in REASONS],
    ),
    "cameras": Campaign(
        "a camera that fails or falls silent",
        {"times": 20},
        [partial(lose_a_camera, what) for what in ("fails", "stalls")],
    ),
    "sources": Campaign(
        "an RTSP server and a GStreamer process, killed and suspended; needs GStreamer",
        {"times": 5},
        [partial(lose, what) for lose in (lose_an_rtsp_server, lose_a_pipeline) for what in ("killed", "suspended")],
    ),
    "engines": Campaign("engines that fail", {"times": 20}, [partial(fail_engines, other) for other in (False, True)]),
    "overload": Campaign(
        "networks or flow too slow", {}, [partial(overload_a_daemon, what) for what in ("networks", "flow")]
    ),
    "recording": Campaign("the recording's disk is full; needs root", {}, [fill_the_recording_s_disk]),
    "broker": Campaign(
        "an MQTT broker that goes away; needs mosquitto",
        {"times": 3},
        [partial(lose_the_broker, what) for what in ("stopped", "hangs")],
    ),
}


def main() -> int:
    """Run one campaign, or all; 1 if a guarantee was broken."""
    parser = argparse.ArgumentParser(prog="python -m benches.faults", description="Harm a real behaviour log.")
    chosen = parser.add_subparsers(dest="campaign", required=True)
    for name, campaign in CAMPAIGNS.items():
        command = chosen.add_parser(name, help=campaign.what)
        for option, default in campaign.options.items():
            command.add_argument(f"--{option}", type=int, default=default, help=HOW_OFTEN[option])
    chosen.add_parser("all", help="all of them, as long as their defaults say")
    arguments = vars(parser.parse_args())
    broken = False
    for name in CAMPAIGNS if arguments["campaign"] == "all" else [arguments["campaign"]]:
        campaign = CAMPAIGNS[name]
        given = {option: arguments.get(option, default) for option, default in campaign.options.items()}
        for scenario in campaign.scenarios:
            with tempfile.TemporaryDirectory() as folder:
                outcome = scenario(folder=Path(folder), **given)
            print(outcome, flush=True)
            broken |= isinstance(outcome, Outcome) and bool(outcome.faults or outcome.rows_lost)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
