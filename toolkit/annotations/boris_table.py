"""The tables that BORIS exports, whatever its version: the header found, the columns known by name.

The format, from exports in BORIS's own tests (github.com/olivierfriard/BORIS, tests/files: before version 8), from the
columns that its version 8 names, and from exports that users published. Nothing of BORIS's code is used.

- *Aggregated events*: a row per bout, ``Start (s)``, ``Stop (s)``, ``Behavior type`` STATE or POINT.
- *Tabular events*: a row per change, ``Time`` in seconds and START, STOP or POINT in ``Behavior type`` (8 and later)
  or ``Status`` (before). Before 8, lines above the header say observation, media files and time offset.
- The video is in ``Media file name`` (8 and later), ``Media file`` (aggregated, before) or ``Media file path``
  (tabular, before), with the annotator's whole path or without it.
- The rate is in ``FPS (frame/s)`` or ``FPS``, the length in ``Media duration (s)``, ``Total length`` or
  ``Total duration``. Of an observation of several files played one after another the newer versions join them with
  ``;``, of players side by side with ``|``; ``NA`` is not known.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_MEDIA = ("Media file name", "Media file path", "Media file")
_FPS = ("FPS (frame/s)", "FPS")
_LENGTH = ("Media duration (s)", "Total length", "Total duration")
_CHANGE = ("Status", "Behavior type")
_DELIMITERS = "\t,;"
_SEARCHED_LINES = 200
_OFFSET = "Time offset (s)"
_OBSERVATION = "Observation id"


@dataclass(frozen=True, slots=True)
class Event:
    """One row of an export, unchecked; times and numbers are text, "" where the export has none or NA."""

    where: str
    """File and line."""
    observation: str
    source: str
    """What was watched, if not a video: ``live``, ``pictures``; else ``""``."""
    media: str
    """File name as written."""
    fps: str
    length_s: str
    offset_s: str
    subject: str
    behaviour: str
    modifiers: tuple[str, ...]
    kind: str
    """STATE or POINT of an aggregated export, START, STOP or POINT of a tabular one."""
    start_s: str
    """Of a tabular export: when it happened."""
    stop_s: str
    aggregated: bool


def is_export(path: Path) -> bool:
    """Say whether a file is an export of BORIS, by a header among its first lines."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        head = list(islice(file, _SEARCHED_LINES))
    return any(_is_header(_cells(line, d)) for line in head for d in _DELIMITERS)


def read_events(path: Path, name: str) -> list[Event]:
    """Return an export's rows; `name` is how messages call the file.

    Raises
    ------
    ValueError
        If it is not a table in UTF-8, or lacks a column; the message says which.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            text = list(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"not in UTF-8 ({error}); save it as CSV, UTF-8") from error
    delimiter = next(d for line in text for d in _DELIMITERS if _is_header(_cells(line, d)))
    try:
        reader = csv.reader(text, delimiter=delimiter)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise ValueError(f"not a table ({error})") from error
    top = next(position for position, (_, cells) in enumerate(lines) if _is_header(cells))
    header = lines[top][1]
    _check_columns(header)
    # Only files of the old versions have lines above the header: "Observation id", then what it is.
    above = {cells[0]: cells[1] for _, cells in lines[:top] if len(cells) > 1}
    return [_event(f"{name} line {line}", header, cells, above) for line, cells in lines[top + 1 :] if any(cells)]


def first_player(joined: str) -> list[str]:
    """Return what an export says of each file that the first player plays, one after another."""
    return [part.strip() for part in joined.split("|")[0].split(";")]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _is_header(cells: list[str]) -> bool:
    names = {cell.strip() for cell in cells}
    return {"Subject", "Behavior"} <= names and ("Start (s)" in names or "Time" in names)


def _check_columns(header: list[str]) -> None:
    wanted = [_MEDIA, ("Stop (s)",), ("Behavior type",)] if "Start (s)" in header else [_MEDIA, _CHANGE]
    lacking = [" or ".join(map(repr, names)) for names in wanted if not set(names) & set(header)]
    if lacking:
        raise ValueError(f"expected a column {', and '.join(lacking)}; found {', '.join(filter(None, header))}")


def _event(where: str, header: list[str], cells: list[str], above: dict[str, str]) -> Event:
    row = dict(zip(header, cells, strict=False))

    def of(*names: str) -> str:
        found = next((row[name] for name in names if name in row), "") or next(
            (above[name] for name in names if name in above), ""
        )
        return "" if found.upper() in ("NA", "NAN", "NONE") else found

    media, watched = of(*_MEDIA), of("Observation type").lower()
    live = media.upper() == "LIVE" or watched.startswith("live") or "Live observation" in above
    aggregated = "Start (s)" in row
    return Event(
        where=where,
        observation=of(_OBSERVATION),
        source="live" if live else ("pictures" if "image" in watched else ""),
        media=media,
        fps=of(*_FPS),
        length_s=of(*_LENGTH),
        offset_s=of(_OFFSET),
        subject=of("Subject"),
        behaviour=of("Behavior"),
        modifiers=tuple(row[name] for name in row if re.match(r"modif", name, re.IGNORECASE)),
        kind=of("Behavior type").upper() if aggregated else of(*_CHANGE).upper(),
        start_s=of("Start (s)") if aggregated else of("Time"),
        stop_s=of("Stop (s)"),
        aggregated=aggregated,
    )
