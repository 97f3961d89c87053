"""Dates a stream's frames on the monotonic clock by the times that the source itself gave them.

A source's times (RTP, GStreamer's PTS) keep the true distances of frames but count from anywhere, on a crystal of
their own; arrivals are on our clock but late by whatever coding, network and scheduling took. What both share is the
*floor* of (arrival - source time): no frame can arrive before it was taken, and some arrive with hardly any delay.
So a frame's time is its source time plus that floor, which leaves the least delay, a constant, as the only bias.
"""

from __future__ import annotations

from collections import deque

from toolkit.errors import CameraError
from toolkit.frames import NS_PER_S

WINDOW_NS = 10 * NS_PER_S
"""The floor is that of the last ten seconds: several hundred frames, of which some come without delay."""

RISE = 500e-6
"""How fast the floor may rise, s per s. Two crystals differ by 200 ppm at most; any faster would follow the network."""

JUMP_NS = NS_PER_S // 2
"""A floor that is higher than this for a whole window is that of a source whose clock was set back or stood still."""

LIVE = 0.5
"""What was stored while the source was opened comes in a burst: it is over at the first frame that arrives later after
its predecessor than this part of their distance at the source."""

FASTEST = 1.5
AHEAD_NS = 5 * NS_PER_S
"""A source whose times run this many times faster than ours, and by so much, is no live one."""


class SensorClock:
    """Maps one opening of a source from its own times to ours.

    A returned time is never later than the frame's arrival, and always later than the time returned before. The floor
    falls at once, since an early arrival proves it, and rises at `RISE`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._live = False
        # Arrival and source time of the first frame, and of the newest.
        self._first: tuple[int, int] | None = None
        self._newest: tuple[int, int] | None = None
        # Arrivals and delays of the last `WINDOW_NS`, without those that a later and smaller delay makes useless.
        self._floors: deque[tuple[int, int]] = deque()
        self._offset_ns = 0
        self._time_ns = 0

    def date(self, source_ns: int, arrival_ns: int) -> int | None:
        """Return a frame's monotonic time, ns, or None while frames are older than can be told.

        Parameters
        ----------
        source_ns
            The frame's time at the source, ns from any moment.
        arrival_ns
            Monotonic ns; later than every frame's before.

        Raises
        ------
        CameraError
            If the source runs ahead of our clock: it is no live one.
        """
        newest, self._newest = self._newest, (arrival_ns, source_ns)
        if self._first is None or newest is None:
            self._first = arrival_ns, source_ns
            return None
        if source_ns <= newest[1]:
            # Set back, or started anew: what was learned of its clock is void.
            self._first = arrival_ns, source_ns
            self._floors.clear()
        self._refuse_faster_than_life(source_ns - self._first[1], arrival_ns - self._first[0])
        self._live = self._live or arrival_ns - newest[0] >= LIVE * (source_ns - newest[1])
        if not self._live:
            return None
        self._follow(arrival_ns - source_ns, arrival_ns, arrival_ns - newest[0])
        self._time_ns = max(source_ns + self._offset_ns, self._time_ns + 1)
        return self._time_ns

    def _follow(self, delay_ns: int, arrival_ns: int, passed_ns: int) -> None:
        fresh = not self._floors
        while self._floors and self._floors[-1][1] >= delay_ns:
            self._floors.pop()
        self._floors.append((arrival_ns, delay_ns))
        while self._floors[0][0] < arrival_ns - WINDOW_NS:
            self._floors.popleft()
        floor_ns = self._floors[0][1]
        if fresh or floor_ns - self._offset_ns > JUMP_NS:
            self._offset_ns = floor_ns
        else:
            self._offset_ns = min(floor_ns, self._offset_ns + round(RISE * passed_ns))

    def _refuse_faster_than_life(self, source_ns: int, ours_ns: int) -> None:
        if source_ns > FASTEST * ours_ns + AHEAD_NS:
            raise CameraError(
                f"{self._name}: sent {source_ns / NS_PER_S:.1f} s of pictures within {ours_ns / NS_PER_S:.1f} s. "
                'Expected a live source. Recordings belong under "video" or "segments"; a pipeline that reads a file '
                "needs an `identity sync=true`."
            )
