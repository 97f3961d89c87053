"""How far a cage's bouts were taken by a broker: one small file beside the log, which itself holds what waits.

The log is the store of store-and-forward. Nothing is copied, so nothing can fill a second store, and a daemon that is
killed between committing a bout and sending it finds the bout in the log at its next start.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.errors import LogError
from toolkit.files import atomic_write

POSITION = "mqtt.json"


@dataclass(frozen=True, slots=True)
class Position:
    """What a broker has acknowledged."""

    until_ns: int
    """UTC ns: bouts that begin up to then are done with."""
    sent: int = 0
    """Bouts acknowledged."""
    dropped: int = 0
    """Bouts that grew too old before a broker took them."""


def read_position(folder: Path) -> Position | None:
    """Return the position beside a cage's log; None where nothing was ever sent.

    Raises
    ------
    LogError
        If the file cannot be read.
    """
    path = folder / POSITION
    if not path.exists():
        return None
    try:
        return Position(**json.loads(path.read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError) as error:
        raise LogError(
            f"{path}: cannot be read ({error}). Expected how far the log was sent. Remove it: what was not sent before "
            "now is then left out."
        ) from error


def write_position(folder: Path, position: Position) -> None:
    """Write the position, so that a kill or power loss leaves the old one or the new one."""
    with atomic_write(folder / POSITION) as beside:
        beside.write_text(json.dumps(asdict(position)) + "\n", encoding="ascii")
