from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.report.logs import INTERVAL_NS, START_NS, record, recorded
from toolkit.behaviour_log import Reason
from toolkit.bouts import BoutRules, Hysteresis
from toolkit.errors import ConfigError, InputError
from toolkit.report.record import bouts_under
from toolkit.report.tables import budget_rows, text_of
from toolkit.report.time_budget import BehaviourTime, TimeBudget, time_budget, time_budget_table, window_budgets

FRAME_S = INTERVAL_NS / 1e9
DRINK, EAT = 0, 1
# Frames:  0-2 drink, 3-4 eat, 5 drink, 6 no label, 7-16 camera lost, 17-19 drink.
LABELS = [*[DRINK] * 3, *[EAT] * 2, DRINK, -1, *[DRINK] * 10, *[DRINK] * 3]
GAPS = [(7, 17, Reason.CAMERA_LOST)]


@pytest.fixture
def budget(tmp_path: Path) -> TimeBudget:
    return time_budget(recorded(tmp_path, LABELS, gaps=GAPS))


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
    log = recorded(tmp_path, LABELS, gaps=GAPS)
    stitched = time_budget(bouts_under(log, BoutRules(stitch_gap_s=0.07)))
    assert [(each.name, each.bouts) for each in stitched.behaviours if each.bouts] == [("drink", 2)]
    assert line(stitched, "drink").total_s == pytest.approx(9 * FRAME_S)
    dropped = time_budget(bouts_under(log, BoutRules(min_bout_s={"drink": 0.05})))
    assert line(dropped, "drink").bouts == 2
    assert dropped.no_bout_s == pytest.approx(2 * FRAME_S)
    with pytest.raises(ConfigError, match="drnik"):
        bouts_under(log, BoutRules(min_bout_s={"drnik": 1}))


def test_rules_go_on_from_what_a_filter_decided(tmp_path: Path) -> None:
    labels = [0] * 10 + [1] + [0] * 10
    log = recorded(tmp_path, labels, decide=Hysteresis(3 * INTERVAL_NS, {}, INTERVAL_NS))
    # The networks' own word is in the confidence: the one frame of eating.
    assert log.confidence[0].histogram.sum(axis=1)[:2].tolist() == [20, 1]
    for rules in (BoutRules(), BoutRules(min_bout_s={"drink": 0.01})):
        budget = time_budget(bouts_under(log, rules))
        assert [(each.name, each.bouts) for each in budget.behaviours if each.bouts] == [("drink", 1)]
        assert line(budget, "drink").total_s == pytest.approx(21 * FRAME_S)


def test_table_says_the_same(budget: TimeBudget) -> None:
    text = io.StringIO()
    Console(file=text, width=120).print(time_budget_table(budget))
    drink = next(row for row in text.getvalue().splitlines() if "drink" in row)
    assert drink.split() == ["drink", "3", "0.2", "s", "0.08", "0.04", "0.1", "70.0"]
    assert "unobserved: camera-lost 0.3 s" in " ".join(text.getvalue().split())
    assert "2025-11-23 12:13:20 UTC" in text.getvalue()


def test_csv_says_the_same(budget: TimeBudget) -> None:
    header, *rows = budget_rows([("mouse 1", budget)])
    table = {(row[1], row[2]): dict(zip(header, map(text_of, row), strict=True)) for row in rows}
    assert table["behaviour", "drink"]["bouts"] == "3"
    assert float(table["behaviour", "drink"]["percent_of_observed_time"]) == pytest.approx(70)
    assert table["behaviour", "walk"]["mean_s"] == ""
    assert float(table["observed", "all"]["total_s"]) == pytest.approx(10 * FRAME_S, abs=1e-5)
    assert float(table["unobserved", "camera-lost"]["total_s"]) == pytest.approx(10 * FRAME_S, abs=1e-5)


def test_a_log_without_a_frame_says_why(tmp_path: Path) -> None:
    log = recorded(tmp_path, [0] * 30, gaps=[(0, 30, Reason.DARK)])
    with pytest.raises(InputError, match=r"no frame was classified.*dark 1\.0 s"):
        time_budget(log)


# Seconds:  0-10 drink, 10-30 eat, 30-40 drink, 40-60 dark, 60-75 drink, 75-100 eat; windows 0-20, 20-50, 50-100.
WINDOWED = record(
    (DRINK, 0, 10), (EAT, 10, 30), (DRINK, 30, 40), (DRINK, 60, 75), (EAT, 75, 100),
    observed=[(0, 40), (60, 100)], gaps=[(40, 60, "dark")],
)  # fmt: skip
EDGES = np.array([0, 20, 50, 100]) * 10**9


def test_windows_by_hand() -> None:
    found = window_budgets(WINDOWED, EDGES)
    assert found.observed_s.tolist() == [20, 20, 40]
    assert found.unobserved_s.tolist() == [0, 10, 10]
    # Time lies where it lies: eating from 10 to 30 is cut at 20.
    assert found.total_s[:, DRINK].tolist() == [10, 10, 15]
    assert found.total_s[:, EAT].tolist() == [10, 10, 25]
    assert found.percent[:, EAT].tolist() == [50, 50, 62.5]
    # A bout counts, with its whole length, where it starts.
    assert found.count[:, EAT].tolist() == [1, 0, 1]
    assert found.mean_s[[0, 2], EAT].tolist() == [20, 25]
    assert math.isnan(found.mean_s[1, EAT])
    # Drinking ends at 10 and begins again at 30; darkness lies between 40 and the next, and between the two of eating.
    assert found.inter_bout_s[0, DRINK] == 20
    assert np.isnan(found.inter_bout_s[1:, DRINK]).all()
    assert np.isnan(found.inter_bout_s[:, EAT]).all()


def test_windows_add_up_to_the_whole() -> None:
    whole, parts = window_budgets(WINDOWED, EDGES[[0, -1]]), window_budgets(WINDOWED, EDGES)
    np.testing.assert_allclose(parts.total_s.sum(axis=0), whole.total_s[0])
    assert parts.count.sum(axis=0).tolist() == whole.count[0].tolist()
    # Drink: 10, 10, 15 s: mean 35/3, SD sqrt(((5/3)^2 * 2 + (10/3)^2) / 2).
    assert whole.mean_s[0, DRINK] == pytest.approx(35 / 3)
    assert whole.sd_s[0, DRINK] == pytest.approx(math.sqrt((2 * (5 / 3) ** 2 + (10 / 3) ** 2) / 2))


def test_intervals_of_one_window_are_summed() -> None:
    found = window_budgets(WINDOWED, EDGES, np.array([0, 1, 0]))
    assert found.observed_s.tolist() == [60, 20]
    assert found.count[:, DRINK].tolist() == [2, 1]
    assert found.sd_s[0, EAT] == pytest.approx(np.std([20, 25], ddof=1))


def test_a_window_without_observation_has_no_percentage() -> None:
    found = window_budgets(WINDOWED, np.array([0, 40, 60, 100]) * 10**9)
    assert np.isnan(found.percent[1]).all()
    assert (found.total_s[1] == 0).all()
