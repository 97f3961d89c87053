"""What a report knows of a cage: when it was observed, and the bouts. Made of logs, of label files, or of a store.

It holds no rows: a month at 30 frames a second has 78 million of them, and every figure follows from bouts and
observed time. Pieces (a day's file, a recording) are made one at a time and joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts import NO_LABEL, BoutBuilder, BoutRules
from toolkit.errors import InputError
from toolkit.ethogram import Ethogram
from toolkit.report.wording import when

NO_RECORD = "no-record"
"""Reason of time between two pieces that neither accounts for."""
BEGUN = "begun"
"""Name, in the provenance, of when a session began: of one in several files the earliest is kept."""
DECIDED_BY = "decision filter"
"""Name, in the provenance, of what made bouts of the networks' labels where they are not raw runs."""
_FAR_NS = 1 << 61


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of unobserved time."""

    start_ns: int
    stop_ns: int
    reason: str


@dataclass(frozen=True, eq=False)
class Bouts:
    """B bouts in time order, without overlaps, as columns."""

    behaviour: NDArray[np.int16]
    """(B,) int16 positions in the ethogram."""
    start_ns: NDArray[np.int64]
    """(B,) int64."""
    stop_ns: NDArray[np.int64]
    """(B,) int64, exclusive."""

    def __len__(self) -> int:
        return len(self.behaviour)

    def of(self, behaviour: int) -> Bouts:
        """Return one behaviour's."""
        return self.where(self.behaviour == behaviour)

    def where(self, chosen: NDArray[np.bool_]) -> Bouts:
        """Return those that a (B,) mask chooses."""
        return Bouts(self.behaviour[chosen], self.start_ns[chosen], self.stop_ns[chosen])


@dataclass(frozen=True, eq=False)
class DayConfidence:
    """How sure the networks were on one UTC day."""

    day_ns: int
    """UTC midnight."""
    histogram: NDArray[np.int64]
    """(K, 256) int64: of the rows with each label, how many gave it a probability of i / 255."""
    padded_rows: int = 0
    """Rows whose clip repeats frames, because observation began or ended too near."""
    uncertain_rows: int = 0
    """Rows without a label, because no behaviour was probable enough."""


