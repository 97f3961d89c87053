"""BORIS: a spreadsheet that it imports into an observation, and the table of events that it would export itself.

BORIS 8 imports events from ``.xlsx`` or ``.ods`` only, of the columns ``time``, ``subject``, ``code``, ``modifier`` and
``comment``; events of a state begin and end it in turn. The other table, *tabular events*, has the columns of BORIS 8's
own export and is what other programs read. Unobserved time is the state `UNOBSERVED` with its reason as the comment, so
that it is not taken for the absence of every behaviour. None of BORIS's code is here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import InputError
from toolkit.export.piece import Piece, moment, seconds_text
from toolkit.export.spreadsheet import MAX_ROWS, write_sheet

UNOBSERVED = "unobserved"
IMPORTED = ("time", "subject", "code", "modifier", "comment")
TABULAR = (
    "Observation id",
    "Observation date",
    "Description",
    "Observation duration",
    "Observation type",
    "Source",
    "Time offset (s)",
    "Media duration (s)",
    "FPS",
    "Subject",
    "Behavior",
    "Behavioral category",
    "Behavior type",
    "Time",
    "Media file name",
    "Image index",
    "Image file path",
    "Comment",
)
_DECIMALS = 3
"""BORIS's times are milliseconds."""


@dataclass(frozen=True, slots=True)
class _Event:
    time_ns: int
    kind: str
    code: str
    comment: str


def write_import(piece: Piece, path: Path) -> None:
    """Write the spreadsheet for *Observations > Import observations*; seconds from the piece's first moment.

    Raises
    ------
    InputError
        If there are more events than a spreadsheet has rows, or a behaviour is called `UNOBSERVED`.
    """
    events = list(_events(piece))
    if len(events) >= MAX_ROWS:
        raise InputError(
            f"{piece.file}: {len(events)} events, and a spreadsheet has {MAX_ROWS} rows. Export fewer: drop short "
            "bouts, or take --format csv."
        )
    rows: list[list[str | float]] = [[_time(piece, event), "", event.code, "", event.comment] for event in events]
    write_sheet(path, "events", IMPORTED, rows)


def write_tabular(piece: Piece, path: Path) -> None:
    """Write the table of events as BORIS exports it, as CSV."""
    recording = piece.recording
    head = [
        piece.name,
        f"{moment(piece.start_ns):%Y-%m-%d %H:%M:%S}" if piece.dated else "",
        f"labelled by {piece.made_by.get('bundle') or 'toolkit'}",
        seconds_text(piece.stop_ns - piece.start_ns, _DECIMALS),
        "Media file" if recording else "Live observation",
        f"player #1:{recording.video}" if recording else "",
        "0",
        seconds_text(piece.stop_ns - piece.start_ns, _DECIMALS) if recording else "NA",
        f"{recording.fps:.6g}" if recording else "NA",
        piece.cage,
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(TABULAR)
        for event in _events(piece):
            media = recording.video if recording else "NA"
            time = seconds_text(event.time_ns - piece.start_ns, _DECIMALS)
            table.writerow([*head, event.code, "", event.kind, time, media, "NA", "NA", event.comment])


def _events(piece: Piece) -> Iterator[_Event]:
    """Yield starts and stops in time order; of one moment the stops come first."""
    if UNOBSERVED in piece.ethogram.names:
        raise InputError(
            f"{piece.file}: a behaviour is called {UNOBSERVED!r}, which is what BORIS is told of time without labels. "
            "Take --format csv, or rename the behaviour."
        )
    states = [(bout.start_ns, bout.stop_ns, piece.ethogram.names[bout.behaviour], "") for bout in piece.bouts]
    states += [(gap.start_ns, gap.stop_ns, UNOBSERVED, gap.reason) for gap in piece.unobserved]
    for start_ns, stop_ns, code, comment in sorted(states):
        yield _Event(start_ns, "START", code, comment)
        yield _Event(stop_ns, "STOP", code, comment)


def _time(piece: Piece, event: _Event) -> float:
    return float(seconds_text(event.time_ns - piece.start_ns, _DECIMALS))
