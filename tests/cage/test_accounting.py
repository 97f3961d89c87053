"""Whatever cameras, clocks and restarts do, a daemon's log covers its time once, and holds no frame twice.

The daemon and its log are real. Frames come as fast as they are taken, at made-up times around a UTC midnight, and
what the system's clock says is made up too. What the log holds is asked with SQL, and held against what was delivered.
"""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.behaviour_log.sessions import DAY_NS, NOON_NS
from tests.cage.parts import config, parts
from toolkit.behaviour_log import BehaviourLog, ClockReading, Interval, Reason, read_log
from toolkit.cage.cameras import CameraInfo
from toolkit.cage.daemon import run
from toolkit.errors import CameraError
from toolkit.frames import NS_PER_S, Frame

MS = 1_000_000
MIDNIGHT_NS = NOON_NS + DAY_NS // 2
FRAME_NS = NS_PER_S // 30

Event = tuple[str, int]

bursts = st.one_of(
    *(st.tuples(st.just(kind), st.integers(1, 40)) for kind in ("sound", "dark", "frozen", "jitter")),
    # No frame for some ms more than a frame's interval; hours of it cross midnight.
    st.tuples(st.just("stall"), st.one_of(st.integers(1, 5_000), st.integers(1, 9_000_000))),
    # A camera whose own times go back.
    st.tuples(st.just("stall"), st.integers(-300, -1)),
    # The system's clock steps, by ms, while the camera's goes on.
    st.tuples(st.just("step"), st.integers(-300_000, 300_000)),
)
endings = st.sampled_from(["end", "fail"])
# Until the next start by the system's clock, ms: it may have gone back meanwhile.
absences = st.one_of(st.integers(-300_000, 5_000), st.integers(0, 2 * 86_400_000))
daemons = st.tuples(st.lists(bursts, max_size=8), endings, absences)


@dataclass(frozen=True)
class Delivered:
    """A frame that a camera handed over."""

    kind: str
    monotonic_ns: int


class World:
    """The system's clocks, one of which steps, and a camera that follows a script through them. No real time passes."""

    info = CameraInfo("world", 64, 48, 30.0, live=False, frames=None, hole=Reason.CAMERA_LOST)

    def __init__(self) -> None:
        self._monotonic_ns = 1_000 * NS_PER_S
        self._offset_ns = MIDNIGHT_NS - 2 * NS_PER_S - self._monotonic_ns
        self._random = np.random.default_rng(0)
        self._images = self._random.integers(40, 220, (16, 48, 64, 3), dtype=np.uint8)
        self._dark = np.zeros_like(self._images[0])
        self.delivered: list[list[Delivered]] = []

    def start(self, events: Sequence[Event], ending: str) -> None:
        """Begin the next daemon's time."""
        self._events, self._ending = events, ending
        self.delivered.append([])

    def stop(self, away_ms: int) -> None:
        """Go on to the next start, by the system's clock."""
        self._monotonic_ns += max(0, away_ms) * MS
        self._offset_ns += min(0, away_ms) * MS

    def read_clock(self) -> ClockReading:
        """Say what the clocks say; see `toolkit.cage.clock.read_clock`."""
        now_ns = self._monotonic_ns
        return ClockReading(now_ns, now_ns + self._offset_ns, True)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield the script's frames; see `Camera.frames`."""
        for name, amount in self._events:
            if name == "stall":
                self._monotonic_ns += amount * MS
            elif name == "step":
                self._offset_ns += amount * MS
            else:
                for _ in range(amount):
                    late_ns = int(self._random.integers(-8 * MS, 8 * MS)) if name == "jitter" else 0
                    yield self._frame(name, self._monotonic_ns + late_ns)
                    self._monotonic_ns += FRAME_NS
        if self._ending == "fail":
            raise CameraError("its cable was pulled.")

    def _frame(self, kind: str, time_ns: int) -> Frame:
        index = len(self.delivered[-1])
        self.delivered[-1].append(Delivered(kind, time_ns))
        image = self._images[0 if kind == "frozen" else index % 16]
        return Frame(index, time_ns, self._dark if kind == "dark" else image)


