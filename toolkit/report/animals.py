"""Which animal lived in which cage, when, and what was done to it: the table that turns cages into animals."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.errors import InputError, raise_faults
from toolkit.report.clock import LabClock, instant
from toolkit.report.record import CageRecord
from toolkit.report.wording import when

_REQUIRED = ("cage", "animal")
_TIMES = ("start", "end")
_FOREVER_NS = (1 << 63) - 1


@dataclass(frozen=True)
class Animal:
    """One animal's stay in one cage."""

    cage: str
    name: str
    groups: Mapping[str, str] = field(default_factory=dict)
    """Value by column, e.g. ``{"treatment": "vehicle"}``."""
    start_ns: int = 0
    stop_ns: int = _FOREVER_NS

    def part_of(self, record: CageRecord) -> CageRecord | None:
        """Return the part of its cage's record that is this animal's; None where there is none."""
        if self.start_ns == 0 and self.stop_ns == _FOREVER_NS:
            return record
        return record.between(self.start_ns, self.stop_ns)


def load_animals(path: Path, clock: LabClock, *, zoned: bool) -> list[Animal]:
    """Read a CSV with the columns ``cage`` and ``animal``, perhaps ``start`` and ``end``, and any group columns.

    Raises
    ------
    InputError
        If it cannot be read, lacks a column or a value, or puts two animals into a cage at once. All faults together.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = [name.strip() for name in reader.fieldnames or []]
            rows = [
                {
                    (key or "").strip(): (value or "").strip()
                    for key, value in row.items()
                    if isinstance(value, str | None)
                }
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table of animals ({error}). Expected a CSV in UTF-8.") from error
    missing = [name for name in _REQUIRED if name not in header]
    if missing or len(set(header)) != len(header):
        raise InputError(
            f"{path}: expected the columns cage, animal and, each once, group columns such as treatment; found "
            f"{', '.join(header) or 'an empty file'}."
        )
    groups = [name for name in header if name and name not in _REQUIRED + _TIMES]
    animals: list[Animal] = []
    faults: list[str] = []
    for line, row in enumerate(rows, start=2):
        faults += [f"line {line}: {name} is empty" for name in (*_REQUIRED, *groups) if not row.get(name)]
        start_ns = instant(f"{path}, line {line}, start", row["start"], clock, zoned=zoned) if row.get("start") else 0
        stop_ns = (
            instant(f"{path}, line {line}, end", row["end"], clock, zoned=zoned) if row.get("end") else _FOREVER_NS
        )
        if stop_ns <= start_ns:
            faults.append(f"line {line}: end {row['end']} is not after start {row['start']}")
        values = {name: row.get(name, "") for name in groups}
        animals.append(Animal(row["cage"], row["animal"], values, start_ns, stop_ns))
    faults += _clashes(animals)
    raise_faults(InputError, f"{path}: cannot be used", faults or ([] if animals else ["no animal is in it"]))
    return animals


def _clashes(animals: list[Animal]) -> list[str]:
    faults = []
    for position, later in enumerate(animals):
        for earlier in animals[:position]:
            shared = min(earlier.stop_ns, later.stop_ns) > max(earlier.start_ns, later.start_ns)
            if earlier.cage == later.cage and shared:
                faults.append(
                    f"cage {later.cage}: {earlier.name} and {later.name} are in it at once. A log is one animal's: "
                    "give start and end" + (f" (they share it from {when(later.start_ns)})" if later.start_ns else "")
                )
            if earlier.name == later.name and earlier.groups != later.groups:
                faults.append(f"animal {later.name}: is in two groups. Name it apart, or correct the groups")
    return faults
