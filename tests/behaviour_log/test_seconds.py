"""Level "bouts": the bouts of the frames, and a summary of every second in their place."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_NS, NS, SESSION, add_rows, session, steps
from toolkit.behaviour_log import BehaviourLog, Level, LogWriter, Quality, Reason, read_log
from toolkit.bouts import BoutRules
from toolkit.report.from_logs import record_from_log
from toolkit.report.logged_bouts import logged_bouts
from toolkit.report.time_budget import time_budget


def write(folder: Path, level: Level, *, flush_every: int = 17) -> BehaviourLog:
    """Write 10 s of labels that change at random around a midnight, with a hole and a silence in them."""
    random = np.random.default_rng(3)
    midnight_ns = NOON_NS + DAY_NS // 2
    start_ns = midnight_ns - 5 * NS
    labels = np.repeat(random.integers(-1, 3, 100), random.integers(1, 40, 100))[:1000]
    with LogWriter(folder, "a1", session(start_ns=start_ns, offset_ns=start_ns, level=level)) as log:
        for row, label in enumerate(labels.tolist()):
            if 230 <= row < 260 or 700 <= row < 707:
                continue
            if row == 707:
                log.unobserved(700 * INTERVAL_NS, 707 * INTERVAL_NS, Reason.DARK)
            add_rows(log, [row * INTERVAL_NS + int(random.integers(0, 2_000_000))], label if label >= 0 else None, row)
            if row % flush_every == 0:
                log.flush()
        log.close("stopped")
    return read_log(folder)


def test_time_budgets_are_those_of_the_frames(tmp_path: Path) -> None:
    frames = write(tmp_path / "frames", Level.FRAMES)
    seconds = write(tmp_path / "seconds", Level.BOUTS)
    budgets = [time_budget(record_from_log(log)) for log in (seconds, frames)]
    assert budgets[0].behaviours == budgets[1].behaviours
    assert budgets[0].unobserved_s == budgets[1].unobserved_s
    assert seconds.observed_s == frames.observed_s
    assert seconds.bouts == frames.bouts
    assert seconds.unobserved == frames.unobserved


def test_a_summary_is_what_its_frames_are(tmp_path: Path) -> None:
    frames = write(tmp_path / "frames", Level.FRAMES)
    seconds = write(tmp_path / "seconds", Level.BOUTS)
    assert len(seconds.files) == 2
    # Ten seconds, one of which the hole cuts in two.
    assert len(seconds.time_ns) == 11
    assert (seconds.quality & Quality.SUMMARY.value).all()
    ends = seconds.time_ns + seconds.duration_ns
    for row in range(11):
        own = (frames.time_ns >= seconds.time_ns[row]) & (frames.time_ns < ends[row])
        means = frames.probabilities[own].mean(axis=0)
        assert np.abs(seconds.probabilities[row] - means).max() <= 1
        labels = frames.label[own]
        counts = [int((labels == label).sum()) for label in range(3)]
        assert counts[seconds.label[row]] == max(counts)
        assert seconds.source_index[row] == frames.source_index[own][0]
        assert bool(seconds.quality[row] & Quality.UNCERTAIN) == bool((labels == -1).any())
        assert frames.duration_ns[own].sum() == seconds.duration_ns[row]


def test_a_kill_costs_no_second_that_was_committed(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", session(level=Level.BOUTS)) as log:
        add_rows(log, steps(0, 130))
        log.flush()
        add_rows(log, steps(130, 150), first=130)
        log.flush()
        add_rows(log, steps(150, 190), first=150)
    with LogWriter(tmp_path, "a1", session(2, start_ns=NOON_NS + 5 * NS)) as log:
        add_rows(log, steps(500, 503))
        log.close("stopped")
    read = read_log(tmp_path)
    assert (read.duration_ns // INTERVAL_NS).tolist() == [100, 50, 1, 1, 1]
    assert [(gap.start_ns, gap.reason) for gap in read.unobserved] == [
        (NOON_NS + 150 * INTERVAL_NS, Reason.DAEMON_DOWN)
    ]
    assert [entry.level for entry in read.provenance] == [Level.BOUTS, Level.FRAMES]
    assert [bout.frames for bout in read.bouts] == [150, 3]


def test_rules_are_applied_to_the_summaries(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", session(level=Level.BOUTS)) as log:
        add_rows(log, steps(0, 300), label=1)
        add_rows(log, steps(300, 340), label=2, first=300)
        add_rows(log, steps(340, 600), label=1, first=340)
        log.close("stopped")
    read = read_log(tmp_path)
    (bout,) = logged_bouts(read, BoutRules(stitch_gap_s=1.0))
    assert (bout.behaviour, bout.duration_s) == (1, pytest.approx(6.0))


def test_nothing_is_kept_per_frame(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", session(level=Level.BOUTS)) as log:
        add_rows(log, steps(0, 100))
        log.close("stopped")
    with closing(sqlite3.connect(log.path)) as database:
        assert database.execute("SELECT COUNT(*) FROM frame").fetchone() == (0,)
        assert database.execute("SELECT rows, duration_ns, label FROM second").fetchall() == [(100, NS, 0)]
    assert SESSION.level is Level.FRAMES
