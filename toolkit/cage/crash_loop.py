"""When a cage that failed is started again, and when it is given up: the rule of processes and of threads."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and after what waits, something is started again. The defaults are those of the systemd unit."""

    wait_s: float = 1.0
    """Before the first restart; doubled at each further one in the window, shortened at random by up to a half."""
    longest_wait_s: float = 60.0
    restarts: int = 5
    """In a window; one more failure in it is a crash loop."""
    window_s: float = 600.0


class CrashLoop:
    """The waits before restarts, and the end of them."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._random = random.Random()
        self._times_s: deque[float] = deque()
        self.restarts = 0
        """Granted so far."""

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds to wait before the next restart, or None where it is to be given up.

        Parameters
        ----------
        now_s
            Monotonic time of the failure.
        """
        while self._times_s and now_s - self._times_s[0] > self._patience.window_s:
            self._times_s.popleft()
        if len(self._times_s) >= self._patience.restarts:
            return None
        longest_s = min(self._patience.wait_s * 2.0 ** len(self._times_s), self._patience.longest_wait_s)
        self._times_s.append(now_s)
        self.restarts += 1
        return longest_s * self._random.uniform(0.5, 1.0)
