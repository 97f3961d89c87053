"""Ticks of an axis of times, from seconds to months."""

from __future__ import annotations

from datetime import timedelta, timezone, tzinfo

from toolkit.frames import NS_PER_S
from toolkit.report.wording import moment

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * step for step in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * step for step in (1, 2, 3, 6, 12)),
    *(_DAY * step for step in (1, 2, 7, 14, 28, 56, 112, 224)),
)
MOST_TICKS = 9


def time_ticks(start_ns: int, stop_ns: int, zone: tzinfo | None = timezone.utc) -> tuple[list[int], list[str]]:
    """Return the ns of the ticks in [start_ns, stop_ns] and their labels.

    Ticks lie on whole steps of the zone's clock, so that those of different logs agree. A first tick on each day
    carries the date where the axis spans more than one.

    Parameters
    ----------
    zone
        None: the times count from a recording's start, and labels are lengths of time.

    Examples
    --------
    >>> time_ticks(1_700_000_000_000_000_000, 1_700_000_300_000_000_000)[1]
    ['22:14', '22:15', '22:16', '22:17', '22:18']
    """
    span_s = (stop_ns - start_ns) / NS_PER_S
    step_s = next((step for step in _STEPS_S if span_s / step <= MOST_TICKS), _STEPS_S[-1])
    step_ns = step_s * NS_PER_S
    shift_ns = 0 if zone is None else _offset_ns(start_ns, zone)
    first = -(-(start_ns + shift_ns) // step_ns) * step_ns - shift_ns
    ticks = list(range(first, stop_ns + 1, step_ns))
    if zone is None:
        return ticks, [str(timedelta(seconds=tick // NS_PER_S)) for tick in ticks]
    if step_s > _HOUR:
        # Steps of hours stay on the clock's hours where the clock is set forward or back.
        ticks = [tick + shift_ns - _offset_ns(tick, zone) for tick in ticks]
        ticks = [tick for tick in ticks if start_ns <= tick <= stop_ns]
    dated = _dated(ticks, zone)
    return ticks, [_label(tick, step_s, zone, dated=each) for tick, each in zip(ticks, dated, strict=True)]


def _offset_ns(time_ns: int, zone: tzinfo) -> int:
    return int((moment(time_ns, zone).utcoffset() or timedelta()).total_seconds()) * NS_PER_S


def _label(tick_ns: int, step_s: int, zone: tzinfo, *, dated: bool) -> str:
    when = moment(tick_ns, zone)
    if step_s >= _DAY:
        return f"{when:%d %b}"
    clock = f"{when:%H:%M:%S}" if step_s < _MINUTE else f"{when:%H:%M}"
    return f"{clock}\n{when:%d %b}" if dated else clock


def _dated(ticks: list[int], zone: tzinfo) -> list[bool]:
    days = [moment(tick, zone).date() for tick in ticks]
    if len(set(days)) < 2:
        return [False] * len(ticks)
    return [position == 0 or day != days[position - 1] for position, day in enumerate(days)]