@dataclass(frozen=True, eq=False)
class CageRecord:
    """One cage, in time order. `observed` and `unobserved` cover the time from `start_ns` to `stop_ns` exactly once."""

    cage: str
    ethogram: Ethogram
    observed: NDArray[np.int64]
    """(N, 2) int64 spans of observed time, [start, stop) ns, disjoint, increasing, not touching."""
    unobserved: tuple[Gap, ...]
    bouts: Bouts
    """Within observed time; two that touch followed each other without a break."""
    row_interval_ns: int
    """Time that a row stood for: borders of pieces that differ by less than half of it are one border."""
    dated: bool = True
    """Times are UTC ns; False: ns from the recording's first frame, whose date nobody knows."""
    confidence: tuple[DayConfidence, ...] = ()
    """Empty where the source keeps no probabilities."""
    provenance: tuple[tuple[tuple[str, str], ...], ...] = ()
    """What made it, as blocks of (name, value)."""
    files: tuple[str, ...] = ()
    """Paths of what was read."""
    remarks: tuple[str, ...] = field(default=())
    """What is missing from it, in a report that was asked to be partial."""

    @property
    def start_ns(self) -> int:
        """Where the account begins."""
        return int(min([*self.observed[:1, 0].tolist(), *(gap.start_ns for gap in self.unobserved[:1])]))

    @property
    def stop_ns(self) -> int:
        """Where it ends."""
        return int(max([*self.observed[-1:, 1].tolist(), *(gap.stop_ns for gap in self.unobserved[-1:])]))

    @property
    def decided_by(self) -> tuple[str, ...]:
        """Names of the decision filters that made the bouts; empty where all are raw runs of labels."""
        return tuple(sorted({value for block in self.provenance for name, value in block if name == DECIDED_BY}))

    def between(self, start_ns: int, stop_ns: int) -> CageRecord | None:
        """Return the part from `start_ns` to `stop_ns`, bouts cut at both; None where nothing lies there."""
        spans = self.observed.clip(start_ns, stop_ns)
        observed = spans[spans[:, 1] > spans[:, 0]]
        gaps = [
            replace(gap, start_ns=max(gap.start_ns, start_ns), stop_ns=min(gap.stop_ns, stop_ns))
            for gap in self.unobserved
        ]
        kept = tuple(gap for gap in gaps if gap.stop_ns > gap.start_ns)
        if not len(observed) and not kept:
            return None
        cut = Bouts(self.bouts.behaviour, *self._clipped_bouts(start_ns, stop_ns))
        days = tuple(day for day in self.confidence if start_ns < day.day_ns + 86_400 * 10**9 and day.day_ns < stop_ns)
        return replace(
            self, observed=observed, unobserved=kept, bouts=cut.where(cut.stop_ns > cut.start_ns), confidence=days
        )

    def _clipped_bouts(self, start_ns: int, stop_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self.bouts.start_ns.clip(start_ns, stop_ns), self.bouts.stop_ns.clip(start_ns, stop_ns)


def no_bouts() -> Bouts:
    """Return an empty table."""
    return Bouts(np.empty(0, np.int16), np.empty(0, np.int64), np.empty(0, np.int64))


def merged_spans(spans: NDArray[np.int64], tolerance_ns: int = 0) -> NDArray[np.int64]:
    """Return (N, 2) increasing spans with those that touch, or miss each other by `tolerance_ns`, made one."""
    if not len(spans):
        return spans.reshape(0, 2)
    apart = spans[1:, 0] - spans[:-1, 1] > tolerance_ns
    return np.column_stack([spans[np.r_[True, apart], 0], spans[np.r_[apart, True], 1]])


def join_records(pieces: Sequence[CageRecord], *, partial: bool = False) -> CageRecord:
    """Return the pieces of one cage as one record.

    Time between pieces is unobserved (`NO_RECORD`). A bout that goes on from one piece to the next is one bout.

    Parameters
    ----------
    pieces
        At least one; in any order.
    partial
        Leave out a piece that overlaps an earlier one, with a remark, instead of raising.

    Raises
    ------
    InputError
        If pieces overlap, differ in their ethogram, or are partly without a date.
    """
    ordered = sorted(pieces, key=lambda piece: (piece.start_ns, piece.stop_ns))
    taken = [ordered[0]]
    for piece in ordered[1:]:
        before = taken[-1]
        fault = _misfit(before, piece)
        if fault is None:
            taken.append(piece)
        elif partial:
            taken[-1] = replace(before, remarks=(*before.remarks, *piece.remarks, fault))
        else:
            raise InputError(fault)
    if len(taken) == 1:
        return taken[0]
    return _concatenated(_with_common_borders(taken))


def bouts_under(record: CageRecord, rules: BoutRules) -> CageRecord:
    """Return the record with its bouts stitched and filtered by length.

    Raises
    ------
    ConfigError
        If the rules name a behaviour that the ethogram lacks.
    """
    if rules == BoutRules():
        return record
    # Bouts that touch are given as rows of one segment, closed by a row without a label where they no longer touch.
    builder = BoutBuilder(rules, _FAR_NS, behaviours=record.ethogram.names)
    bouts = record.bouts
    kept = []
    for behaviour, start_ns, stop_ns, ends in zip(
        bouts.behaviour.tolist(),
        bouts.start_ns.tolist(),
        bouts.stop_ns.tolist(),
        _ends_a_run(bouts).tolist(),
        strict=True,
    ):
        kept += builder.push(start_ns, behaviour, 1.0)
        if ends:
            kept += builder.push(stop_ns, NO_LABEL, 0.0) + builder.end()
    return replace(
        record,
        bouts=Bouts(
            np.array([bout.behaviour for bout in kept], np.int16),
            np.array([bout.start_ns for bout in kept], np.int64),
            np.array([bout.stop_ns for bout in kept], np.int64),
        ),
    )


def _ends_a_run(bouts: Bouts) -> NDArray[np.bool_]:
    return np.append(bouts.stop_ns[:-1] != bouts.start_ns[1:], True)[: len(bouts)]


def _misfit(before: CageRecord, piece: CageRecord) -> str | None:
    names = f"{', '.join(before.files)} and {', '.join(piece.files)}"
    if before.ethogram.names != piece.ethogram.names:
        return (
            f"cage {piece.cage}: {names} hold different behaviours ({', '.join(before.ethogram.names)}; "
            f"{', '.join(piece.ethogram.names)}). Expected one ethogram. Report on them one by one."
        )
    if not (before.dated and piece.dated):
        return (
            f"cage {piece.cage}: {names} are several recordings, and not all say when they were made, so their "
            'order is unknown. Put "recorded_at": "YYYY-MM-DDTHH:MM:SS+HH:MM" into each one\'s .json, or report on '
            "them one by one."
        )
    tolerance_ns = max(before.row_interval_ns, piece.row_interval_ns)
    if piece.start_ns < before.stop_ns - tolerance_ns:
        return (
            f"cage {piece.cage}: {names} overlap: the one goes to {when(before.stop_ns)}, the other begins at "
            f"{when(piece.start_ns)}. A cage has one log at a time. Leave one out, or give two cages two names."
        )
    return None


def _with_common_borders(pieces: list[CageRecord]) -> list[CageRecord]:
    """Let each piece end where the next begins, where they miss each other by less than a row's jitter."""
    fitted = []
    for piece, following in pairwise(pieces):
        hole_ns = following.start_ns - piece.stop_ns
        near = hole_ns <= max(piece.row_interval_ns, following.row_interval_ns) / 2
        last = int(piece.observed[-1, 1]) if len(piece.observed) else None
        if hole_ns and near and last == piece.stop_ns and piece.observed[-1, 0] < following.start_ns:
            observed = piece.observed.copy()
            observed[-1, 1] = following.start_ns
            stops = piece.bouts.stop_ns.copy()
            stops[stops == last] = following.start_ns
            inside = piece.bouts.start_ns < following.start_ns
            bouts = Bouts(piece.bouts.behaviour, piece.bouts.start_ns, stops.clip(None, following.start_ns)).where(
                inside
            )
            piece = replace(piece, observed=observed, bouts=bouts)
        fitted.append(piece)
    return [*fitted, pieces[-1]]


def _concatenated(pieces: list[CageRecord]) -> CageRecord:
    holes = [
        Gap(before.stop_ns, after.start_ns, NO_RECORD)
        for before, after in pairwise(pieces)
        if after.start_ns > before.stop_ns
    ]
    gaps = sorted([*holes, *(gap for piece in pieces for gap in piece.unobserved)], key=lambda gap: gap.start_ns)
    provenance: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}
    for block in (block for piece in pieces for block in piece.provenance):
        provenance.setdefault(tuple(line for line in block if line[0] != BEGUN), block)
    return replace(
        pieces[0],
        observed=merged_spans(np.concatenate([piece.observed for piece in pieces])),
        unobserved=tuple(gaps),
        bouts=_joined_bouts([piece.bouts for piece in pieces]),
        row_interval_ns=max(piece.row_interval_ns for piece in pieces),
        confidence=_by_day([day for piece in pieces for day in piece.confidence]),
        provenance=tuple(provenance.values()),
        files=tuple(dict.fromkeys(name for piece in pieces for name in piece.files)),
        remarks=tuple(remark for piece in pieces for remark in piece.remarks),
    )


