"""Observed and unobserved time cover the log exactly once, whatever happens: sorted, they follow one another."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.behaviour_log.sessions import DAY_NS, NOON_NS, session
from toolkit.behaviour_log import BehaviourLog, ClockReading, Level, LogWriter, Quality, Reason, read_log
from toolkit.behaviour_log.writer import raw_labels
from toolkit.bouts import DecisionFilter, Hysteresis

MS = 1_000_000
INTERVAL_MS = 40
MIDNIGHT_NS = NOON_NS + DAY_NS // 2

events = st.lists(
    st.one_of(
        # Rows, their times jittering; a time may also stand still or go back, as a broken camera's would.
        st.tuples(st.just("row"), st.integers(-30, 100)),
        # A gap that is explained: how long after the last event it begins, how long it lasts.
        st.tuples(st.just("gap"), st.integers(-20, 120), st.integers(0, 400)),
        # Silence that is recorded while it lasts, longer and longer.
        st.tuples(st.just("silence"), st.integers(1, 300)),
        st.tuples(st.just("flush")),
        # Every how many frames there are rows from now on.
        st.tuples(st.just("pace"), st.integers(1, 5)),
        # The daemon's engines failed, others took over: a new session in the same log.
        st.tuples(st.just("engines")),
        # Until the next start by the system's clock, which may have been set back; days may pass.
        st.tuples(st.sampled_from(["kill", "restart"]), st.integers(-200, 2_000)),
        st.tuples(st.sampled_from(["kill", "restart"]), st.integers(-3_000_000, 4 * DAY_NS // MS)),
        # The system's clock is read after it stepped: rows keep the session's time.
        st.tuples(st.just("clock"), st.integers(-5_000_000, 5_000_000)),
    ),
    min_size=12,
    max_size=40,
)


def hysteresis(interval_ns: int) -> DecisionFilter:
    return Hysteresis(3 * INTERVAL_MS * MS, {}, interval_ns)


class Lab:
    """A daemon that is started, killed and started again around midnight."""

    def __init__(self, folder: Path, level: Level = Level.FRAMES, *, filtered: bool = False) -> None:
        self.folder = folder
        self.level = level
        self.decide = (
            (lambda interval_ns: Hysteresis(3 * INTERVAL_MS * MS, {}, interval_ns)) if filtered else raw_labels
        )
        self.starts = 0
        self.stride = self.most_stride = 1
        self.now_ms = -400
        self.index = 0
        self.committed: list[int] = []
        self.pending: list[int] = []
        self.start()

    def start(self) -> None:
        self.starts += 1
        start_ns = MIDNIGHT_NS + self.now_ms * MS
        began = session(self.starts, start_ns=start_ns, offset_ns=MIDNIGHT_NS, row_interval_ns=INTERVAL_MS * MS)
        self.log = LogWriter(self.folder, "a1", replace(began, level=self.level), self.decide)
        self.log.__enter__()
        # A clock that went back moves the session: work in the session's own time.
        self.now_ms = (self.log.session.start_ns - MIDNIGHT_NS) // MS
        self.offset_ms = (self.log.session.utc_offset_ns - MIDNIGHT_NS) // MS

    def monotonic_ns(self, ms: int) -> int:
        return (ms - self.offset_ms) * MS

    def row(self, after_ms: int) -> None:
        time_ms = self.now_ms + after_ms
        label = self.index // 3 % 3
        self.index += 1
        probabilities = np.array([0.2, 0.3, 0.5], dtype=np.float32)
        interval_ns = self.stride * INTERVAL_MS * MS
        monotonic_ns = self.monotonic_ns(time_ms)
        if self.log.row(self.index, monotonic_ns, probabilities, label, Quality(0), interval_ns=interval_ns):
            self.pending.append(MIDNIGHT_NS + time_ms * MS)
            self.now_ms = time_ms

    def gap(self, after_ms: int, length_ms: int) -> None:
        start_ms = self.now_ms + after_ms
        stop_ms = start_ms + length_ms
        self.log.unobserved(self.monotonic_ns(start_ms), self.monotonic_ns(stop_ms), Reason.OVERLOAD)
        self.now_ms = max(self.now_ms, stop_ms)

    def pace(self, stride: int) -> None:
        self.stride = stride
        self.most_stride = max(self.most_stride, stride)

    def engines(self) -> None:
        self.log.change_engines({"rgb": f"other-{self.index}"}, "failed")

    def silence(self, length_ms: int) -> None:
        since_ms = self.now_ms
        for until_ms in range(since_ms, since_ms + length_ms, 100):
            self.log.unobserved(self.monotonic_ns(since_ms), self.monotonic_ns(until_ms), Reason.CAMERA_LOST)
        self.now_ms = since_ms + length_ms

    def clock(self, step_ms: int) -> None:
        monotonic_ns = self.monotonic_ns(self.now_ms)
        utc_ns = monotonic_ns + self.log.session.utc_offset_ns + step_ms * MS
        self.log.clock(ClockReading(monotonic_ns, utc_ns, synchronised=True))

    def flush(self) -> None:
        self.log.flush()
        self.committed += self.pending
        self.pending = []

    def kill(self, away_ms: int) -> None:
        # Closing without a commit leaves the file as a kill does; what is pending is lost. A change of day commits.
        if self.pending and self.log.account.commits:
            self.committed += [t for t in self.pending if t < MIDNIGHT_NS <= self.pending[-1]]
        self.pending = []
        self.log.__exit__(None, None, None)
        self.now_ms += away_ms
        self.start()

    def restart(self, away_ms: int) -> None:
        self.log.close("stopped")
        self.committed += self.pending
        self.pending = []
        self.log.__exit__(None, None, None)
        self.now_ms += away_ms
        self.start()

    def stop(self) -> BehaviourLog:
        self.row(20)
        self.log.close("stopped")
        self.committed += self.pending
        self.log.__exit__(None, None, None)
        return read_log(self.folder)


@settings(max_examples=200, deadline=None)
@given(events)
@example([("row", 0), ("gap", 50, 100), ("flush",), ("kill", 500)])
@example([("row", 300), ("silence", 300), ("row", -200), ("row", -190)])
@example([("pace", 4), ("row", 40), ("row", 160), ("pace", 1), ("row", 160), ("kill", 500), ("row", 40), ("row", 40)])
@example([("row", 0), ("pace", 3), ("row", 40), ("engines",), ("row", 120), ("pace", 1), ("flush",), ("kill", 90)])
# Silence of no length, again and again.
@example([("row", 0), ("silence", 1), ("restart", 0)] * 4)
def test_every_moment_is_accounted_for_exactly_once(sequence: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        for name, *arguments in sequence:
            getattr(lab, name)(*arguments)
        log = lab.stop()
    spans = [(t, t + d) for t, d in zip(log.time_ns.tolist(), log.duration_ns.tolist(), strict=True)]
    spans += [(gap.start_ns, gap.stop_ns) for gap in log.unobserved]
    spans.sort()
    assert all(start < stop for start, stop in spans)
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
    assert set(lab.committed) <= set(log.time_ns.tolist())
    # The lab numbers every row that it gives, over all sessions.
    assert (np.diff(log.source_index) > 0).all()
    assert all(gap.start_ns // DAY_NS == (gap.stop_ns - 1) // DAY_NS for gap in log.unobserved)
    # Every row here has a label, so bouts tile the observed time, but that a day's cut divides a row that crosses it.
    crossing = sum(b.stop_ns - b.start_ns for b in log.bouts) - int(log.duration_ns.sum())
    assert abs(crossing) < 2 * lab.most_stride * INTERVAL_MS * MS
    assert all(before.stop_ns <= after.start_ns for before, after in itertools.pairwise(log.bouts))
    rows_in_bouts = sum(bout.frames for bout in log.bouts)
    assert rows_in_bouts == len(log.time_ns)


@settings(max_examples=60, deadline=None)
@given(events, st.sampled_from(Level), st.booleans())
def test_so_is_it_in_seconds_and_with_a_filter(sequence: list[tuple[str, int]], level: Level, filtered: bool) -> None:
    """Whatever is kept, and whatever bouts are decided by: time counts once, and bouts cover what was observed."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), level, filtered=filtered)
        for name, *arguments in sequence:
            getattr(lab, name)(*arguments)
        log = lab.stop()
    spans = [(t, t + d) for t, d in zip(log.time_ns.tolist(), log.duration_ns.tolist(), strict=True)]
    spans = sorted([*spans, *((gap.start_ns, gap.stop_ns) for gap in log.unobserved)])
    assert all(start < stop for start, stop in spans)
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
    crossing = sum(b.stop_ns - b.start_ns for b in log.bouts) - int(log.duration_ns.sum())
    assert abs(crossing) < 2 * lab.most_stride * INTERVAL_MS * MS
    assert all(before.stop_ns <= after.start_ns for before, after in itertools.pairwise(log.bouts))


