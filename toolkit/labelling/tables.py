"""The tables of a labelled video: a row per frame as CSV or Parquet, a row per bout as CSV, written as rows come."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from typing_extensions import Self

from toolkit.bouts import Bout, BoutBuilder, BoutRules
from toolkit.errors import MissingDependency
from toolkit.frames import MAX_STEP, NS_PER_S
from toolkit.labelling.options import TableFormat
from toolkit.labelling.rows import LabelledRow

ROW_GROUP = 1 << 13
"""Rows that a Parquet file's writer holds back: 4.5 minutes at 30 frames per second."""


class FrameTable(Protocol):
    """A table of frames that is being written; leaving it completes the file."""

    def write(self, rows: Sequence[LabelledRow]) -> None:
        """Append rows."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def frame_table(path: Path, form: TableFormat, behaviours: Sequence[str], *, smoothed: bool) -> FrameTable:
    """Return the writer of a table of frames.

    Its columns are ``frame``, ``time_s`` (from the first frame), ``label`` (empty, in Parquet null, where there is
    none), ``smoothed`` if asked for, ``view`` (why there is no label), ``padded`` (whether the clip repeats frames at
    an end of the video or of what could be seen), and ``p_BEHAVIOUR`` for each behaviour.

    Raises
    ------
    MissingDependency
        If Parquet is asked for and pyarrow is not installed.
    """
    columns = _Columns(tuple(behaviours), smoothed)
    return CsvFrames(path, columns) if form == "csv" else ParquetFrames(path, columns)


class _Columns:
    """Names of the columns, and a row's values in their order."""

    def __init__(self, behaviours: tuple[str, ...], smoothed: bool) -> None:
        self._behaviours = behaviours
        self._smoothed = smoothed
        self.texts = ("label", *(("smoothed",) if smoothed else ()), "view")
        self.probabilities = tuple(f"p_{name}" for name in behaviours)

    @property
    def names(self) -> tuple[str, ...]:
        return ("frame", "time_s", *self.texts, "padded", *self.probabilities)

    def values(self, row: LabelledRow) -> list[Any]:
        """Return frame, time in seconds, names, padded and probabilities; None for what there is not."""
        labels = [row.label, row.smoothed] if self._smoothed else [row.label]
        return [
            row.index,
            row.time_ns / NS_PER_S,
            *(self._behaviours[label] if label >= 0 else None for label in labels),
            row.view.value if row.view else None,
            row.padded,
            *([None] * len(self._behaviours) if row.probabilities is None else row.probabilities.tolist()),
        ]


class CsvFrames:
    """`FrameTable` as CSV: times to the microsecond, probabilities to the sixth digit."""

    def __init__(self, path: Path, columns: _Columns) -> None:
        self._path, self._columns = path, columns

    def write(self, rows: Sequence[LabelledRow]) -> None:
        """Append rows."""
        self._writer.writerows([_text(value) for value in self._columns.values(row)] for row in rows)

    def __enter__(self) -> Self:
        self._file: IO[str] = self._path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(self._columns.names)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _text(value: int | float | str | bool | None) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


class ParquetFrames:
    """`FrameTable` as Parquet, a row group at a time."""

    def __init__(self, path: Path, columns: _Columns) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingDependency(
                "Parquet needs pyarrow, which is not installed here. Install it: pip install 'toolkit[parquet]', or "
                "take --format csv."
            ) from error
        self._arrow, self._parquet = pyarrow, pyarrow.parquet
        self._path, self._columns = path, columns
        self._waiting: list[list[Any]] = []

    def write(self, rows: Sequence[LabelledRow]) -> None:
        """Append rows."""
        self._waiting += [self._columns.values(row) for row in rows]
        if len(self._waiting) >= ROW_GROUP:
            self._write_group()

    def __enter__(self) -> Self:
        arrow, columns = self._arrow, self._columns
        types = {"frame": arrow.int64(), "time_s": arrow.float64(), "padded": arrow.bool_()}
        types |= dict.fromkeys(columns.texts, arrow.string()) | dict.fromkeys(columns.probabilities, arrow.float32())
        self._schema = arrow.schema([(name, types[name]) for name in columns.names])
        self._writer = self._parquet.ParquetWriter(self._path, self._schema)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._waiting:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        columns = zip(*self._waiting, strict=True)
        arrays = [self._arrow.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._waiting = []


class BoutTable:
    """A video's bouts as CSV: ``behaviour,start_s,stop_s,start_frame,stop_frame,rows,mean_probability``, half-open.

    Parameters
    ----------
    path
        File to write.
    behaviours
        The ethogram's names in order.
    min_bout_s
        Shortest bout that is written, seconds.
    row_interval_ns
        Nominal time from one row to the next, ns.
    """

    COLUMNS = ("behaviour", "start_s", "stop_s", "start_frame", "stop_frame", "rows", "mean_probability")

    def __init__(self, path: Path, behaviours: Sequence[str], min_bout_s: float, row_interval_ns: int) -> None:
        self._path, self._behaviours = path, behaviours
        self._builder = BoutBuilder(BoutRules(min_bout_s=min_bout_s), row_interval_ns, behaviours=behaviours)
        self._max_step_ns = MAX_STEP * row_interval_ns
        # Of the run of equal labels that goes on. Nothing is stitched, so that one ends where the next begins.
        self._start_frame = 0
        self._label: int | None = None
        self._time_ns = 0

    def write(self, rows: Iterable[LabelledRow]) -> None:
        """Take the next rows and write the bouts that have ended."""
        for row in rows:
            probability = 0.0 if row.probabilities is None else float(row.probabilities[row.smoothed])
            self._write(self._builder.push(row.time_ns, row.smoothed, probability), row.index)
            if row.smoothed != self._label or row.time_ns - self._time_ns > self._max_step_ns:
                self._start_frame = row.index
            self._label, self._time_ns = row.smoothed, row.time_ns

    def end(self, frames: int, end_ns: int) -> None:
        """Write the bout that goes on to the end of the video, which has so many frames and ends then."""
        # The last row of a stride stands for fewer frames than the others.
        self._write([replace(bout, stop_ns=min(bout.stop_ns, end_ns)) for bout in self._builder.end()], frames)

    def __enter__(self) -> Self:
        self._file: IO[str] = self._path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(self.COLUMNS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _write(self, bouts: list[Bout], stop_frame: int) -> None:
        for bout in bouts:
            self._writer.writerow(
                [
                    self._behaviours[bout.behaviour],
                    f"{bout.start_ns / NS_PER_S:.6f}",
                    f"{bout.stop_ns / NS_PER_S:.6f}",
                    self._start_frame,
                    stop_frame,
                    bout.frames,
                    f"{bout.mean_probability:.6f}",
                ]
            )
