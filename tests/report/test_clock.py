"""Zeitgeber time over the changes of daylight-saving time, by hand.

Europe/Berlin is UTC+1 in winter and UTC+2 from 2026-03-29 01:00 UTC to 2026-10-25 01:00 UTC.
"""

from __future__ import annotations

from datetime import datetime, time, timezone

import numpy as np
import pytest

from toolkit.errors import ConfigError
from toolkit.report.clock import NS_PER_DAY, NS_PER_H, LabClock, instant, lab_clock

S = 1_000_000_000


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * S


def hours(clock: LabClock, *texts: str) -> list[float]:
    return clock.day_hours(np.array([ns(text) for text in texts])).tolist()


TIMER = lab_clock("Europe/Berlin", "07:00", "19:00")
FOLLOWING = lab_clock("Europe/Berlin", "07:00", "19:00", follow_dst=True)


def test_a_timer_keeps_standard_time_all_year() -> None:
    # 07:00 at UTC+1 is 06:00 UTC, in winter and in summer, where the clock on the wall shows 08:00.
    for day in ("2026-01-15", "2026-03-28", "2026-03-29", "2026-03-30", "2026-07-01", "2026-10-25", "2026-10-26"):
        assert hours(TIMER, f"{day}T06:00", f"{day}T05:59", f"{day}T18:00") == pytest.approx([0, 23 + 59 / 60, 12])
    for change in ("2026-03-28T12:00", "2026-10-24T12:00"):
        assert set(np.diff(TIMER.day_starts(ns(change), ns(change) + 3 * NS_PER_DAY))) == {NS_PER_DAY}


def test_lights_that_follow_the_clock_have_a_short_and_a_long_day() -> None:
    # On at 06:00 UTC on 28 March, and at 05:00 UTC on the 29th: 23 hours later.
    assert hours(FOLLOWING, "2026-03-29T04:00", "2026-03-29T05:00", "2026-03-29T17:00") == [22, 0, 12]
    days = FOLLOWING.day_starts(ns("2026-03-28T06:00"), ns("2026-03-30T05:00"))
    assert (np.diff(days) / NS_PER_H).tolist() == [23, 24]
    # On at 05:00 UTC on 24 October, and at 06:00 UTC on the 25th: 25 hours later.
    assert hours(FOLLOWING, "2026-10-25T05:30", "2026-10-25T06:00") == [24.5, 0]
    days = FOLLOWING.day_starts(ns("2026-10-24T05:00"), ns("2026-10-26T06:00"))
    assert (np.diff(days) / NS_PER_H).tolist() == [25, 24]


@pytest.mark.parametrize(
    ("clock", "dark"),
    [
        (TIMER, [("2026-03-28T18:00", "2026-03-29T06:00"), ("2026-03-29T18:00", "2026-03-30T06:00")]),
        # The night of the change is an hour shorter: off at 18:00 UTC, on at 05:00 UTC.
        (FOLLOWING, [("2026-03-28T18:00", "2026-03-29T05:00"), ("2026-03-29T17:00", "2026-03-30T05:00")]),
    ],
    ids=["timer", "following"],
)
def test_dark_phases_over_the_change(clock: LabClock, dark: list[tuple[str, str]]) -> None:
    found = clock.dark_spans(ns("2026-03-28T08:00"), ns("2026-03-30T10:00"))
    assert found.tolist() == [[ns(start), ns(stop)] for start, stop in dark]


def test_dark_phases_are_cut_to_what_was_asked() -> None:
    found = TIMER.dark_spans(ns("2026-01-15T20:00"), ns("2026-01-15T21:00"))
    assert found.tolist() == [[ns("2026-01-15T20:00"), ns("2026-01-15T21:00")]]


def test_a_reversed_cycle() -> None:
    reversed_ = lab_clock("+00:00", "19:00", "07:00")
    assert hours(reversed_, "2026-01-15T19:00", "2026-01-15T07:00") == [0, 12]
    assert reversed_.light_hours() == 12
    found = reversed_.dark_spans(ns("2026-01-15T00:00"), ns("2026-01-16T00:00"))
    assert found.tolist() == [[ns("2026-01-15T07:00"), ns("2026-01-15T19:00")]]