def _joined_bouts(tables: list[Bouts]) -> Bouts:
    behaviour = np.concatenate([table.behaviour for table in tables])
    start_ns = np.concatenate([table.start_ns for table in tables])
    stop_ns = np.concatenate([table.stop_ns for table in tables])
    # Only at the borders of pieces: two bouts of one behaviour that touch within a piece are two bouts.
    border = np.cumsum([len(table) for table in tables])[:-1]
    border = border[(border > 0) & (border < len(behaviour))]
    goes_on = np.zeros(len(behaviour), bool)
    goes_on[border] = (behaviour[border] == behaviour[border - 1]) & (start_ns[border] == stop_ns[border - 1])
    return Bouts(behaviour[~goes_on], start_ns[~goes_on], stop_ns[~np.append(goes_on[1:], False)[: len(behaviour)]])


def _by_day(days: list[DayConfidence]) -> tuple[DayConfidence, ...]:
    merged: dict[int, DayConfidence] = {}
    for day in days:
        before = merged.get(day.day_ns)
        merged[day.day_ns] = (
            day
            if before is None
            else DayConfidence(
                day.day_ns,
                before.histogram + day.histogram,
                before.padded_rows + day.padded_rows,
                before.uncertain_rows + day.uncertain_rows,
            )
        )
    return tuple(merged[key] for key in sorted(merged))
