"""Names of behaviours on two sides: those that differ are mapped, and those that one side cannot know are refused."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.agreement.labelled import Labelled
from toolkit.bouts import NO_LABEL
from toolkit.errors import AnnotationError, raise_faults
from toolkit.ethogram import MOUSE_HOME_CAGE


@dataclass(frozen=True)
class Names:
    """What the user says of names."""

    behaviours: tuple[str, ...] | None = None
    """The ethogram in order; None: a side's that has one, else those that were found."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Name in a file to name in the comparison; to nothing: such frames have no label."""

    def readable(self, known: Sequence[str] | None) -> list[str] | None:
        """Return the names that an annotation file may hold; None leaves that to its reader.

        Parameters
        ----------
        known
            The other side's, where it has an ethogram.
        """
        wanted = self.behaviours or known
        if not self.renames:
            # The readers know synonyms of the home cage's names, if they are not told any.
            by_reader = self.behaviours is None and set(known or ()) <= set(MOUSE_HOME_CAGE.names)
            return None if by_reader else list(wanted or ())
        return list(dict.fromkeys([*(wanted or MOUSE_HOME_CAGE.names), *self.renames]))

    def common(self, a: Labelled, b: Labelled) -> tuple[str, ...]:
        """Return the behaviours to compare.

        Raises
        ------
        AnnotationError
            If a side uses a name that the other, or the user's ethogram, does not have.
        """
        sides = [(side, [self._renamed(name) for name in side.names]) for side in (a, b)]
        complete = [names for side, names in sides if side.complete]
        wanted = self.behaviours or (complete[0] if complete else [name for _, names in sides for name in names])
        ethogram = tuple(dict.fromkeys(name for name in wanted if name))
        if self.behaviours is None and set(ethogram) <= set(MOUSE_HOME_CAGE.names):
            ethogram = tuple(name for name in MOUSE_HOME_CAGE.names if name in ethogram)
        faults = [
            f"{side.source}: {name!r} is not one of {', '.join(ethogram)}. Map it: --map {name}=NAME, or --map {name}= "
            "for no label"
            for side, _ in sides
            for name in side.used
            if self._renamed(name) not in (*ethogram, "")
        ]
        raise_faults(AnnotationError, "the behaviours do not fit each other", faults)
        return ethogram

    def labels(self, side: Labelled, ethogram: Sequence[str]) -> NDArray[np.int16]:
        """Return (F,) a side's labels as positions in `ethogram`."""
        renamed = [self._renamed(name) for name in side.names]
        positions = [ethogram.index(name) if name in ethogram else NO_LABEL for name in renamed]
        # The last stands for no label, which is -1.
        return np.array([*positions, NO_LABEL], dtype=np.int16)[side.labels]

    def _renamed(self, name: str) -> str:
        return self.renames.get(name, name)


def read_renames(entries: Sequence[str]) -> dict[str, str]:
    """Return the names that ``OLD=NEW`` entries and CSV files with the columns ``from,to`` map.

    Raises
    ------
    AnnotationError
        If an entry is neither, or a name is mapped to two.
    """
    renames: dict[str, str] = {}
    faults = []
    for entry in entries:
        for old, new in _pairs(entry):
            if renames.setdefault(old, new) != new:
                faults.append(f"{old!r} is mapped to {renames[old]!r} and to {new!r}")
    raise_faults(AnnotationError, "--map cannot be used", faults)
    return renames


def _pairs(entry: str) -> list[tuple[str, str]]:
    old, sign, new = entry.partition("=")
    if sign:
        return [(old.strip(), new.strip())]
    try:
        with Path(entry).open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(
            f"--map {entry}: expected OLD=NEW or a CSV file with the columns from,to ({error})."
        ) from error
    if header != ["from", "to"] or any(len(row) != 2 for row in rows):
        raise AnnotationError(
            f"--map {entry}: expected two columns with the header from,to; found {','.join(header)!r}."
        )
    return [(row[0], row[1]) for row in rows]
