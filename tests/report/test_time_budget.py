from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from tests.report.logs import INTERVAL_NS, START_NS, logged
from toolkit.behaviour_log import Reason
from toolkit.bouts import BoutRules, Hysteresis
from toolkit.errors import ConfigError, LogError
from toolkit.report.time_budget import BehaviourTime, TimeBudget, time_budget, time_budget_table, write_time_budget

FRAME_S = INTERVAL_NS / 1e9
DRINK, EAT = 0, 1
# Frames:  0-2 drink, 3-4 eat, 5 drink, 6 no label, 7-16 camera lost, 17-19 drink.
LABELS = [*[DRINK] * 3, *[EAT] * 2, DRINK, -1, *[DRINK] * 10, *[DRINK] * 3]
GAPS = [(7, 17, Reason.CAMERA_LOST)]


@pytest.fixture
def budget(tmp_path: Path) -> TimeBudget:
    return time_budget(logged(tmp_path, LABELS, gaps=GAPS))


def line(budget: TimeBudget, name: str) -> BehaviourTime:
    return next(line for line in budget.behaviours if line.name == name)


def test_divides_by_observed_time(budget: TimeBudget) -> None:
    assert budget.observed_s == pytest.approx(10 * FRAME_S)
    assert budget.unobserved_s == {"camera-lost": pytest.approx(10 * FRAME_S)}
    assert budget.percent_unobserved == pytest.approx(50)
    assert line(budget, "drink").percent_observed == pytest.approx(70)
    assert line(budget, "eat").percent_observed == pytest.approx(20)
    assert budget.no_bout_s == pytest.approx(FRAME_S)
    assert budget.percent_no_bout == pytest.approx(10)
    assert (budget.start_ns, budget.stop_ns) == (START_NS, START_NS + 20 * INTERVAL_NS)


def test_counts_bouts_by_hand(budget: TimeBudget) -> None:
    # Bouts of 3, 1 and 3 frames: mean 7/3, variance ((2/3)^2 * 2 + (4/3)^2) / 2 = 4/3. Between the first two lie two
    # frames of eating; the camera was lost between the second and the third.
    drink = line(budget, "drink")
    assert drink.bouts == 3
    assert drink.total_s == pytest.approx(7 * FRAME_S)
    assert drink.mean_s == pytest.approx(7 / 3 * FRAME_S)
    assert drink.sd_s == pytest.approx(math.sqrt(4 / 3) * FRAME_S)
    assert drink.inter_bout_s == pytest.approx(2 * FRAME_S)


def test_what_does_not_exist_is_not_zero(budget: TimeBudget) -> None:
    eat, walk = line(budget, "eat"), line(budget, "walk")
    assert eat.bouts == 1
    assert math.isnan(eat.sd_s)
    assert math.isnan(eat.inter_bout_s)
    assert walk.total_s == 0
    assert math.isnan(walk.mean_s)


def test_bouts_under_rules(tmp_path: Path) -> None:
    log = logged(tmp_path, LABELS, gaps=GAPS)
    stitched = time_budget(log, BoutRules(stitch_gap_s=0.07))
    assert [(each.name, each.bouts) for each in stitched.behaviours if each.bouts] == [("drink", 2)]
    assert line(stitched, "drink").total_s == pytest.approx(9 * FRAME_S)
    dropped = time_budget(log, BoutRules(min_bout_s={"drink": 0.05}))
    assert line(dropped, "drink").bouts == 2
    assert dropped.no_bout_s == pytest.approx(2 * FRAME_S)
    with pytest.raises(ConfigError, match="drnik"):
        time_budget(log, BoutRules(min_bout_s={"drnik": 1}))


def test_rules_go_on_from_what_a_filter_decided(tmp_path: Path) -> None:
    labels = [0] * 10 + [1] + [0] * 10
    decide = Hysteresis(3 * INTERVAL_NS, {}, INTERVAL_NS)
    log = logged(tmp_path, labels, decide=decide)
    assert log.label.tolist() == labels
    for rules in (None, BoutRules(min_bout_s={"drink": 0.01})):
        budget = time_budget(log, rules)
        assert [(each.name, each.bouts) for each in budget.behaviours if each.bouts] == [("drink", 1)]
        assert line(budget, "drink").total_s == pytest.approx(21 * FRAME_S)


def test_table_says_the_same(budget: TimeBudget) -> None:
    text = io.StringIO()
    Console(file=text, width=120).print(time_budget_table(budget))
    drink = next(row for row in text.getvalue().splitlines() if "drink" in row)
    assert drink.split() == ["drink", "3", "0.2", "s", "0.08", "0.04", "0.1", "70.0"]
    assert "unobserved: camera-lost 0.3 s" in " ".join(text.getvalue().split())
    assert "2025-11-23 12:13:20 UTC" in text.getvalue()


def test_csv_says_the_same(budget: TimeBudget, tmp_path: Path) -> None:
    write_time_budget(budget, tmp_path / "budget.csv")
    with (tmp_path / "budget.csv").open(newline="") as file:
        rows = {(row["kind"], row["name"]): row for row in csv.DictReader(file)}
    assert rows["behaviour", "drink"]["bouts"] == "3"
    assert float(rows["behaviour", "drink"]["percent_of_observed_time"]) == pytest.approx(70)
    assert rows["behaviour", "walk"]["mean_s"] == ""
    assert float(rows["observed", "all"]["total_s"]) == pytest.approx(10 * FRAME_S, abs=1e-3)
    assert float(rows["unobserved", "camera-lost"]["total_s"]) == pytest.approx(10 * FRAME_S, abs=1e-3)


def test_a_log_without_a_frame_says_why(tmp_path: Path) -> None:
    log = logged(tmp_path, [0] * 30, gaps=[(0, 30, Reason.DARK)])
    with pytest.raises(LogError, match=r"no frame was classified.*dark 1\.0 s"):
        time_budget(log)
