"""Exports as text: bouts and gaps as CSV, a row per frame as DeepEthogram's CSV.

DeepEthogram's table is described in docs/exports.md. Its ``background`` says that an observer saw none of the
behaviours. Nobody does here: a frame is in a behaviour of the ethogram or has no label, which is a row of -1.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from toolkit.bouts import NO_LABEL
from toolkit.export.piece import Piece, seconds_text, utc_text

BACKGROUND = "background"
_SPAN = ("start_utc", "stop_utc", "start_s", "stop_s", "duration_s")
_CHUNK = 1 << 16


def write_bouts(piece: Piece, path: Path) -> None:
    """Write ``cage,behaviour,start_utc,stop_utc,start_s,stop_s,duration_s,rows,mean_probability``; stops are exclusive.

    Seconds count from the piece's first moment. Without a date the UTC columns are empty.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["cage", "behaviour", *_SPAN, "rows", "mean_probability"])
        for bout in piece.bouts:
            mean = "" if math.isnan(bout.mean_probability) else f"{bout.mean_probability:.6f}"
            name = piece.ethogram.names[bout.behaviour]
            table.writerow([piece.cage, name, *_span(piece, bout.start_ns, bout.stop_ns), bout.frames, mean])


def write_unobserved(piece: Piece, path: Path) -> None:
    """Write ``cage,reason`` and the columns of times of `write_bouts`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["cage", "reason", *_SPAN])
        for gap in piece.unobserved:
            table.writerow([piece.cage, gap.reason, *_span(piece, gap.start_ns, gap.stop_ns)])


def write_deepethogram(piece: Piece, path: Path) -> None:
    """Write a row per frame: its number, then 1, 0 or, without a label, -1 for background and every behaviour."""
    names = [name for name in piece.ethogram.names if name != BACKGROUND]
    # One text per label; index -1 is the row without a label.
    rows = [",".join(str(int(column == name)) for column in (BACKGROUND, *names)) for name in piece.ethogram.names] + [
        ",".join(["-1"] * (len(names) + 1))
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(",".join(["", BACKGROUND, *names]) + "\n")
        for first in range(0, len(piece.frame_labels), _CHUNK):
            chunk = piece.frame_labels[first : first + _CHUNK]
            labels = np.where(chunk == NO_LABEL, len(rows) - 1, chunk)
            file.writelines(f"{first + i},{rows[label]}\n" for i, label in enumerate(labels.tolist()))


def _span(piece: Piece, start_ns: int, stop_ns: int) -> list[str]:
    moments = [utc_text(start_ns), utc_text(stop_ns)] if piece.dated else ["", ""]
    return [
        *moments,
        seconds_text(start_ns - piece.start_ns),
        seconds_text(stop_ns - piece.start_ns),
        seconds_text(stop_ns - start_ns),
    ]
