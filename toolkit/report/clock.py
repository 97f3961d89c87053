"""The lab's clock: in which time zone days are counted, and when the lights are on (Zeitgeber time).

A light timer knows no daylight-saving time, so a schedule is in the zone's standard time all year unless it is said to
follow the clock. A day runs from lights-on to lights-on; without lights, from midnight to midnight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import ConfigError
from toolkit.report.wording import moment

NS_PER_H = 3600 * 10**9
NS_PER_DAY = 24 * NS_PER_H


@dataclass(frozen=True)
class Lights:
    """When the lights are on, as clock times."""

    on: time
    off: time
    follow_dst: bool = False
    """The timer is set forward and back with the clocks; False: it shows the zone's standard time all year."""


@dataclass(frozen=True)
class LabClock:
    """A zone and perhaps a light schedule."""

    zone: tzinfo = timezone.utc
    name: str = "UTC"
    lights: Lights | None = None

    def day_starts(self, start_ns: int, stop_ns: int) -> NDArray[np.int64]:
        """Return the (D + 1,) borders of the D days that cover [start_ns, stop_ns), UTC ns.

        A day is 24 hours but for those on which a schedule (or, without lights, the clock) is set forward or back.
        """
        begin = self.lights.on if self.lights else time(0)
        first = moment(start_ns, self.zone).date() - timedelta(days=1)
        days = (stop_ns - start_ns) // NS_PER_DAY + 4
        starts = np.array([self._instant(first + timedelta(days=day), begin) for day in range(days)], np.int64)
        low = int(np.searchsorted(starts, start_ns, side="right")) - 1
        high = int(np.searchsorted(starts, max(stop_ns, start_ns + 1), side="left"))
        return starts[low : high + 1]

    def day_hours(self, time_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (N,) float64 hours since the start of each time's day: Zeitgeber time where there are lights.

        Examples
        --------
        >>> clock = LabClock(lights=Lights(time(7), time(19)))
        >>> clock.day_hours(np.array([6, 7, 19]) * NS_PER_H).tolist()
        [23.0, 0.0, 12.0]
        """
        if not len(time_ns):
            return np.zeros(0)
        starts = self.day_starts(int(time_ns.min()), int(time_ns.max()) + 1)
        day = np.searchsorted(starts, time_ns, side="right") - 1
        hours: NDArray[np.float64] = (time_ns - starts[day]) / NS_PER_H
        return hours

    def dark_spans(self, start_ns: int, stop_ns: int) -> NDArray[np.int64]:
        """Return the (N, 2) spans in [start_ns, stop_ns) in which the lights are off; none without lights."""
        if self.lights is None:
            return np.empty((0, 2), np.int64)
        starts = self.day_starts(start_ns, stop_ns)
        later = self.lights.off <= self.lights.on
        off = [
            self._instant(moment(on, self.zone_of_lights(on)).date() + timedelta(days=later), self.lights.off)
            for on in starts[:-1].tolist()
        ]
        spans = np.column_stack([np.array(off, np.int64), starts[1:]]).clip(start_ns, stop_ns)
        return spans[spans[:, 1] > spans[:, 0]]

    def zone_of_lights(self, time_ns: int) -> tzinfo:
        """Return the zone in which the schedule's clock times hold."""
        if self.lights is None or self.lights.follow_dst:
            return self.zone
        return timezone(_standard_offset(moment(time_ns, self.zone)))

    def light_hours(self) -> float | None:
        """Return the length of the light phase on a day of 24 hours; None without lights."""
        if self.lights is None:
            return None
        on, off = (each.hour + each.minute / 60 + each.second / 3600 for each in (self.lights.on, self.lights.off))
        return (off - on) % 24

    def describe(self) -> str:
        """Return what the axes mean, in one sentence."""
        if self.lights is None:
            return f"Days and clock times are those of {self.name}."
        timer = (
            f"{self.name}, with daylight-saving time"
            if self.lights.follow_dst
            else f"{self.name}, standard time all year"
        )
        return (
            f"Lights on {self.lights.on:%H:%M}, off {self.lights.off:%H:%M} ({timer}). "
            "Zeitgeber time (ZT) counts hours from lights on."
        )

    def _instant(self, day: date, clock: time) -> int:
        """Return the UTC ns at which the schedule's (or the zone's) clock shows a time."""
        if self.lights is None or self.lights.follow_dst:
            shown = datetime.combine(day, clock, tzinfo=self.zone)
        else:
            noon = datetime.combine(day, time(12), tzinfo=self.zone)
            shown = datetime.combine(day, clock, tzinfo=timezone(_standard_offset(noon)))
        return utc_ns(shown)


def lab_clock(zone: str | None, lights_on: str | None, lights_off: str | None, *, follow_dst: bool = False) -> LabClock:
    """Return the clock that options describe.

    Parameters
    ----------
    zone
        A name of the IANA database (``Europe/Berlin``), ``UTC``, or a fixed offset (``+01:00``).
    lights_on, lights_off
        ``HH:MM``; both or neither.

    Raises
    ------
    ConfigError
        If a value cannot be read, or clock times are given without a zone.
    """
    if (lights_on is None) != (lights_off is None):
        raise ConfigError("--lights-on and --lights-off: expected both or neither. Give the other one too.")
    if lights_on is None or lights_off is None:
        if follow_dst:
            raise ConfigError("--lights-follow-dst: there are no lights. Give --lights-on and --lights-off too.")
        found = _zone(zone) if zone else timezone.utc
        return LabClock(found, zone or "UTC")
    if zone is None:
        raise ConfigError(
            f"--lights-on {lights_on} is a clock time, and logs are in UTC: which clock is not known. Give --timezone "
            "too, for example --timezone Europe/Berlin or --timezone +01:00."
        )
    on, off = _clock_time("--lights-on", lights_on), _clock_time("--lights-off", lights_off)
    if on == off:
        raise ConfigError(f"--lights-on and --lights-off are both {lights_on}. Expected a light and a dark phase.")
    return LabClock(_zone(zone), zone, Lights(on, off, follow_dst))


def instant(option: str, text: str, clock: LabClock, *, zoned: bool) -> int:
    """Return the UTC ns of ``YYYY-MM-DD[THH:MM[:SS]][+HH:MM]``.

    Parameters
    ----------
    zoned
        Whether the user named a zone; a time without an offset needs one.

    Raises
    ------
    ConfigError
        If it cannot be read, is local time without a zone, or a clock time that the zone's clocks show twice or never,
        since they are set back or forward. A date alone is the beginning of its day, whatever its clocks show.
    """
    found = moment_of(text)
    if found is None:
        raise ConfigError(f"{option}: expected YYYY-MM-DD or YYYY-MM-DDTHH:MM[+HH:MM], found {text!r}.")
    if found.tzinfo is None:
        if not zoned:
            raise ConfigError(
                f"{option} {text}: is a local time, and which zone's is not known. Write the time with its offset "
                "(YYYY-MM-DDTHH:MM+01:00, or Z for UTC), or give --timezone."
            )
        found = found.replace(tzinfo=clock.zone)
        if ":" in text:
            _refuse_ambiguous(option, text, found, clock)
    return utc_ns(found)


def _refuse_ambiguous(option: str, text: str, found: datetime, clock: LabClock) -> None:
    before, after = found.replace(fold=0), found.replace(fold=1)
    if before.utcoffset() != after.utcoffset():
        often, way = ("twice", "back") if utc_ns(before) < utc_ns(after) else ("never", "forward")
        raise ConfigError(
            f"{option} {text}: clocks of {clock.name} show this time {often}, since they are set {way}. "
            f"Write which is meant: {before.isoformat()} or {after.isoformat()}."
        )


def moment_of(text: str) -> datetime | None:
    """Return the time of ``YYYY-MM-DD[THH:MM[:SS[.ffffff]][+HH:MM]]``, without a zone where it names none.

    None if it is no such text.

    A date alone with an offset is refused: ISO 8601 has no such thing, and Python reads the offset as a time.
    """
    found = re.fullmatch(
        r"\s*(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s?(Z|z|[+-]\d\d:?\d\d)?)?\s*", text
    )
    if found is None:
        return None
    day, clock, second, fraction, offset = found.groups()
    try:
        local = datetime.strptime(f"{day} {clock or '00:00'}:{second or '00'}", "%Y-%m-%d %H:%M:%S")
        local += timedelta(microseconds=int((fraction or "0").ljust(6, "0")[:6]))
        if offset is None:
            return local
        zone = timezone.utc if offset in "Zz" else datetime.strptime(offset.replace(":", ""), "%z").tzinfo
    except ValueError:
        return None
    return local.replace(tzinfo=zone)


def utc_ns(moment: datetime) -> int:
    """Return a zoned time as UTC ns."""
    since = moment.astimezone(timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _standard_offset(local: datetime) -> timedelta:
    return (local.utcoffset() or timedelta()) - (local.dst() or timedelta())


def _zone(text: str) -> tzinfo:
    if text.upper() in ("UTC", "Z"):
        return timezone.utc
    if offset := re.fullmatch(r"([+-])(\d{1,2}):?([0-5]\d)", text):
        minutes = int(offset[2]) * 60 + int(offset[3])
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes), text)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"--timezone: expected a name such as Europe/Berlin, UTC, or an offset such as +01:00; found {text!r}. "
            "Names are those of the IANA database (install the tzdata package if this system has none)."
        ) from None


def _clock_time(option: str, text: str) -> time:
    try:
        return datetime.strptime(text.strip(), "%H:%M").time()
    except ValueError:
        raise ConfigError(f"{option}: expected HH:MM, for example 07:00; found {text!r}.") from None
