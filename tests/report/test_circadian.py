from __future__ import annotations

import numpy as np
import pytest

from tests.report.logs import record
from tests.report.test_clock import FOLLOWING, TIMER, ns
from toolkit.report.circadian import activity, day_grid, profile_over_animals, profile_over_days
from toolkit.report.clock import lab_clock

EAT, REST = 1, 6
UTC = lab_clock("UTC", "06:00", "18:00")
START_NS = ns("2026-01-15T06:00")


def h(*hours: float) -> list[float]:
    return [3600 * hour for hour in hours]


def test_shares_by_day_and_hour() -> None:
    # ZT 0-1 eats 15 min of it, ZT 1-2 rests, ZT 2-3 is seen for 12 min only, ZT 24-25 eats throughout.
    found = record(
        (EAT, *h(0, 0.25)), (REST, *h(0.25, 2.2)), (EAT, *h(24, 25)),
        observed=[tuple(h(0, 2.2)), tuple(h(24, 25))], gaps=[(*h(2.2, 24), "dark")], start_ns=START_NS,
    )  # fmt: skip
    grid = day_grid(found, UTC, 24)
    assert grid.day_starts.tolist() == [START_NS, ns("2026-01-16T06:00")]
    assert grid.share[0, 0, [EAT, REST]].tolist() == [0.25, 0.75]
    assert grid.share[0, 1, REST] == 1
    assert np.isnan(grid.share[0, 2:]).all()
    assert grid.observed_s[0, 2] == pytest.approx(720)
    assert activity(grid, [REST])[0, :2].tolist() == [0.25, 0]
    profile = profile_over_days(grid)
    # Over two days in hour 0: 25 % and 100 %.
    assert profile.mean[0, EAT] == 62.5
    assert profile.sd[0, EAT] == pytest.approx(np.std([25, 100], ddof=1))
    assert profile.count[:3].tolist() == [2, 1, 0]
    assert np.isnan(profile.mean[2]).all()


def test_an_animal_counts_once_however_long_it_was_seen() -> None:
    short = record((EAT, *h(0, 1)), observed=[tuple(h(0, 1))], start_ns=START_NS)
    long = record((REST, *h(0, 49)), observed=[tuple(h(0, 49))], start_ns=START_NS)
    profiles = [profile_over_days(day_grid(each, UTC, 24)) for each in (short, long)]
    both = profile_over_animals(profiles)
    assert both.mean[0, EAT] == 50
    assert both.count[[0, 5]].tolist() == [2, 1]


def test_a_bout_keeps_its_zeitgeber_hour_over_the_change_of_clocks() -> None:
    # Ten minutes of eating, every day at 08:00 UTC, which is ZT 2 of a timer in standard time, before and after.
    start_ns = ns("2026-03-28T06:00")
    eats = [(EAT, *h(24 * day + 2, 24 * day + 2 + 1 / 6)) for day in range(3)]
    found = record(*eats, observed=[tuple(h(0, 72))], start_ns=start_ns)
    grid = day_grid(found, TIMER, 24)
    assert [np.flatnonzero(day).tolist() for day in grid.share[:, :, EAT]] == [[2], [2], [2]]
    # Lights that follow the clock come on an hour earlier from the 29th: the same bouts are at ZT 3.
    grid = day_grid(found, FOLLOWING, 24)
    assert [np.flatnonzero(np.nan_to_num(day)).tolist() for day in grid.share[:, :, EAT]][:3] == [[2], [3], [3]]


def test_days_of_23_and_25_hours() -> None:
    found = record((REST, *h(0, 60)), observed=[tuple(h(0, 60))], start_ns=ns("2026-03-28T06:00"))
    short = day_grid(found, FOLLOWING, 24)
    assert short.observed_s[0].tolist() == [3600] * 23 + [0]
    assert np.isnan(short.share[0, 23]).all()
    found = record((REST, *h(0, 60)), observed=[tuple(h(0, 60))], start_ns=ns("2026-10-24T05:00"))
    long = day_grid(found, FOLLOWING, 24)
    # The 25th hour is in no bin, and the next day's first is whole.
    assert long.observed_s[0].tolist() == [3600] * 24
    assert long.observed_s[1, 0] == 3600
    assert long.day_starts[1] - long.day_starts[0] == 25 * 3600 * 10**9
