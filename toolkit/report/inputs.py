"""From what a user names (logs, label files, folders of them) to one record per animal, and every fault on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolkit.bouts import BoutRules
from toolkit.errors import InputError, ToolkitError, raise_faults
from toolkit.report.animals import Animal
from toolkit.report.from_labels import record_from_labels
from toolkit.report.from_logs import log_files, record_from_day, why_unobserved
from toolkit.report.from_store import record_from_store
from toolkit.report.record import CageRecord, bouts_under, join_records
from toolkit.store import is_store, stored_days

Piece = Callable[[], CageRecord]
"""Reads a piece of a cage's record when it is called."""


@dataclass(frozen=True)
class Period:
    """The time that a report is limited to, UTC ns."""

    start_ns: int = 0
    stop_ns: int = (1 << 63) - 1


@dataclass
class Faults:
    """What could not be read. A whole report raises it; a partial one shows it."""

    partial: bool
    found: list[str] = field(default_factory=list)

    def add(self, error: ToolkitError) -> None:
        """Keep one."""
        self.found.append(str(error).rstrip())

    def check(self, anything: bool) -> None:
        """Raise what was found, unless a partial report was asked for and something could be read."""
        if not self.found or (self.partial and anything):
            return
        if len(self.found) == 1:
            advice = "" if self.partial else " To report on what can be read, marked as partial, pass --partial."
            raise InputError(self.found[0] + (advice if anything else ""))
        summary = "the report cannot be made"
        raise_faults(InputError, summary + ("" if self.partial else " (--partial takes what can be read)"), self.found)


def sources(paths: Sequence[Path], cage_pattern: str | None, faults: Faults) -> dict[str, list[Piece]]:
    """Return what is to be read by cage, in the order of the paths; nothing but names is read yet.

    Parameters
    ----------
    cage_pattern
        Regular expression whose first group, found in a label file's name, is its cage.

    Raises
    ------
    InputError
        If the pattern cannot be used.
    """
    pattern = _compiled(cage_pattern) if cage_pattern else None
    by_cage: dict[str, list[Piece]] = {}
    named: set[tuple[str, Path]] = set()
    for path in paths:
        try:
            for cage, file, read in _pieces(path, pattern):
                # A file named twice is read once; one that holds several cages is a piece of each.
                if (place := (cage, file.resolve())) not in named:
                    named.add(place)
                    by_cage.setdefault(cage, []).append(read)
        except ToolkitError as error:
            faults.add(error)
    return by_cage


def read_animals(
    by_cage: dict[str, list[Piece]], animals: Sequence[Animal], rules: BoutRules, period: Period, faults: Faults
) -> Iterator[tuple[Animal, CageRecord]]:
    """Yield every animal with its record, cage by cage; one cage's pieces are held at a time.

    Without a table of animals each cage is an animal of its name. What cannot be read goes into `faults`.
    """
    unknown = sorted({animal.cage for animal in animals} - set(by_cage))
    if unknown:
        faults.add(InputError(f"no log or label file of cage {', '.join(unknown)}, which the table of animals names."))
    for cage, pieces in by_cage.items():
        here = [animal for animal in animals if animal.cage == cage]
        if animals and not here:
            faults.add(InputError(f"cage {cage} is not in the table of animals. Add it, or leave its log out."))
            continue
        record = _cage_record(pieces, rules, faults)
        for animal in here or [Animal(cage, cage)]:
            part = _part(record, animal, period) if record else None
            if part is not None and len(part.observed):
                yield animal, part
            elif record is not None:
                faults.add(_nothing_observed(record, part, animal, bool(here)))


def _cage_record(pieces: list[Piece], rules: BoutRules, faults: Faults) -> CageRecord | None:
    known = len(faults.found)
    records = []
    for read in pieces:
        try:
            records.append(read())
        except ToolkitError as error:
            faults.add(error)
    if not records:
        return None
    try:
        record = bouts_under(join_records(records, partial=faults.partial), rules)
    except ToolkitError as error:
        faults.add(error)
        return None
    faults.found += record.remarks
    return replace(record, remarks=tuple(faults.found[known:]))


def _part(record: CageRecord, animal: Animal, period: Period) -> CageRecord | None:
    part = animal.part_of(record)
    if part is None or period == Period() or not record.dated:
        return part
    return part.between(period.start_ns, period.stop_ns)


def _nothing_observed(record: CageRecord, part: CageRecord | None, animal: Animal, tabled: bool) -> InputError:
    name = f"animal {animal.name} (cage {record.cage})" if tabled else f"cage {record.cage}"
    if part is None:
        return InputError(
            f"{name}: its log has nothing in the time asked for. Look at --from, --to, and start and end."
        )
    return InputError(
        f"{name}: no frame was classified, so there is nothing to report (unobserved: "
        f"{why_unobserved(part) or 'nothing yet'}). Let the daemon run longer, or look into why it saw nothing."
    )


def _pieces(path: Path, pattern: re.Pattern[str] | None) -> Iterator[tuple[str, Path, Piece]]:
    """Yield (cage, file, how to read it). Another kind of source is another branch here: a report asks for no more."""
    if path.is_dir() and (tables := sorted([*path.glob("*.labels.csv"), *path.glob("*.labels.parquet")])):
        for table in tables:
            yield _label_piece(table, pattern)
        if not any(path.glob("*.sqlite")):
            return
    if path.suffix in (".csv", ".parquet"):
        yield _label_piece(path, pattern)
        return
    if is_store(path):
        for cage in dict.fromkeys(day.cage for day in stored_days(path)):
            yield cage, path, lambda cage=cage: record_from_store(path, cage)  # type: ignore[misc]
        return
    for cage, file in log_files(path):
        yield cage, file, lambda file=file, cage=cage: record_from_day(file, cage)  # type: ignore[misc]


def _label_piece(path: Path, pattern: re.Pattern[str] | None) -> tuple[str, Path, Piece]:
    cage = re.sub(r"\.labels$", "", path.stem)
    if pattern is not None:
        found = pattern.search(cage)
        if found is None:
            raise InputError(f"{path}: --cage-pattern {pattern.pattern} is not in its name. Correct the pattern.")
        cage = found[1]
    return cage, path, lambda: record_from_labels(path, cage)


def _compiled(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise InputError(f"--cage-pattern: {text!r} is not a regular expression ({error}).") from error
    if pattern.groups < 1:
        raise InputError(
            f"--cage-pattern: {text!r} has no group. Put the cage's part in brackets, as in '(cage\\d+)_'."
        )
    return pattern
