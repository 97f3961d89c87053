"""From what a user names to files of one format: every input once, a day at a time, every fault on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from toolkit.behaviour_log import BehaviourLog, mark_exported, read_log
from toolkit.errors import InputError, ToolkitError, raise_faults
from toolkit.export.boris import write_import, write_tabular
from toolkit.export.from_labels import is_label_file, label_files, piece_of_labels
from toolkit.export.from_logs import day_files, piece_of_log
from toolkit.export.nwb import write_nwb
from toolkit.export.piece import Piece
from toolkit.export.tables import write_bouts, write_deepethogram, write_unobserved
from toolkit.files import atomic_write, check_free
from toolkit.store import is_closed, write_day
from toolkit.store.writer import log_date

FORMATS = ("csv", "boris", "deepethogram", "nwb", "parquet")
PARTIAL = "PARTIAL.txt"
"""In the folder of an export that lacks something: what, and why."""

_PER_PIECE: dict[str, tuple[tuple[str, Callable[[Piece, Path], None]], ...]] = {
    "csv": ((".bouts.csv", write_bouts), (".unobserved.csv", write_unobserved)),
    "boris": ((".boris.xlsx", write_import), (".boris.csv", write_tabular)),
    "deepethogram": (("_labels.csv", write_deepethogram),),
}


@dataclass(frozen=True)
class ExportOptions:
    """What is exported how."""

    form: str
    """One of `FORMATS`."""
    partial: bool = False
    """Whether inputs that cannot be exported are left out, and that is said, instead of raising."""
    open_day: bool = False
    """Whether the day that may still be written to goes into the store too."""
    overwrite: bool = False
    """Whether files that are there are replaced; a store's days always are."""


@dataclass
class Exported:
    """What came of it."""

    files: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Faults of what was left out."""
    open_days: list[Path] = field(default_factory=list)
    """Days that are not over and were left for later."""


def export_logs(paths: Sequence[Path], out: Path, options: ExportOptions) -> Exported:
    """Export logs and labelled recordings.

    Parameters
    ----------
    paths
        Day files, cages' folders, folders of cages' folders, tables of `toolkit label`, folders of them.
    out
        A folder; for ``parquet`` the store.

    Raises
    ------
    InputError
        With every fault found, if any and not `ExportOptions.partial`, or if nothing could be exported. Days and
        files that were complete by then stay.
    MissingDependency
        If the format needs a package that is not installed.
    """
    job = _Job(out, options)
    for path in paths:
        try:
            for file in _inputs(path):
                job.take(file)
        except ToolkitError as error:
            job.fail(error)
    job.finish()
    return job.done


def _inputs(path: Path) -> Iterator[Path]:
    if is_label_file(path):
        yield path
        return
    tables = label_files(path)
    yield from tables
    if not tables or any(path.glob("*.sqlite")):
        yield from day_files(path)


class _Job:
    """One export under way."""

    def __init__(self, out: Path, options: ExportOptions) -> None:
        self._out, self._options = out, options
        self.done = Exported()
        self._seen: set[Path] = set()
        self._taken: dict[str, list[Piece]] = {}
        """By cage, without labels of frames, and without bouts where they are not needed again."""

    def take(self, file: Path) -> None:
        """Export one file, or keep it for its cage's; a fault is collected."""
        if (place := file.resolve()) in self._seen:
            return
        self._seen.add(place)
        try:
            log = None if is_label_file(file) else read_log(file)
            if log is not None and self._options.form == "parquet":
                self._store(log)
                return
            self._write(piece_of_labels(file) if log is None else piece_of_log(log))
        except ToolkitError as error:
            self.fail(error)

    def fail(self, error: ToolkitError) -> None:
        """Collect a fault."""
        self.done.missing.append(str(error).rstrip())

    def finish(self) -> None:
        """Write what waits for a cage's last piece, and raise or note what is missing."""
        if self._options.form == "nwb" and self._may_write:
            for cage, pieces in self._taken.items():
                self._guarded(self._out / f"{cage}.nwb", sorted(pieces, key=lambda piece: piece.start_ns))
        done, partial = self.done, self._options.partial
        if done.missing and not (partial and done.files):
            advice = " (--partial leaves them out)" if done.files or self._taken else ""
            raise_faults(InputError, f"not everything can be exported{advice}", done.missing)
        note = self._out / PARTIAL
        if done.missing:
            with atomic_write(note) as beside:
                beside.write_text("This export lacks:\n" + "\n".join(f"- {line}" for line in done.missing) + "\n")
        elif self._out.is_dir():
            note.unlink(missing_ok=True)

    @property
    def _may_write(self) -> bool:
        """After a fault that will be raised the rest is only looked through for more."""
        return self._options.partial or not self.done.missing

    def _store(self, log: BehaviourLog) -> None:
        day = log_date(log)
        self._check(piece := replace(piece_of_log(log), frame_labels=np.empty(0, np.int16)))
        if not (self._options.open_day or is_closed(day)):
            self.done.open_days.append(piece.file)
        elif self._may_write:
            self.done.files.append(write_day(self._out, log))
            # Only now are all of the day's files synced. What a day gets later makes it unexported again.
            mark_exported(piece.file)

    def _write(self, piece: Piece) -> None:
        form = self._options.form
        if form == "parquet":
            raise InputError(
                f"{piece.file}: a store is made of behaviour logs, and this is a table of labels. It can be had as "
                "Parquet itself: toolkit label --format parquet."
            )
        self._check(piece)
        for ending, write in _PER_PIECE.get(form, ()):
            if not self._may_write:
                return
            path = self._out / f"{piece.name}{ending}"
            check_free(path, overwrite=self._options.overwrite)
            with atomic_write(path) as beside:
                write(piece, beside)
            self.done.files.append(path)

    def _guarded(self, path: Path, pieces: list[Piece]) -> None:
        try:
            check_free(path, overwrite=self._options.overwrite)
            with atomic_write(path) as beside:
                write_nwb(pieces, beside)
            self.done.files.append(path)
        except InputError as error:
            self.fail(error)

    def _check(self, piece: Piece) -> None:
        """Raise InputError unless a piece fits its cage's others; then count it among them."""
        others = self._taken.setdefault(piece.cage, [])
        for other in others:
            if other.ethogram.names != piece.ethogram.names:
                raise InputError(
                    f"{other.file} and {piece.file}: hold different behaviours of cage {piece.cage} "
                    f"({', '.join(other.ethogram.names)}; {', '.join(piece.ethogram.names)}). Export them one by one."
                )
            tolerance_ns = max(piece.frame_interval_ns, other.frame_interval_ns)
            if min(piece.stop_ns, other.stop_ns) - max(piece.start_ns, other.start_ns) > tolerance_ns:
                raise InputError(
                    f"{other.file} and {piece.file}: overlap in time, and a cage ({piece.cage}) has one log at a time. "
                    "Leave one out, or give two cages two names."
                )
        kept = piece.bouts if self._options.form == "nwb" else ()
        others.append(replace(piece, frame_labels=np.empty(0, np.int16), bouts=kept))
