"""Ticks of an axis of UTC times, from seconds to months."""

from __future__ import annotations

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


def time_ticks(start_ns: int, stop_ns: int) -> tuple[list[int], list[str]]:
    """Return the UTC ns of the ticks in [start_ns, stop_ns] and their labels.

    Ticks lie on whole UTC steps, so that those of different logs agree. A first tick on each day carries the date
    where the axis spans more than one.

    Examples
    --------
    >>> time_ticks(1_700_000_000_000_000_000, 1_700_000_300_000_000_000)[1]
    ['22:14', '22:15', '22:16', '22:17', '22:18']
    """
    span_s = (stop_ns - start_ns) / NS_PER_S
    step_s = next((step for step in _STEPS_S if span_s / step <= MOST_TICKS), _STEPS_S[-1])
    step_ns = step_s * NS_PER_S
    ticks = list(range(-(-start_ns // step_ns) * step_ns, stop_ns + 1, step_ns))
    return ticks, [_label(tick, step_s, dated=dated) for tick, dated in zip(ticks, _dated(ticks), strict=True)]


def _label(tick_ns: int, step_s: int, *, dated: bool) -> str:
    when = moment(tick_ns)
    if step_s >= _DAY:
        return f"{when:%d %b}"
    clock = f"{when:%H:%M:%S}" if step_s < _MINUTE else f"{when:%H:%M}"
    return f"{clock}\n{when:%d %b}" if dated else clock


def _dated(ticks: list[int]) -> list[bool]:
    days = [moment(tick).date() for tick in ticks]
    if len(set(days)) < 2:
        return [False] * len(ticks)
    return [position == 0 or day != days[position - 1] for position, day in enumerate(days)]
