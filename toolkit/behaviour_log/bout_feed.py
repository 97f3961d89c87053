"""A log's bouts in order, a few at a time, for those who pass them on while the daemon writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from toolkit.behaviour_log.damage import log_errors
from toolkit.behaviour_log.day_file import day_of
from toolkit.bouts import Bout
from toolkit.ethogram import Ethogram

_SESSION = "(SELECT {column} FROM session WHERE start_ns <= bout.start_ns ORDER BY start_ns DESC, id DESC LIMIT 1)"

_BOUTS = f"""
SELECT start_ns, stop_ns, behaviour, rows, probability, continued_from, continued_to,
    COALESCE({_SESSION.format(column="uuid")}, ''), COALESCE({_SESSION.format(column="bundle_sha256")}, '')
FROM bout WHERE start_ns > ? AND start_ns <= ? ORDER BY start_ns LIMIT ?"""


@dataclass(frozen=True, slots=True)
class LoggedBout:
    """A bout as it lies in a day's file."""

    bout: Bout
    behaviour: str
    """Its name."""
    continued_from: bool
    """Whether it began the day before, as another bout."""
    continued_to: bool
    """Whether it goes on the day after, as another bout."""
    session: str
    """UUID of the daemon's start that logged it."""
    bundle_sha256: str


def read_bouts(folder: Path, cage: str, after_ns: int, until_ns: int, limit: int) -> list[LoggedBout]:
    """Return the oldest committed bouts that begin after `after_ns` and not after `until_ns`, UTC ns.

    Parameters
    ----------
    folder
        The cage's own folder.
    limit
        Of how many at most.

    Raises
    ------
    LogError
        If a file cannot be read.
    """
    bouts: list[LoggedBout] = []
    for path in _days(folder, cage, after_ns, until_ns):
        with log_errors(path), closing(_open(path)) as database:
            database.execute("BEGIN")
            stored = database.execute("SELECT value FROM meta WHERE key = 'ethogram'").fetchone()
            names = Ethogram.model_validate_json(stored[0]).names if stored else ()
            bouts += [
                LoggedBout(
                    Bout(behaviour, start_ns, stop_ns, rows, probability),
                    names[behaviour],
                    bool(continued_from),
                    bool(continued_to),
                    session,
                    bundle,
                )
                for start_ns, stop_ns, behaviour, rows, probability, continued_from, continued_to, session, bundle in (
                    database.execute(_BOUTS, (after_ns, until_ns, limit - len(bouts)))
                )
            ]
        if len(bouts) >= limit:
            break
    return bouts


def count_bouts(folder: Path, cage: str, after_ns: int, until_ns: int) -> int:
    """Return how many committed bouts begin after `after_ns` and not after `until_ns`, UTC ns.

    Raises
    ------
    LogError
        If a file cannot be read.
    """
    count = 0
    for path in _days(folder, cage, after_ns, until_ns):
        with log_errors(path), closing(_open(path)) as database:
            query = "SELECT COUNT(*) FROM bout WHERE start_ns > ? AND start_ns <= ?"
            count += database.execute(query, (after_ns, until_ns)).fetchone()[0]
    return count


def _days(folder: Path, cage: str, after_ns: int, until_ns: int) -> Iterator[Path]:
    first, last = (f"{cage}_{day_of(time_ns)}.sqlite" for time_ns in (after_ns, until_ns))
    for path in sorted(folder.glob(f"{cage}_????-??-??.sqlite")):
        if first <= path.name <= last and path.stat().st_size:
            yield path


def _open(path: Path) -> sqlite3.Connection:
    # Read-only, and closed again at once: a reader that stays would keep the write-ahead log from being folded in.
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