def test_days_without_lights_are_the_zones() -> None:
    berlin = lab_clock("Europe/Berlin", None, None)
    days = berlin.day_starts(ns("2026-03-28T12:00"), ns("2026-03-29T23:00"))
    assert days.tolist() == [
        ns("2026-03-27T23:00"),
        ns("2026-03-28T23:00"),
        ns("2026-03-29T22:00"),
        ns("2026-03-30T22:00"),
    ]
    assert lab_clock(None, None, None).day_starts(ns("2026-03-28T00:00"), ns("2026-03-29T00:00")).size == 2


def test_a_zone_of_half_hours() -> None:
    # India is UTC+5:30: lights on at 07:00 is 01:30 UTC.
    assert hours(lab_clock("Asia/Kolkata", "07:00", "19:00"), "2026-05-05T01:30") == [0]
    assert hours(lab_clock("+05:30", "07:00", "19:00"), "2026-05-05T01:30") == [0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, "07:00", "19:00"), "which clock is not known. Give --timezone"),
        (("UTC", "07:00", None), "expected both or neither"),
        (("UTC", "07:00", "07:00"), "Expected a light and a dark phase"),
        (("UTC", "7 am", "19:00"), "--lights-on: expected HH:MM"),
        (("Berlin", "07:00", "19:00"), "expected a name such as Europe/Berlin"),
        (("../etc/passwd", "07:00", "19:00"), "expected a name such as"),
    ],
)
def test_refuses_what_it_cannot_know(arguments: tuple[str | None, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lab_clock(*arguments)
    with pytest.raises(ConfigError, match="there are no lights"):
        lab_clock("UTC", None, None, follow_dst=True)


@pytest.mark.parametrize(
    ("text", "said", "offsets"),
    [("2026-10-25T02:30", "twice", ("+02:00", "+01:00")), ("2026-03-29T02:30", "never", ("+01:00", "+02:00"))],
)
def test_a_time_that_clocks_show_twice_or_never_is_refused(text: str, said: str, offsets: tuple[str, str]) -> None:
    """Clocks of Berlin were set by EU rules at 01:00 UTC on both days."""
    with pytest.raises(ConfigError, match=f"this time {said}") as refused:
        instant("--from", text, FOLLOWING, zoned=True)
    for offset in offsets:
        assert f"{text}:00{offset}" in str(refused.value)
    assert instant("--from", f"{text}{offsets[0]}", FOLLOWING, zoned=True) == ns(text) - int(offsets[0][2]) * NS_PER_H


def test_a_date_alone_begins_its_day_where_midnight_does_not_exist() -> None:
    """Cairo's clocks went from 2026-04-23T23:59:59 +02:00 to 2026-04-24T01:00 +03:00."""
    cairo = lab_clock("Africa/Cairo", None, None)
    assert instant("--from", "2026-04-24", cairo, zoned=True) == ns("2026-04-23T22:00")


def test_instants() -> None:
    assert instant("--from", "2026-03-01T07:00Z", LabClock(), zoned=False) == ns("2026-03-01T07:00")
    assert instant("--from", "2026-07-01T07:00", FOLLOWING, zoned=True) == ns("2026-07-01T05:00")
    assert instant("--from", "2026-07-01", FOLLOWING, zoned=True) == ns("2026-06-30T22:00")
    with pytest.raises(ConfigError, match=r"is a local time, and which zone's is not known"):
        instant("--from", "2026-03-01T07:00", LabClock(), zoned=False)
    assert (
        instant("--from", "2026-07-01 07:00:30.25-0330", LabClock(), zoned=False) == ns("2026-07-01T10:30:30") + S // 4
    )
    # Python reads the last as 01:00 local time.
    for text in ("yesterday", "2026-02-30", "2026-03-01T25:00Z", "2026-03-01+01:00"):
        with pytest.raises(ConfigError, match="expected YYYY-MM-DD"):
            instant("--from", text, LabClock(), zoned=True)


def test_says_what_its_hours_are() -> None:
    assert "standard time all year" in TIMER.describe()
    assert "with daylight-saving time" in FOLLOWING.describe()
    assert LabClock(lights=None).light_hours() is None
    assert TIMER.lights is not None
    assert TIMER.lights.on == time(7)
