from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.logs import INTERVAL_NS, logged, plausible_labels, record, recorded, write_log
from toolkit.behaviour_log import Reason, read_log
from toolkit.bouts import BoutRules, bouts_from_labels
from toolkit.errors import InputError
from toolkit.ethogram import MOUSE_HOME_CAGE, ethogram_from_names
from toolkit.report.from_logs import record_from_day, record_from_log
from toolkit.report.record import NO_RECORD, CageRecord, bouts_under, join_records

S = 1_000_000_000
MIDNIGHT_NS = 1_763_942_400 * S  # 2025-11-24 00:00 UTC


def as_rows(found: CageRecord) -> list[tuple[int, int, int]]:
    bouts = found.bouts
    return list(zip(bouts.behaviour.tolist(), bouts.start_ns.tolist(), bouts.stop_ns.tolist(), strict=True))


@pytest.fixture(scope="module")
def over_midnight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two days' files, at 10 rows a second: a bout crosses midnight, the camera is lost later."""
    labels = np.repeat([0, 1, 2, 1], [200, 300, 250, 250]).tolist()
    gaps = [(600, 650, Reason.CAMERA_LOST)]
    folder = tmp_path_factory.mktemp("logs")
    return write_log(folder, labels, gaps=gaps, start_ns=MIDNIGHT_NS - 35 * S - 7, interval_ns=S // 10)


def test_days_joined_are_the_log_read_at_once(over_midnight: Path) -> None:
    files = sorted(over_midnight.glob("*.sqlite"))
    assert len(files) == 2
    joined = join_records([record_from_day(file, "cage-07") for file in files])
    whole = record_from_log(read_log(over_midnight))
    assert as_rows(joined) == as_rows(whole)
    assert joined.observed.tolist() == whole.observed.tolist()
    assert joined.unobserved == whole.unobserved
    assert joined.provenance == whole.provenance
    assert len(joined.provenance) == 1
    assert sum(day.histogram.sum() for day in joined.confidence) == 950
    # The bout of `eat` crosses midnight and is one.
    assert [behaviour for behaviour, *_ in as_rows(joined)] == [0, 1, 2, 2, 1]


def test_observed_and_unobserved_tile_the_time(over_midnight: Path) -> None:
    found = join_records([record_from_day(file, "cage-07") for file in sorted(over_midnight.glob("*.sqlite"))])
    spans = sorted([*map(tuple, found.observed.tolist()), *((gap.start_ns, gap.stop_ns) for gap in found.unobserved)])
    assert (spans[0][0], spans[-1][1]) == (found.start_ns, found.stop_ns)
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert found.stop_ns - found.start_ns == 100 * S


def test_time_between_pieces_is_unobserved() -> None:
    pieces = [record((0, 0, 5), observed=[(0, 5)]), record((0, 8, 9), observed=[(8, 9)], files=("b.sqlite",))]
    joined = join_records(pieces[::-1])
    assert [(gap.start_ns, gap.stop_ns, gap.reason) for gap in joined.unobserved] == [(5 * S, 8 * S, NO_RECORD)]
    assert as_rows(joined) == [(0, 0, 5 * S), (0, 8 * S, 9 * S)]
    assert joined.files == ("a.sqlite", "b.sqlite")


def test_borders_within_a_frames_jitter_are_one() -> None:
    jitter_s = 0.4 * INTERVAL_NS / S
    later = record((0, 5 + jitter_s, 9), observed=[(5 + jitter_s, 9)])
    joined = join_records([record((0, 0, 5), observed=[(0, 5)]), later])
    assert joined.unobserved == ()
    assert joined.observed.tolist() == [[0, 9 * S]]
    assert as_rows(joined) == [(0, 0, 9 * S)]


def test_overlaps_are_refused_or_left_out() -> None:
    pieces = [record((0, 0, 5), observed=[(0, 5)]), record((1, 4, 9), observed=[(4, 9)], files=("b.sqlite",))]
    with pytest.raises(
        InputError, match=r"a\.sqlite and b\.sqlite overlap: the one goes to 0:00:05, the other begins at"
    ):
        join_records(pieces)
    kept = join_records(pieces, partial=True)
    assert as_rows(kept) == [(0, 0, 5 * S)]
    assert "overlap" in kept.remarks[0]


def test_pieces_of_another_kind_are_refused() -> None:
    first = record((0, 0, 5), observed=[(0, 5)])
    other = record((0, 6, 9), observed=[(6, 9)], ethogram=ethogram_from_names(["rest", "walk"]))
    with pytest.raises(InputError, match="hold different behaviours"):
        join_records([first, other])
    with pytest.raises(InputError, match="recorded_at"):
        join_records([first, record((0, 6, 9), observed=[(6, 9)], dated=False)])


def test_a_part_is_cut_at_both_ends() -> None:
    found = record((0, 0, 5), (1, 5, 8), (0, 10, 12), observed=[(0, 8), (10, 12)], gaps=[(8, 10, "dark")])
    part = found.between(2 * S, 9 * S)
    assert part is not None
    assert as_rows(part) == [(0, 2 * S, 5 * S), (1, 5 * S, 8 * S)]
    assert part.observed.tolist() == [[2 * S, 8 * S]]
    assert (part.start_ns, part.stop_ns) == (2 * S, 9 * S)
    assert found.between(20 * S, 30 * S) is None


@given(
    st.lists(st.integers(-1, 2), min_size=1, max_size=60),
    st.sampled_from([0.0, 1.5, 3.0, 100.0]),
    st.sampled_from([0.0, 2.0, 3.5]),
)
def test_rules_on_bouts_are_rules_on_rows(labels: list[int], stitch_gap_s: float, min_bout_s: float) -> None:
    """The oracle has the rows, of which bouts keep only the runs."""
    rules = BoutRules(stitch_gap_s=stitch_gap_s, min_bout_s=min_bout_s)
    times, label, sure = np.arange(len(labels)) * S, np.array(labels), np.ones(len(labels))
    raw = [(b.behaviour, b.start_ns / S, b.stop_ns / S) for b in bouts_from_labels(times, label, sure, BoutRules(), S)]
    found = bouts_under(record(*raw, observed=[(0, len(labels))]), rules)
    expected = bouts_from_labels(times, label, sure, rules, S, behaviours=MOUSE_HOME_CAGE.names)
    assert as_rows(found) == [(bout.behaviour, bout.start_ns, bout.stop_ns) for bout in expected]


def test_rules_never_reach_over_unobserved_time(tmp_path: Path) -> None:
    found = recorded(tmp_path, [0] * 90, gaps=[(30, 31, Reason.OVERLOAD)])
    assert len(bouts_under(found, BoutRules(stitch_gap_s=10)).bouts) == 2


def test_a_log_of_probabilities_gives_their_histogram(tmp_path: Path) -> None:
    log = logged(tmp_path, [0, 0, 1, -1], probability=[0.2, 1.0, 0.6, 0.3])
    (day,) = record_from_log(log).confidence
    assert day.histogram[0].nonzero()[0].tolist() == [51, 255]
    assert day.histogram[1].nonzero()[0].tolist() == [153]
    assert (day.histogram.sum(), day.uncertain_rows) == (3, 1)


def test_bouts_of_a_record_lie_in_observed_time(tmp_path: Path) -> None:
    found = recorded(tmp_path, plausible_labels(900, 3).tolist(), gaps=[(100, 300, Reason.DARK)])
    for _, start_ns, stop_ns in as_rows(found):
        assert any(a <= start_ns < stop_ns <= b for a, b in found.observed.tolist())
