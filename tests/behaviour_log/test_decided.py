"""A log whose bouts a filter decides: raw labels stay, and bouts say what every row was decided as, killed or not."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_NS, SESSION, session
from toolkit.behaviour_log import BehaviourLog, LogWriter, Quality, Reason, read_log
from toolkit.bouts import DecisionFilter, FixedLagViterbi, Hysteresis, decided_labels

MIDNIGHT_NS = NOON_NS + DAY_NS // 2


def viterbi() -> DecisionFilter:
    return FixedLagViterbi(np.full((3, 3), 0.02) + 0.94 * np.eye(3), np.full(3, 1 / 3), 6)


def hysteresis() -> DecisionFilter:
    return Hysteresis(4 * INTERVAL_NS, {}, INTERVAL_NS)


def nothing() -> None:
    return None


def add_row(log: LogWriter, number: int, label: int | None) -> None:
    """Add the row at `number` intervals, 0.8 sure of its label."""
    probabilities = np.full(3, 0.1, dtype=np.float32)
    probabilities[label or 0] = 0.8
    quality = Quality(0) if label is not None else Quality.UNCERTAIN
    assert log.row(number, number * INTERVAL_NS, probabilities, label, quality)


def check_whole(log: BehaviourLog) -> None:
    """Every labelled row is in one bout, and only these are; bouts are as long as their rows."""
    assert ((log.decided < 0) == (log.label < 0)).all()
    for before, after in itertools.pairwise(log.bouts):
        assert before.stop_ns <= after.start_ns
    for bout in log.bouts:
        inside = (log.time_ns >= bout.start_ns) & (log.time_ns < bout.stop_ns)
        assert inside.sum() == bout.frames
        assert log.duration_ns[inside].sum() == bout.stop_ns - bout.start_ns


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.integers(0, 2), st.integers(1, 9)),
        st.tuples(st.just("rows"), st.integers(0, 2), st.integers(1, 2)),
        st.tuples(st.just("uncertain"), st.just(0), st.integers(1, 2)),
        st.tuples(st.just("silence"), st.just(0), st.integers(2, 20)),
        st.tuples(st.just("flush"), st.just(0), st.just(0)),
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.parametrize("make", [nothing, viterbi, hysteresis])
@pytest.mark.parametrize("start", ["noon", "midnight"])
@settings(deadline=None, max_examples=15)
@given(events=EVENTS, killed=st.booleans())
def test_every_row_is_decided_as_the_filter_says(
    make: Callable[[], DecisionFilter | None], start: str, events: list[tuple[str, int, int]], killed: bool
) -> None:
    # The first rows lie before midnight, the others after it.
    began_ns = NOON_NS if start == "noon" else MIDNIGHT_NS - 20 * INTERVAL_NS
    now = committed = 0
    with tempfile.TemporaryDirectory() as folder:
        with LogWriter(Path(folder), "a1", session(start_ns=began_ns, offset_ns=began_ns), lambda _: make()) as log:
            for name, label, count in [*events, ("rows", 0, 1)]:
                if name == "flush":
                    log.flush()
                    committed = log.account.rows
                elif name == "silence":
                    log.unobserved(now * INTERVAL_NS, (now + count) * INTERVAL_NS, Reason.OVERLOAD)
                    now += count
                else:
                    for number in range(now, now + count):
                        add_row(log, number, label if name == "rows" else None)
                    now += count
            if not killed:
                log.close("stopped")
                committed = log.account.rows
        if not committed:
            return
        read = read_log(Path(folder))
    assert len(read.time_ns) >= committed
    check_whole(read)
    if start == "noon" and not killed:
        probabilities = np.where(read.label[:, None] == np.arange(3), 0.8, 0.1)
        expected = decided_labels(probabilities, read.time_ns, make(), INTERVAL_NS, labels=read.label)
        assert read.decided.tolist() == expected.tolist()


def test_without_a_filter_rows_are_decided_as_they_are_labelled(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION) as log:
        for number, label in enumerate([0, 1, None, 2, 2, 0]):
            add_row(log, number, label)
        log.close("stopped")
    assert read_log(tmp_path).decided.tolist() == [0, 1, -1, 2, 2, 0]


@pytest.mark.parametrize("make", [viterbi, hysteresis])
def test_raw_labels_stay_and_a_flicker_leaves_no_bout(tmp_path: Path, make: Callable[[], DecisionFilter]) -> None:
    raw = [0] * 10 + [1] * 2 + [0] * 10 + [2] * 5
    with LogWriter(tmp_path, "a1", SESSION, lambda _: make()) as log:
        for number, label in enumerate(raw):
            add_row(log, number, label)
            # While the flicker lasts, Viterbi takes it for a bout: what is committed then must not stay.
            log.flush()
        log.close("stopped")
    read = read_log(tmp_path)
    assert read.label.tolist() == raw
    assert read.decided.tolist() == [0] * 22 + [2] * 5
    assert [(bout.behaviour, bout.frames) for bout in read.bouts] == [(0, 22), (2, 5)]
    # 20 rows at 0.8 and the flicker's two at 0.1, of behaviour 0.
    assert read.bouts[0].mean_probability == pytest.approx((20 * 0.8 + 2 * 0.1) / 22)


def test_what_a_power_loss_cuts_short_keeps_the_label_in_force(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "a1", SESSION, lambda _: hysteresis()) as log:
        for number, label in enumerate([0] * 5 + [1] * 3):
            add_row(log, number, label)
        log.flush()
    read = read_log(tmp_path)
    assert read.label.tolist() == [0] * 5 + [1] * 3
    assert read.decided.tolist() == [0] * 8


@pytest.mark.parametrize("make", [viterbi, hysteresis])
def test_a_bout_goes_on_over_midnight(tmp_path: Path, make: Callable[[], DecisionFilter | None]) -> None:
    began_ns = MIDNIGHT_NS - 10 * INTERVAL_NS
    with LogWriter(tmp_path, "a1", session(start_ns=began_ns, offset_ns=began_ns), lambda _: make()) as log:
        # A flicker just before midnight, and another behaviour from the first row after it on.
        for number, label in enumerate([1] * 9 + [0] + [2] * 10):
            add_row(log, number, label)
        log.close("stopped")
    read = read_log(tmp_path)
    # The row that crosses midnight keeps the label before it.
    assert read.decided.tolist() == [1] * 11 + [2] * 9
    assert [(bout.behaviour, bout.frames) for bout in read.bouts] == [(1, 11), (2, 9)]
