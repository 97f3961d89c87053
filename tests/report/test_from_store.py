"""A report of a store says what a report of its logs says."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.behaviour_log.sessions import DAY_NS, INTERVAL_NS, NOON_NS, add_rows, session
from toolkit.behaviour_log import LogWriter, Reason
from toolkit.bouts import BoutRules
from toolkit.errors import InputError
from toolkit.export import ExportOptions, export_logs
from toolkit.report.animals import Animal
from toolkit.report.clock import lab_clock
from toolkit.report.from_store import record_from_store
from toolkit.report.inputs import Faults, Period, read_animals, sources
from toolkit.report.record import CageRecord
from toolkit.report.summary import summarise
from toolkit.report.transitions import transition_counts


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Write two cages' logs over midnight, ten seconds before it and after, with a gap and rows without a label."""
    first = (DAY_NS // 2 - 10 * 10**9) // INTERVAL_NS
    for number, cage in enumerate(("a1", "a2")):
        with LogWriter(tmp_path / "logs", cage, session(number + 1)) as log:
            for start, stop, label in ((0, 300, 0), (300, 420, 1), (500, 1300, 2), (1300, 1400, None), (1400, 2000, 0)):
                add_rows(log, [(first + row) * INTERVAL_NS for row in range(start, stop)], label=label, first=start)
                if stop == 420:
                    log.unobserved((first + 420) * INTERVAL_NS, (first + 500) * INTERVAL_NS, Reason.OVERLOAD)
            log.close("stopped")
    return tmp_path / "logs"


@pytest.fixture
def store(logs: Path) -> Path:
    return export_logs([logs], logs.parent / "store", ExportOptions("parquet", open_day=True)).files[0].parents[2]


def records(path: Path) -> dict[str, CageRecord]:
    faults = Faults(partial=False)
    by_cage = sources([path], None, faults)
    found = {animal.name: record for animal, record in read_animals(by_cage, [], BoutRules(), Period(), faults)}
    assert faults.found == []
    return found


def test_the_record_is_that_of_the_logs(logs: Path, store: Path) -> None:
    expected, found = records(logs), records(store)
    assert list(found) == list(expected) == ["a1", "a2"]
    for cage, record in expected.items():
        mine = found[cage]
        assert mine.ethogram == record.ethogram
        assert mine.observed.tolist() == record.observed.tolist()
        assert mine.unobserved == record.unobserved
        for column in ("behaviour", "start_ns", "stop_ns"):
            assert getattr(mine.bouts, column).tolist() == getattr(record.bouts, column).tolist()
        assert mine.provenance == record.provenance
        assert transition_counts(mine).tolist() == transition_counts(record).tolist()
    # The bout over midnight is one, although it lies in two days' files.
    assert len(found["a1"].bouts) == 4
    assert found["a1"].start_ns < NOON_NS + DAY_NS // 2 < found["a1"].stop_ns


def test_the_numbers_are_those_of_the_logs(logs: Path, store: Path) -> None:
    clock = lab_clock("UTC", "06:00", "18:00")
    expected, found = (
        summarise(Animal("a1", "a1"), records(path)["a1"], clock, 3600 * 10**9) for path in (logs, store)
    )
    for mine, line in zip(found.budget.behaviours, expected.budget.behaviours, strict=True):
        assert (mine.name, mine.bouts, mine.total_s) == (line.name, line.bouts, line.total_s)
    assert found.budget.observed_s == expected.budget.observed_s
    np.testing.assert_array_equal(found.bins.total_s, expected.bins.total_s)
    assert len(found.confidence) == 2
    for day, same in zip(found.confidence, expected.confidence, strict=True):
        assert day.day_ns == same.day_ns
        assert day.uncertain_rows == same.uncertain_rows
        assert day.histogram.sum() == same.histogram.sum()


def test_a_report_names_a_cage_that_the_store_lacks_the_days_of(store: Path) -> None:
    shutil.rmtree(store / "sessions" / "cage=a2")
    with pytest.raises(InputError, match=r"a2, .*: its export was cut off; export that day again"):
        record_from_store(store, "a2")
