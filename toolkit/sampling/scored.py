"""A sample that came back: the scorer's table against the key, every fault with its line."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from toolkit.annotations import Interval
from toolkit.annotations.names import our_name, unknown
from toolkit.errors import AnnotationError, InputError, raise_faults
from toolkit.ethogram import MOUSE_HOME_CAGE, Ethogram
from toolkit.sampling.written import ABOUT, CLIPS, KEY, KEY_COLUMNS, SCORING, About

CANNOT_SAY = "?"
_SCORED = ("clip", "behaviour", "start_frame", "stop_frame")
"""The only columns of the scoring table that are read: spreadsheets rewrite dates."""


@dataclass(frozen=True)
class ScoredClip:
    """A clip, what the machine said and what the scorer says."""

    name: str
    path: Path
    cage: str
    at: datetime | None
    """UTC of the scored frame; None where nobody knows."""
    frames: int
    centre: int
    """The scored frame, in the clip."""
    machine: str
    """The machine's behaviour; "" where it gave none."""
    stratum: str
    stands_for_s: float
    intervals: tuple[Interval, ...]
    """What the scorer says, in the clip's frames; in order, not overlapping."""
    cannot_say: bool
    """Whether the scorer has looked at the scored frame and cannot say."""

    @property
    def scored(self) -> str | None:
        """What the scorer says of the scored frame; None: nothing."""
        here = (one.behaviour for one in self.intervals if one.start_frame <= self.centre < one.stop_frame)
        return next(here, None)


@dataclass(frozen=True)
class Scored:
    """A sample's folder, read."""

    folder: Path
    ethogram: Ethogram
    clips: tuple[ScoredClip, ...]


def is_sample(path: Path) -> bool:
    """Say whether a folder is a sample."""
    return (path / ABOUT).is_file()


def read_scored(folder: Path) -> Scored:
    """Read a sample's folder with what was scored so far.

    Raises
    ------
    InputError
        If the folder is no sample, or its key is damaged.
    AnnotationError
        With every fault of the scoring table and its line: unknown clips or behaviours, impossible or contradicting
        stretches.
    """
    try:
        about = About.model_validate_json((folder / ABOUT).read_text(encoding="utf-8"))
        with (folder / KEY).open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            header = tuple(table.fieldnames or ())
            key = {row["clip"]: row for row in table} if header == KEY_COLUMNS else {}
    except (OSError, UnicodeDecodeError, csv.Error, ValidationError) as error:
        raise InputError(
            f"{folder}: not a sample of this toolkit ({type(error).__name__}: {error}). Expected a folder that "
            "`toolkit sample` wrote."
        ) from error
    if len(key) != about.clips:
        raise InputError(
            f"{folder / KEY}: expected {about.clips} clips under {','.join(KEY_COLUMNS)}, found {len(key)} under "
            f"{','.join(header)}. Restore the file that `toolkit sample` wrote; only {SCORING} is to be edited."
        )
    faults: list[str] = []
    said = _said(folder / SCORING, key, about.ethogram, faults)
    clips = tuple(_clip(folder, row, said.get(name, []), faults) for name, row in key.items())
    raise_faults(AnnotationError, f"{folder / SCORING} cannot be used", faults)
    return Scored(folder, about.ethogram, clips)


@dataclass(frozen=True)
class _Said:
    """A row of the scoring table that says something."""

    line: int
    interval: Interval


def _said(
    path: Path, key: Mapping[str, Mapping[str, str]], ethogram: Ethogram, faults: list[str]
) -> dict[str, list[_Said]]:
    said: dict[str, list[_Said]] = {}
    home = set(ethogram.names) <= set(MOUSE_HOME_CAGE.names)
    for line, row in _rows(path):
        name, text, start, stop = (row[column] for column in _SCORED)
        if not text:
            if start or stop:
                faults.append(f"line {line}: a stretch without a behaviour")
            continue
        behaviour = text if text == CANNOT_SAY else our_name(text, None if home else ethogram.names)
        if name not in key:
            faults.append(f"line {line}: {name!r} is not a clip of this sample")
            continue
        frames, centre = int(key[name]["frames"]), int(key[name]["centre_frame"])
        if behaviour not in (*ethogram.names, CANNOT_SAY):
            faults.append(f"line {line}: {unknown(text, ethogram)}, or {CANNOT_SAY}")
            continue
        try:
            first, after = (int(start), int(stop)) if start or stop else (centre, centre + 1)
        except ValueError:
            faults.append(
                f"line {line}: expected start_frame and stop_frame, both or neither; found {start!r}, {stop!r}"
            )
            continue
        if not 0 <= first < after <= frames:
            faults.append(f"line {line}: frames {first} to {after} are not of the clip, which has {frames}, from 0 on")
            continue
        said.setdefault(name, []).append(_Said(line, Interval(first, after, behaviour)))
    return said


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows with their lines, whatever separates a spreadsheet's cells."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=first.count))
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: not a CSV file in UTF-8 ({error}). Save it as CSV, UTF-8.") from error
    header = lines[0][1] if lines else []
    if missing := [column for column in _SCORED if column not in header]:
        raise AnnotationError(
            f"{path}: expected the columns {', '.join(_SCORED)} among others; {', '.join(missing)} not found in "
            f"{','.join(header)!r}. Keep the header that `toolkit sample` wrote."
        )
    return [
        (line, dict(zip(header, [*cells, *[""] * len(header)], strict=False)))
        for line, cells in lines[1:]
        if any(cells)
    ]


def _clip(folder: Path, row: Mapping[str, str], said: Sequence[_Said], faults: list[str]) -> ScoredClip:
    centre = int(row["centre_frame"])
    intervals = _merged(row["clip"], said, faults)
    at = datetime.fromisoformat(row["utc"].removesuffix("Z")).replace(tzinfo=timezone.utc) if row["utc"] else None
    return ScoredClip(
        name=row["clip"],
        path=folder / CLIPS / row["clip"],
        cage=row["cage"],
        at=at,
        frames=int(row["frames"]),
        centre=centre,
        machine=row["machine"],
        stratum=row["stratum"],
        stands_for_s=float(row["stands_for_s"]),
        intervals=tuple(one for one in intervals if one.behaviour != CANNOT_SAY),
        cannot_say=any(one.behaviour == CANNOT_SAY and one.start_frame <= centre < one.stop_frame for one in intervals),
    )


def _merged(clip: str, said: Sequence[_Said], faults: list[str]) -> list[Interval]:
    """Join what overlaps and says the same; what contradicts is a fault."""
    merged: list[_Said] = []
    for one in sorted(said, key=lambda row: (row.interval.start_frame, row.interval.stop_frame)):
        before = merged[-1] if merged else None
        if before is None or one.interval.start_frame >= before.interval.stop_frame:
            merged.append(one)
        elif one.interval.behaviour != before.interval.behaviour:
            first, second = sorted((before, one), key=lambda row: row.line)
            faults.append(
                f"lines {first.line} and {second.line}: {first.interval.behaviour} and {second.interval.behaviour} "
                f"in the same frames of {clip}"
            )
        else:
            stop = max(before.interval.stop_frame, one.interval.stop_frame)
            joined = Interval(before.interval.start_frame, stop, one.interval.behaviour)
            merged[-1] = _Said(before.line, joined)
    return [row.interval for row in merged]