@settings(max_examples=30, deadline=None)
@given(st.lists(daemons, min_size=1, max_size=3))
@example([([("sound", 40), ("stall", 7_200_000), ("frozen", 40), ("dark", 5), ("sound", 30)], "fail", -200_000)] * 2)
# A new log that begins with what turns out to be frozen.
@example([([("frozen", 11)], "end", 0)])
@example([([("sound", 20), ("stall", -200), ("dark", 9), ("sound", 20)], "end", 0)])
@example([([("step", -300_000)], "end", -300_000), ([("sound", 3)], "end", 0)])
# A session of no frames at midnight, and one that is dated before it.
@example([([], "end", 2000), ([], "end", -1), ([("sound", 1)], "end", 0)])
@example([([], "end", 2000), ([("stall", -1)], "end", 0), ([("sound", 1)], "end", 0)])
def test_every_moment_counts_once_and_no_frame_twice(script: list[tuple[list[Event], str, int]]) -> None:
    world = World()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr("toolkit.cage.daemon.read_clock", world.read_clock)
        patched.setattr("toolkit.cage.watch.read_clock", world.read_clock)
        numbers = itertools.count()
        patched.setattr("toolkit.cage.daemon.uuid.uuid4", lambda: f"{next(numbers):036d}")
        # The clocks are read at every frame: real minutes do not pass here.
        patched.setattr("toolkit.cage.watch.CLOCK_S", 0.0)
        table = config(Path(name), view={"checks": ("dark", "frozen"), "frozen_s": 0.3})
        for events, ending, away_ms in script:
            world.start(events, ending)
            with pytest.raises(CameraError) if ending == "fail" else nullcontext():
                run(table, stop=threading.Event(), parts=parts(world))
            world.stop(away_ms)
        log = read_log(table.log.folder)
        rows = [row for file in log.files for row in rows_of(file)]
    assert len(log.provenance) == len(script)
    time_is_covered_once(log)
    rows_are_what_was_delivered(log, rows, world.delivered)


def time_is_covered_once(log: BehaviourLog) -> None:
    """Assert that rows and unobserved intervals follow one another without a hole."""
    spans = [(t, t + d) for t, d in zip(log.time_ns.tolist(), log.duration_ns.tolist(), strict=True)]
    spans = sorted(spans + [(gap.start_ns, gap.stop_ns) for gap in log.unobserved])
    assert all(start < stop for start, stop in spans)
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]


def rows_are_what_was_delivered(log: BehaviourLog, rows: list[Row], delivered: list[list[Delivered]]) -> None:
    """Assert that rows are in order, each of another frame, and that a frame without one is not observed."""
    assert [row.utc_ns for row in rows] == sorted({row.utc_ns for row in rows})
    logged = {(row.session, row.index): row.monotonic_ns for row in rows}
    assert len(logged) == len(rows)
    # Whatever their dates say: they were numbered.
    sessions = sorted(log.provenance, key=lambda session: session.uuid)
    for session, frames in zip(sessions, delivered, strict=True):
        times_ns = [session.start_ns - session.utc_offset_ns - 1, *(frame.monotonic_ns for frame in frames)]
        is_forward = all(before < after for before, after in itertools.pairwise(times_ns))
        for index, frame in enumerate(frames):
            row_ns = logged.pop((session.uuid, index), None)
            if row_ns is not None:
                assert row_ns == frame.monotonic_ns
                assert frame.kind != "dark"
            elif is_forward:
                # Silence is not rest.
                reason = reason_at(log.unobserved, frame.monotonic_ns + session.utc_offset_ns)
                assert reason in ((Reason.DARK, Reason.FROZEN) if frame.kind == "dark" else tuple(Reason))
    assert not logged


class Row(NamedTuple):
    """A row of the view `frames`."""

    utc_ns: int
    monotonic_ns: int
    index: int
    session: str


def rows_of(path: Path) -> list[Row]:
    """Return a file's rows, as they lie in it."""
    query = "SELECT utc_ns, monotonic_ns, source_index, session_uuid FROM frames"
    with closing(sqlite3.connect(path)) as database:
        return [Row(*row) for row in database.execute(query)]


def reason_at(gaps: Sequence[Interval], time_ns: int) -> Reason | None:
    """Return why a moment is not observed; None if it is."""
    return next((gap.reason for gap in gaps if gap.start_ns <= time_ns < gap.stop_ns), None)
