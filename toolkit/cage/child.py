"""One process that watches a cage, or several: started, listened to, and ended, never left behind.

It is the same ``toolkit cage run FILE --cage NAME`` that systemd would start, and speaks to its supervisor as it would
to systemd: sd_notify(3) over a socket of its own. The kernel kills it when its supervisor dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a child may be silent. The defaults are those of the systemd unit."""

    start_s: float = 300.0
    """From its start to its first row; a build of engines asks for more."""
    watchdog_s: float = 60.0
    """Between two signs of progress after that."""
    stop_s: float = 20.0
    """From SIGTERM to its end; less than systemd's own patience with the supervisor."""


class Child:
    """A running process.

    Parameters
    ----------
    command
        Arguments of the process.
    address
        Path of the socket that it is to speak to; made anew.
    """

    def __init__(self, command: Sequence[str], address: Path, limits: Limits) -> None:
        self._limits = limits
        self._address = address
        address.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(address))
        self.ready = False
        self.started_s = time.monotonic()
        self._due_s = self.started_s + limits.start_s
        self.process = subprocess.Popen(
            command,
            env=_environment(address, limits),
            stdin=subprocess.DEVNULL,
            # Ctrl-C is the supervisor's to pass on.
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid()),
        )

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self.process.poll()

    @property
    def late_s(self) -> float:
        """Seconds by which it should have given a sign of life; negative while there is time."""
        return time.monotonic() - self._due_s

    def listen(self) -> list[str]:
        """Take what it has said since the last time, and return what is for the supervisor's own supervisor."""
        passed_on: list[str] = []
        with suppress(BlockingIOError):
            while True:
                for line in self.socket.recv(4096).decode(errors="replace").splitlines():
                    name, _, value = line.partition("=")
                    if name == "READY":
                        self.ready = True
                    if name == "EXTEND_TIMEOUT_USEC" and value.isdigit():
                        self._due_s = max(self._due_s, time.monotonic() + int(value) / 1e6)
                        passed_on.append(line)
                    elif name in ("READY", "WATCHDOG"):
                        self._due_s = time.monotonic() + self._limits.watchdog_s
        return passed_on

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        self.process.send_signal(number)

    def close(self) -> None:
        """Kill it if it still runs, and take its last word and its exit code."""
        if self.code is None:
            self.process.kill()
        self.process.wait()
        self.socket.close()
        self._address.unlink(missing_ok=True)


def _environment(address: Path, limits: Limits) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WATCHDOG_", "NOTIFY_"))}
    return {
        **inherited,
        "NOTIFY_SOCKET": str(address),
        "WATCHDOG_USEC": str(round(limits.watchdog_s * 1e6)),
        # Several progress bars would draw over each other.
        "TTY_COMPATIBLE": "0",
        # What lies in the working directory is nobody's module.
        "PYTHONSAFEPATH": "1",
    }


def _dies_with(supervisor: int) -> Callable[[], None]:
    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        # It may have died before the line above.
        if os.getppid() != supervisor:
            os._exit(1)

    return prepare
