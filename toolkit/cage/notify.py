"""Tells the service manager how the daemon does: sd_notify(3), which is a datagram to the socket that it names.

Without `NOTIFY_SOCKET` in the environment nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

PING_SHARE = 4
"""Pings that fit into the watchdog's time, when each step of the daemon makes progress."""


class Voice(Protocol):
    """What a daemon speaks with to whoever started it: a `Notifier`, or its part of one that several cages share."""

    def send(self, **variables: str | int) -> bool:
        """See `Notifier.send`."""
        ...

    def ping(self) -> None:
        """See `Notifier.ping`."""
        ...

    def close(self) -> None:
        """Say no more."""
        ...


class Notifier:
    """Speaks to systemd; made of the environment that systemd gives to a ``Type=notify`` service.

    Nothing here waits or fails: a message for which the socket has no room, or no reader, is lost, and `send` says so.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract name. Anything else (vsock) is not for a daemon on the host.
        self._address = "\0" + name[1:] if name.startswith("@") else name if name.startswith("/") else ""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self._address else None
        self._ping_s = self._interval_s(environment)
        self._pinged_s = -float("inf")

    @staticmethod
    def _interval_s(environment: Mapping[str, str]) -> float | None:
        # The watchdog is for the process that WATCHDOG_PID names, and an inherited variable is not for us.
        if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        timeout_us = environment.get("WATCHDOG_USEC", "")
        return int(timeout_us) / 1e6 / PING_SHARE if timeout_us.isdigit() and int(timeout_us) > 0 else None

    def send(self, **variables: str | int) -> bool:
        """Send variables such as ``READY=1`` in one message; return whether it was taken, or nobody is there to."""
        if self._socket is None:
            return True
        lines = [f"{name}={' '.join(str(value).split())}" for name, value in variables.items()]
        with suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
            return True
        return False

    def ping(self) -> None:
        """Tell the watchdog that progress was made; sends at most `PING_SHARE` pings in its time."""
        if self._ping_s is None:
            return
        now_s = time.monotonic()
        if now_s - self._pinged_s >= self._ping_s and self.send(WATCHDOG=1):
            self._pinged_s = now_s

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
