"""How times and numbers read, the same in the terminal, in pictures and on the page."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone, tzinfo

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(time_ns: int, zone: tzinfo = timezone.utc) -> datetime:
    """Return a time in UTC or a zone, cut to microseconds."""
    return (_EPOCH + timedelta(microseconds=time_ns // 1000)).astimezone(zone)


def utc(time_ns: int) -> str:
    """Return a time to the second.

    Examples
    --------
    >>> utc(1_700_000_000_000_000_000)
    '2023-11-14 22:13:20 UTC'
    """
    return f"{moment(time_ns):%Y-%m-%d %H:%M:%S} UTC"


def when(time_ns: int, zone: tzinfo = timezone.utc) -> str:
    """Return a time to the second with its zone; a time in the first year of the epoch is one from a recording's start.

    Examples
    --------
    >>> when(1_700_000_000_000_000_000), when(3_725_000_000_000)
    ('2023-11-14 22:13:20 UTC', '1:02:05')
    """
    if time_ns < 365 * 86_400 * 10**9:
        return str(timedelta(seconds=time_ns // 10**9))
    return f"{moment(time_ns, zone):%Y-%m-%d %H:%M:%S %Z}"


def duration(seconds: float) -> str:
    """Return a length of time in the two units that matter.

    Examples
    --------
    >>> [duration(seconds) for seconds in (0.25, 59.96, 3725, 90_000)]
    ['0.2 s', '1 min 00 s', '1 h 02 min', '1 d 01 h']
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return "{} min {:02d} s".format(*divmod(round(seconds), 60))
    if round(seconds / 60) < 24 * 60:
        return "{} h {:02d} min".format(*divmod(round(seconds / 60), 60))
    return "{} d {:02d} h".format(*divmod(round(seconds / 3600), 24))


def number(value: float, digits: int) -> str:
    """Return a number, or a dash where there is none.

    Examples
    --------
    >>> number(float("nan"), 2), number(1234.5, 1), number(-0.01, 1)
    ('–', '1,234.5', '0.0')
    """
    # Adding zero takes the sign off a negative one.
    return "–" if math.isnan(value) else f"{round(value, digits) + 0.0:,.{digits}f}"
