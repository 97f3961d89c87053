"""Writes one session: dates its rows, keeps the account of time, and changes files at UTC midnight.

Whatever is committed in one transaction belongs together: the rows, the unobserved time between them, and the bouts
they make up to now. So a kill at any moment leaves a file that is consistent, and the next start records what is
missing since.

Only `flush` touches the disk. What it cannot write it keeps, in order, up to a number of rows, and tries again; time
beyond that is unobserved, because of the log.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log.batch import Batch, SecondBuilder
from toolkit.behaviour_log.coverage import Coverage, Interval
from toolkit.behaviour_log.damage import LogDamaged
from toolkit.behaviour_log.day_file import DayFile
from toolkit.behaviour_log.schema import NS_PER_DAY, Level, Quality, Reason
from toolkit.behaviour_log.session import ClockReading, Session
from toolkit.bouts import NO_LABEL, Bout, DecidedBouts, DecisionFilter
from toolkit.errors import LogError
from toolkit.frames import NS_PER_S

RECENT_BOUTS = 20
"""Bouts that a writer remembers after they have ended."""


@dataclass
class Account:
    """What a session has written so far."""

    rows: int = 0
    refused: int = 0
    """Rows dated before the end of what was already accounted for; they are not written."""
    commits: int = 0


Decide = Callable[[int], "DecisionFilter | None"]
"""Returns, for rows so many ns apart, what decides the labels that bouts are made of; None: raw labels."""


def raw_labels(_interval_ns: int) -> None:
    """Let bouts be made of raw labels; see `Decide`."""


class Place(Protocol):
    """Where the rows of a time go."""

    def bounds(self, time_ns: int, /) -> tuple[int, int]:
        """Return from when to when the file goes that a time belongs to."""

    def path(self, time_ns: int, /) -> Path:
        """Return that file."""


class SessionWriter:
    """Writes one session, from an account of time that earlier ones have left.

    Times given to it are monotonic ns, as cameras give them; the session's offset dates them.

    Parameters
    ----------
    session
        Provenance, and the offset from monotonic time to UTC.
    coverage
        The account of time up to now.
    decide
        What decides the labels that bouts are made of; rows keep their raw ones. Where the rows' interval changes, what
        waits is decided, and the next row keeps the last one's label.
    most_held
        Rows that are kept while the log cannot be written; 0: `flush` raises at the first failure.

    Raises
    ------
    LogError
        If the session's first file cannot be opened. Later: if a commit fails and `most_held` is 0, or the file turns
        out to be damaged. What was committed is safe.
    """

    def __init__(
        self,
        place: Place,
        cage: str,
        session: Session,
        coverage: Coverage,
        decide: Decide = raw_labels,
        most_held: int = 0,
    ) -> None:
        self._place = place
        self._cage = cage
        self.session = session
        self.most_held = most_held
        self._coverage = coverage
        self._began_ns = coverage.until_ns
        self._batches = deque([self._batch_at(session.start_ns)])
        self._seconds = SecondBuilder()
        # Whether the second that goes on has rows that no batch has yet.
        self._changed = False
        self._unwritable: tuple[float, str] | None = None
        self._newest: Interval | None = None
        # What the newest row stands for, by the file; and the rows' interval that labels are decided for.
        self._interval_ns = self._decided_ns = session.row_interval_ns
        self._decide = decide
        # Gaps are the account's to tell (`_record`): how far apart rows are may change.
        self._builder = DecidedBouts(decide(session.row_interval_ns), NS_PER_DAY)
        # First row after midnight of a bout that began the day before.
        self._continued_ns: int | None = None
        self.account = Account()
        self.unobserved_s: dict[Reason, float] = {}
        self.ended_bouts: deque[Bout] = deque(maxlen=RECENT_BOUTS)

        self._day: DayFile | None = None
        self._open_file(self._batch)

    @property
    def path(self) -> Path:
        """The file that was opened last."""
        return self._path

    @property
    def fault(self) -> str | None:
        """Why the log cannot be written at the moment; None while it can."""
        if self._unwritable is None:
            return None
        since_s, error = self._unwritable
        full = "; no more are" if self._is_full else ""
        return f"cannot be written: {self.held} rows held for {time.monotonic() - since_s:.0f} s{full}: {error}"

    @property
    def held(self) -> int:
        """Rows that wait to be committed."""
        return sum(batch.held for batch in self._batches)

    @property
    def observed_s(self) -> float:
        """Seconds that this session's rows stand for."""
        if self._began_ns is None or self._coverage.until_ns is None:
            return 0.0
        return (self._coverage.until_ns - self._began_ns) / NS_PER_S - sum(self.unobserved_s.values())

    def row(
        self,
        source_index: int,
        capture_time_ns: int,
        probabilities: NDArray[np.float32],
        label: int | None,
        quality: Quality,
        *,
        hole: Reason = Reason.CAMERA_LOST,
        interval_ns: int | None = None,
    ) -> bool:
        """Add a classified frame.

        Parameters
        ----------
        source_index
            The frame's number in its source.
        capture_time_ns
            Monotonic ns, later than every row's before.
        probabilities
            (K,) float32 fused probabilities, 0 to 1.
        label
            Position in the ethogram, or None.
        hole
            Why there is a hole before this row, should there be one that `unobserved` did not explain.
        interval_ns
            Time that the row stands for; None: the session's `Session.row_interval_ns`.

        Returns
        -------
        bool
            False if the time before it is already accounted for: the row is refused.
        """
        time_ns = capture_time_ns + self.session.utc_offset_ns
        if time_ns < self._batch.start_ns or not self._coverage.accepts(time_ns):
            self.account.refused += 1
            return False
        self._begin(time_ns)
        interval_ns = interval_ns or self.session.row_interval_ns
        if self._is_full:
            self._record(self._coverage.miss(time_ns, time_ns + interval_ns, Reason.LOG_UNWRITABLE))
            return False
        self._record(self._coverage.observe(time_ns, interval_ns, hole))
        label_or_none = NO_LABEL if label is None else label
        if time_ns >= self._batch.stop_ns:
            self._roll_over(time_ns, continues=self._builder.continues_with(label_or_none))
        if interval_ns != self._interval_ns:
            self._batch.paces[time_ns] = self._interval_ns = interval_ns
        if interval_ns != self._decided_ns:
            self._decided_ns = interval_ns
            self._add_bouts(self._builder.decide_with(self._decide(interval_ns)))
        self._add_bouts(self._builder.push(time_ns, label_or_none, probabilities))
        if self.session.level is Level.FRAMES:
            steps = np.rint(probabilities * 255).astype(np.uint8).tobytes()
            self._batch.rows.append((time_ns, source_index, steps, label, int(quality)))
        else:
            if not self._seconds.goes_on(time_ns, interval_ns):
                self._add_second()
            self._seconds.push(time_ns, interval_ns, source_index, probabilities, label, int(quality))
            self._changed = True
        self.account.rows += 1
        return True

    def unobserved(self, start_ns: int, stop_ns: int, reason: Reason) -> None:
        """Record time without rows, from monotonic `start_ns` to `stop_ns`.

        Time that goes on being unobserved is recorded again and again while it lasts; a later row takes back what
        reaches past it.
        """
        offset_ns = self.session.utc_offset_ns
        self._begin(start_ns + offset_ns)
        # Many short intervals must not fill what many rows may not.
        reason = Reason.LOG_UNWRITABLE if self._is_full else reason
        self._record(self._coverage.miss(start_ns + offset_ns, stop_ns + offset_ns, reason))

    def change_engines(self, engines: Mapping[str, str], reason: str) -> None:
        """End the session and begin another, whose rows are by other engines; the account of time goes on.

        Parameters
        ----------
        engines
            As `Session.engines`.
        reason
            Why the session before ended.
        """
        until_ns = self._coverage.until_ns
        start_ns = self.session.start_ns if until_ns is None else until_ns
        self._add_second()
        # The bout goes on, and what the batch before has of it is replaced by its start.
        self.session = replace(self.session, uuid=str(uuid.uuid4()), engines=engines, start_ns=start_ns)
        self._interval_ns = self.session.row_interval_ns
        self._batches.append(replace(self._batch_at(self._batch.start_ns), begins_after=reason))

    def clock(self, reading: ClockReading) -> None:
        """Record what the system's clocks say."""
        if self._is_full:
            self._batch.clocks.clear()
        self._batch.clocks.append(reading)

    def flush(self) -> None:
        """Commit everything added so far, or keep it for the next time.

        Raises
        ------
        LogError
            If it cannot be written and nothing may be held, or the file is damaged.
        """
        try:
            self._flush()
        except LogError as error:
            if not self.most_held or not _may_pass(error):
                raise
            since_s = time.monotonic() if self._unwritable is None else self._unwritable[0]
            self._unwritable = since_s, str(error)

    def close(self, reason: str) -> None:
        """Commit, mark the session closed, and leave a file that can be copied alone.

        Raises
        ------
        LogError
            If it cannot be written.
        """
        self._end_bout(self._coverage.until_ns)
        try:
            self._flush()
        except LogError as error:
            raise LogError(f"{error} {self.held} rows are lost.") from error
        until_ns = self._coverage.until_ns
        if self._day is not None:
            self._day.close(self.session.start_ns if until_ns is None else until_ns, reason)
            self._day = None

    def abandon(self) -> None:
        """Let go of the file; what was committed stays."""
        if self._day is not None:
            self._day.abandon()

    @property
    def _batch(self) -> Batch:
        return self._batches[-1]

    @property
    def _is_full(self) -> bool:
        return self._unwritable is not None and self.held >= self.most_held

    def _flush(self) -> None:
        if not self._changed and not any(self._batches):
            return
        # The bout and the second that go on are stored as they are now, and stored again when they are longer.
        self._add_bouts(_stopped(self._builder.so_far(), self._coverage.until_ns), ended=False)
        if (second := self._seconds.current()) is not None:
            self._batch.seconds[second.time_ns] = second
        self._changed = False
        while self._batches:
            batch = self._batches[0]
            if batch:
                self._day_of(batch).commit(batch)
                self.account.commits += 1
            self._batches.popleft()
            if not self._batches:
                self._batches.append(self._batch_at(batch.start_ns))
                break
        self._unwritable = None

    def _day_of(self, batch: Batch) -> DayFile:
        """Return the file that a batch belongs to, opening it where the day has changed."""
        if self._day is not None and self._day.start_ns != batch.start_ns:
            self._day.close(self._day.stop_ns, "day-end")
            self._day = None
        if self._day is None:
            return self._open_file(batch)
        self._day.go_on_as(batch.session, batch.begins_after)
        return self._day

    def _begin(self, time_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = time_ns

    def _record(self, changes: Iterable[Interval]) -> None:
        for gap in changes:
            self._end_bout(gap.start_ns)
            if gap.start_ns >= self._batch.stop_ns:
                self._roll_over(gap.start_ns, continues=False)
            # Only the newest interval ever changes again.
            known_ns = self._newest.stop_ns if self._newest and self._newest.start_ns == gap.start_ns else gap.start_ns
            self.unobserved_s[gap.reason] = self.unobserved_s.get(gap.reason, 0.0) + (gap.stop_ns - known_ns) / NS_PER_S
            self._batch.intervals[gap.start_ns] = self._newest = gap

    def _roll_over(self, time_ns: int, *, continues: bool) -> None:
        if continues:
            self._end_bout(self._batch.stop_ns, continues=True)
            self._continued_ns = time_ns
        else:
            self._end_bout(time_ns)
        self._batches.append(self._batch_at(time_ns))
        self._interval_ns = self.session.row_interval_ns
        self.flush()

    def _batch_at(self, time_ns: int) -> Batch:
        return Batch(self.session, "", *self._place.bounds(time_ns))

    def _open_file(self, batch: Batch) -> DayFile:
        self._path = self._place.path(batch.start_ns)
        self._day = DayFile(self._path, self._cage, batch.start_ns, batch.stop_ns, batch.session)
        return self._day

    def _end_bout(self, stop_ns: int | None, *, continues: bool = False) -> None:
        self._add_bouts(_stopped(self._builder.end(continues=continues), stop_ns), continues=continues)
        self._add_second()

    def _add_second(self) -> None:
        second = self._seconds.current()
        if second is not None:
            self._batch.seconds[second.time_ns] = second
        self._seconds.end()

    def _add_bouts(self, bouts: list[Bout], *, continues: bool = False, ended: bool = True) -> None:
        for bout in bouts:
            continued = bout.start_ns == self._continued_ns
            dated = replace(bout, start_ns=self._midnight_ns(bout)) if continued else bout
            self._batch.bouts[dated.start_ns] = dated, continued, continues
            if ended:
                self.ended_bouts.append(dated)

    @staticmethod
    def _midnight_ns(bout: Bout) -> int:
        return bout.start_ns // NS_PER_DAY * NS_PER_DAY


def _stopped(bouts: list[Bout], stop_ns: int | None) -> list[Bout]:
    """Return the bouts with the last one stopped at `stop_ns`."""
    return [*bouts[:-1], replace(bouts[-1], stop_ns=stop_ns)] if bouts and stop_ns is not None else bouts


def _may_pass(error: LogError) -> bool:
    """Say whether what keeps a file from being written may go away: a full disk, a failing one, a lock."""
    return isinstance(error.__cause__, OSError | sqlite3.OperationalError) and not isinstance(error, LogDamaged)
