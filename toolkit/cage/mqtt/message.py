"""What is published: topics and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from toolkit.behaviour_log.bout_feed import LoggedBout
from toolkit.frames import NS_PER_S


def topic(prefix: str, cage: str, last: str) -> str:
    """Return ``PREFIX/CAGE/LAST``."""
    return f"{prefix}/{cage}/{last}"


def bout_message(cage: str, logged: LoggedBout) -> str:
    """Return a bout as JSON. Its id is the same whenever it is sent, so that a consumer knows what it has already."""
    bout = logged.bout
    return json.dumps(
        {
            "id": f"{logged.session}:{bout.start_ns}",
            "cage": cage,
            "behaviour": logged.behaviour,
            "start": _iso(bout.start_ns),
            "stop": _iso(bout.stop_ns),
            "start_ns": bout.start_ns,
            "stop_ns": bout.stop_ns,
            "duration_s": bout.duration_s,
            "rows": bout.frames,
            "probability": bout.mean_probability,
            "continued_from": logged.continued_from,
            "continued_to": logged.continued_to,
            "bundle_sha256": logged.bundle_sha256,
            "session": logged.session,
        }
    )


def state_message(status: dict[str, Any], reasons: Sequence[str]) -> str:
    """Return a daemon's status as JSON, with why it is not well."""
    return json.dumps({"well": not reasons, "reasons": list(reasons), **status})


def _iso(time_ns: int) -> str:
    second = datetime.fromtimestamp(time_ns // NS_PER_S, timezone.utc)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{time_ns % NS_PER_S // 1_000_000:03d}Z"
