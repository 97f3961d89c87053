"""Several animals at once give what one after another gives."""

from __future__ import annotations

import operator
import os
import re
import time
from functools import partial
from pathlib import Path

import pytest

from tests.report.logs import plausible_labels, write_log
from toolkit.errors import InputError
from toolkit.report import ReportOptions, write_report
from toolkit.report.clock import lab_clock
from toolkit.report.drawing import done_in_order


def test_a_report_by_processes_is_the_same(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    for cage in range(3):
        labels = plausible_labels(288 * 200, cage)[::200].tolist()
        write_log(logs, labels, cage=f"cage-{cage}", interval_ns=600 * 10**9)
    options = ReportOptions(clock=lab_clock("UTC", "06:00", "18:00"))
    here, there = tmp_path / "here", tmp_path / "there"
    budgets = [write_report([logs], out, options, jobs=jobs).budgets for out, jobs in ((here, 1), (there, 2))]
    assert budgets[0] == budgets[1]
    files = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    assert len([path for path in files if path.name == "ethogram.png"]) == 3
    assert files == sorted(path.relative_to(there) for path in there.rglob("*") if path.is_file())
    for path in files:
        one, other = ((folder / path).read_text("latin-1") for folder in (here, there))
        if path.suffix == ".html":
            # When it was made, and pictures within it.
            apart = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC|svg\+xml;base64,[^\"]*"
            one, other = (re.sub(apart, "", text) for text in (one, other))
        if path.suffix != ".svg":
            assert one == other, path


def test_what_is_done_comes_in_order_and_is_not_far_ahead() -> None:
    taken: list[int] = []

    def tasks() -> object:
        for number in range(8):
            taken.append(number)
            yield partial(operator.mul, number, 2) if number else partial(time.sleep, 0.3)

    found = []
    for result in done_in_order(tasks(), 2):  # type: ignore[arg-type]
        found.append(result)
        assert len(taken) <= len(found) + 3
    assert found == [None, *range(2, 16, 2)]


def test_a_fault_in_a_process_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(done_in_order([partial(operator.truediv, 1, 0), partial(operator.truediv, 1, 1)], 2))


def test_a_process_that_is_killed_is_one_message() -> None:
    with pytest.raises(InputError, match="was killed, most likely for want of memory"):
        list(done_in_order([partial(os._exit, 9)], 2))
