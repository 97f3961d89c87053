"""What is written is what is read, across midnight, restarts and gaps."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.behaviour_log.sessions import (
    DAY_NS,
    INTERVAL_NS,
    NOON_DAY,
    NOON_NS,
    NS,
    SESSION,
    add_rows,
    session,
    steps,
)
from toolkit.behaviour_log import ClockReading, Interval, LogWriter, Quality, Reason, read_log
from toolkit.errors import LogError
from toolkit.ethogram import ethogram_from_names


def test_rows_come_back_as_they_were_given(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        log.row(7, 0, np.array([0.5, 0.3, 0.2], dtype=np.float32), 0, Quality.PADDED)
        log.row(9, INTERVAL_NS, np.array([0.0, 1.0, 0.0], dtype=np.float32), 1, Quality(0))
        log.row(11, 2 * INTERVAL_NS, np.array([0.3, 0.3, 0.4], dtype=np.float32), None, Quality.UNCERTAIN)
        log.close("stopped")
    read = read_log(tmp_path)
    assert read.cage == "a1"
    assert read.files == (tmp_path / "a1" / f"a1_{NOON_DAY}.sqlite",)
    assert read.ethogram.names == ("rest", "walk", "rear")
    assert read.time_ns.tolist() == [NOON_NS, NOON_NS + INTERVAL_NS, NOON_NS + 2 * INTERVAL_NS]
    assert read.source_index.tolist() == [7, 9, 11]
    assert read.label.tolist() == [0, 1, -1]
    assert read.probabilities.tolist() == [[128, 76, 51], [0, 255, 0], [76, 76, 102]]
    assert read.quality.tolist() == [1, 0, 2]
    assert (read.time_ns.dtype, read.label.dtype, read.probabilities.dtype) == (np.int64, np.int16, np.uint8)
    (provenance,) = read.provenance
    assert provenance.bundle_sha256 == "b" * 64
    assert provenance.config == {"cage": {"name": "a1"}}
    assert provenance.engines == {"rgb": "free/cpu/fp32"}
    assert (provenance.stop_ns, provenance.stop_reason) == (NOON_NS + 3 * INTERVAL_NS, "stopped")


def test_anyone_can_read_a_file_with_sql(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(5, 7), label=2, first=100)
        log.clock(ClockReading(monotonic_ns=3, utc_ns=NOON_NS + 10, synchronised=True))
        log.close("stopped")
        path = log.path
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    columns = "utc_ns, monotonic_ns, boot_id, source_index, behaviour, quality"
    assert database.execute(f"SELECT {columns} FROM frames").fetchall() == [
        (NOON_NS + 5 * INTERVAL_NS, 5 * INTERVAL_NS, "boot-1", 100, "rear", 0),
        (NOON_NS + 6 * INTERVAL_NS, 6 * INTERVAL_NS, "boot-1", 101, "rear", 0),
    ]
    assert database.execute("SELECT * FROM clock").fetchall() == [(3, 0, NOON_NS + 10, 1, 7)]
    database.close()
    assert not list(path.parent.glob("*-wal"))


def test_bouts_are_runs_of_labels_and_end_at_gaps(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 3), label=0)
        log.flush()
        add_rows(log, steps(3, 5), label=0)
        add_rows(log, steps(5, 6), label=1)
        add_rows(log, steps(6, 7), label=None)
        add_rows(log, steps(7, 9), label=1)
        log.unobserved(9 * INTERVAL_NS, 20 * INTERVAL_NS, Reason.OVERLOAD)
        add_rows(log, steps(20, 22), label=1)
        log.close("stopped")
    read = read_log(tmp_path)
    found = [
        (b.behaviour, (b.start_ns - NOON_NS) // INTERVAL_NS, (b.stop_ns - NOON_NS) // INTERVAL_NS, b.frames)
        for b in read.bouts
    ]
    assert found == [(0, 0, 5, 5), (1, 5, 6, 1), (1, 7, 9, 2), (1, 20, 22, 2)]
    assert [round(bout.mean_probability, 5) for bout in read.bouts] == [0.8] * 4
    assert read.unobserved == (Interval(NOON_NS + 9 * INTERVAL_NS, NOON_NS + 20 * INTERVAL_NS, Reason.OVERLOAD),)
    assert read.observed_s == pytest.approx(0.11)
    assert read.unobserved_s() == {Reason.OVERLOAD: pytest.approx(0.11)}


def test_a_bout_across_midnight_is_in_both_files_and_read_as_one(tmp_path: Path) -> None:
    midnight = SESSION.start_ns + DAY_NS // 2
    began = session(start_ns=midnight - 50 * INTERVAL_NS, offset_ns=midnight)
    with LogWriter(tmp_path, "a1", began) as log:
        add_rows(log, [number * INTERVAL_NS + 1_000 for number in range(-50, 50)], label=1)
        log.close("stopped")
    first, second = sorted((tmp_path / "a1").glob("*.sqlite"))
    assert (first.name, second.name) == (f"a1_{NOON_DAY}.sqlite", "a1_2027-01-16.sqlite")
    with sqlite3.connect(first) as database:
        assert database.execute("SELECT start_ns, stop_ns, continued_from, continued_to FROM bout").fetchall() == [
            (midnight - 50 * INTERVAL_NS + 1_000, midnight, 0, 1)
        ]
        assert database.execute("SELECT stop_reason FROM session").fetchall() == [("day-end",)]
    database.close()
    with sqlite3.connect(second) as database:
        assert database.execute("SELECT start_ns, stop_ns, continued_from, continued_to FROM bout").fetchall() == [
            (midnight, midnight + 50 * INTERVAL_NS + 1_000, 1, 0)
        ]
    database.close()
    read = read_log(tmp_path)
    assert len(read.time_ns) == 100
    assert np.diff(read.time_ns).tolist() == [INTERVAL_NS] * 99
    assert read.source_index.tolist() == list(range(100))
    assert [(bout.start_ns, bout.frames) for bout in read.bouts] == [(int(read.time_ns[0]), 100)]
    assert read.observed_s == pytest.approx(1.0)
    assert read.unobserved == ()
    assert len(read.provenance) == 1


def test_another_behaviour_after_midnight_is_no_continuation(tmp_path: Path) -> None:
    midnight = SESSION.start_ns + DAY_NS // 2
    with LogWriter(tmp_path, "a1", session(start_ns=midnight - NS, offset_ns=midnight)) as log:
        add_rows(log, steps(-3, 0), label=1)
        add_rows(log, steps(0, 3), label=2)
        log.close("stopped")
    assert [(bout.behaviour, bout.frames) for bout in read_log(tmp_path).bouts] == [(1, 3), (2, 3)]


def test_a_long_silence_is_cut_at_midnight_and_grows_in_place(tmp_path: Path) -> None:
    midnight = SESSION.start_ns + DAY_NS // 2
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 1))
        for hours in range(1, 31):
            log.unobserved(INTERVAL_NS, hours * 3600 * NS, Reason.CAMERA_LOST)
            log.flush()
        log.close("stopped")
    lost = Reason.CAMERA_LOST
    assert read_log(tmp_path).unobserved == (
        Interval(NOON_NS + INTERVAL_NS, midnight, lost),
        Interval(midnight, NOON_NS + 30 * 3600 * NS, lost),
    )


def test_a_frame_that_was_already_under_way_takes_back_the_silence_after_it(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 1))
        log.unobserved(INTERVAL_NS, 100 * INTERVAL_NS, Reason.CAMERA_LOST)
        log.flush()
        add_rows(log, steps(90, 91))
        log.close("stopped")
    (gap,) = read_log(tmp_path).unobserved
    assert (gap.start_ns, gap.stop_ns) == (NOON_NS + INTERVAL_NS, NOON_NS + 90 * INTERVAL_NS)
    assert log.unobserved_s == {Reason.CAMERA_LOST: pytest.approx(0.89)}
    assert log.observed_s == pytest.approx(0.02)


def test_absence_is_recorded_at_the_next_start_day_by_day(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 2))
        log.close("stopped")
    later = NOON_NS + 3 * DAY_NS
    with LogWriter(tmp_path, "a1", session(2, start_ns=later, offset_ns=later)) as log:
        add_rows(log, steps(5, 6))
        log.close("stopped")
    read = read_log(tmp_path)
    midnights = [NOON_NS + DAY_NS // 2 + day * DAY_NS for day in range(3)]
    edges = [NOON_NS + 2 * INTERVAL_NS, *midnights, later + 5 * INTERVAL_NS]
    assert [(gap.start_ns, gap.stop_ns) for gap in read.unobserved] == list(itertools.pairwise(edges))
    assert {gap.reason for gap in read.unobserved} == {Reason.DAEMON_DOWN}
    assert len(read.files) == 2
    assert len(read.provenance) == 2


def test_a_clock_set_back_keeps_the_order_and_says_so(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 1000))
        log.close("stopped")
    back = session(2, start_ns=NOON_NS + NS, offset_ns=NOON_NS)
    with LogWriter(tmp_path, "a1", back) as log:
        add_rows(log, steps(100, 200))
        log.clock(ClockReading(200 * INTERVAL_NS, NOON_NS + 200 * INTERVAL_NS, None))
        log.close("stopped")
        path = log.path
    read = read_log(tmp_path)
    assert len(read.time_ns) == 1100
    assert (np.diff(read.time_ns) == INTERVAL_NS).all()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT synchronised, step_ns FROM clock").fetchall() == [(None, -9 * NS)]
    database.close()


def test_no_frame_is_written_twice(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 10))
        add_rows(log, steps(0, 10))
        add_rows(log, steps(9, 12))
        log.close("stopped")
    assert log.account.refused == 11
    assert read_log(tmp_path).time_ns.tolist() == [NOON_NS + time_ns for time_ns in steps(0, 12)]


def test_two_daemons_cannot_write_one_log(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION):
        with pytest.raises(LogError, match=r"another daemon .* writes this log.*Stop the other one"):
            LogWriter(tmp_path, "a1", session(2)).__enter__()
        with LogWriter(tmp_path, "a2", session(3)):
            pass


def test_another_ethogram_needs_another_log(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        log.close("stopped")
    other = session(2, ethogram=ethogram_from_names(["rest", "groom"]))
    with pytest.raises(LogError, match="holds the behaviours rest, walk, rear; the bundle has rest, groom"):
        LogWriter(tmp_path, "a1", other).__enter__()


def test_the_log_is_readable_while_it_is_written(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        add_rows(log, steps(0, 5))
        log.flush()
        assert len(read_log(tmp_path).time_ns) == 5
        add_rows(log, steps(5, 9))
        assert len(read_log(tmp_path).time_ns) == 5
        log.flush()
        read = read_log(log.path)
        assert len(read.time_ns) == 9
        assert read.provenance[0].stop_ns is None
        assert [bout.frames for bout in read.bouts] == [9]
        log.close("stopped")


def test_a_day_at_30_fps_stays_below_80_mb(tmp_path: Path) -> None:
    """20,000 of a day's 2,592,000 rows, late in the day and late in the source, where numbers are longest.

    Bouts of 1.3 s and a megabyte for the tables themselves are part of the bill.
    """
    rng = np.random.default_rng(0)
    eight = ethogram_from_names(["drink", "eat", "groom", "hang", "micro-movement", "rear", "rest", "walk"])
    evening = NOON_NS + DAY_NS // 2 - 20_100 * NS // 30
    began = session(start_ns=evening, offset_ns=evening, ethogram=eight, row_interval_ns=NS // 30)
    with LogWriter(tmp_path, "empty", began) as empty:
        empty.close("stopped")
    with LogWriter(tmp_path, "a1", began) as log:
        for index in range(20_000):
            probabilities = rng.dirichlet(np.ones(8)).astype(np.float32)
            log.row(10**9 + 200 * index, index * NS // 30, probabilities, 2 + index // 40 % 6, Quality(0))
            if index % 60 == 0:
                log.flush()
        log.close("stopped")
    bytes_per_row = (log.path.stat().st_size - empty.path.stat().st_size) / 20_000
    assert 1e6 + bytes_per_row * 30 * 86_400 < 80e6


def test_a_row_of_the_day_before_the_file_is_refused(tmp_path: Path) -> None:
    midnight = SESSION.start_ns + DAY_NS // 2
    with LogWriter(tmp_path, "a1", session(start_ns=midnight + 1, offset_ns=midnight)) as log:
        add_rows(log, steps(-1, 2))
        log.close("stopped")
    assert log.account.refused == 1
    assert read_log(tmp_path).time_ns.tolist() == [midnight, midnight + INTERVAL_NS]