def test_a_row_stands_for_no_longer_than_until_a_gap_begins() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.row(0)
        lab.gap(INTERVAL_MS // 4, 300)
        log = lab.stop()
    assert log.duration_ns.tolist() == [INTERVAL_MS // 4 * MS, INTERVAL_MS * MS]
    assert [bout.stop_ns - bout.start_ns for bout in log.bouts] == [INTERVAL_MS // 4 * MS, INTERVAL_MS * MS]


def test_a_row_stands_for_as_long_as_it_was_written_with() -> None:
    """Rows every 40 ms, then every 160, then every 40 again: each lasts to the next, the last one as it was written."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        for stride, after_ms in ((1, 0), (4, 40), (4, 160), (1, 160), (3, 40)):
            lab.pace(stride)
            lab.row(after_ms)
        lab.flush()
        log = read_log(lab.folder)
        lab.kill(2_000)
        after = lab.stop()
    assert [duration // MS for duration in log.duration_ns.tolist()] == [40, 160, 160, 40, 120]
    assert log.unobserved == ()
    # What the next start makes of the last row: down from its end on.
    assert after.unobserved[0].start_ns == log.time_ns[-1] + 120 * MS
    assert after.unobserved[0].reason is Reason.DAEMON_DOWN


def test_engines_that_change_begin_a_session() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        for _ in range(3):
            lab.row(INTERVAL_MS)
        lab.log.change_engines({"rgb": "slower"}, "EngineError: lost")
        lab.row(INTERVAL_MS)
        log = lab.stop()
    assert len(log.time_ns) == 5
    assert [(s.engines["rgb"], s.stop_reason) for s in log.provenance] == [
        ("free/cpu/fp32", "EngineError: lost"),
        ("slower", "stopped"),
    ]
    assert log.provenance[0].uuid != log.provenance[1].uuid
    assert log.provenance[0].stop_ns == log.provenance[1].start_ns == log.time_ns[3]


def test_a_holes_reason_is_the_callers() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.row(0)
        lab.gap(INTERVAL_MS, 300)
        lab.row(0)
        lab.row(200)
        log = lab.stop()
    assert log.unobserved_s() == {Reason.OVERLOAD: pytest.approx(0.3), Reason.CAMERA_LOST: pytest.approx(0.16)}
