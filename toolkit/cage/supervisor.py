"""Watches several cages: a process for each, or for those that share one, started again where it fails.

A process that exits with an error, is killed, or gives no sign of progress is started again after a wait that doubles;
one that keeps failing is given up, and the others go on. On SIGTERM every process ends as it would alone. To systemd
the supervisor is one service: ready when every process is ready or over, and alive as long as its loop turns.
"""

from __future__ import annotations

import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.cage.child import Child, Limits
from toolkit.cage.config import CageConfig
from toolkit.cage.costs import Cost, Meter, gpu_bytes_of
from toolkit.cage.crash_loop import CrashLoop, Patience
from toolkit.cage.journal import EventLog
from toolkit.cage.notify import Notifier
from toolkit.cage.sharing import processes

LOOK_S = 0.2
"""Longest time without looking at the processes."""

METER_S = 1.0

OnCosts = Callable[[list[Cost], bool], None]
"""Told what each cage costs; and whether it is for the last time, over the whole life of its process."""


@dataclass(frozen=True, slots=True)
class Supervision:
    """How processes are watched over."""

    patience: Patience = field(default_factory=Patience)
    limits: Limits = field(default_factory=Limits)
    costs_s: float = 60.0
    """Between two reports of what cages cost."""


class Watched:
    """The cages of one process: the process itself, or the wait for its next start, or its end.

    Parameters
    ----------
    command
        What starts the process.
    configs
        Its cages' configurations by name.
    address
        Path of the socket that it speaks to.
    """

    def __init__(
        self, command: Sequence[str], configs: Mapping[str, CageConfig], address: Path, rules: Supervision
    ) -> None:
        self.cages = tuple(configs)
        self._command = command
        self._folders = {name: config.log.folder / name for name, config in configs.items()}
        self._address = address
        self._limits = rules.limits
        self._crashes = CrashLoop(rules.patience)
        self._events = EventLog("+".join(configs))
        self._restart_s = time.monotonic()
        self.child: Child | None = None
        self.meter: Meter | None = None
        self.state = "waiting"
        self.fault = ""
        """Why it was given up."""

    @property
    def is_over(self) -> bool:
        """Whether it will not be started again."""
        return self.state in ("ended", "given up")

    def look(self) -> list[str]:
        """Take note of what became of the process, and do what is due; return what it says to the service manager."""
        if self.child is None:
            if not self.is_over and time.monotonic() >= self._restart_s:
                self._start()
            return []
        told = self.child.listen()
        if self.child.ready and self.state == "starting":
            self.state = "running"
        code = self.child.code
        if code is None and self.child.late_s > 0:
            self._failed(f"no sign of {'progress' if self.child.ready else 'its first row'} in time; killed")
        elif code == 0:
            self._events.info("process-ended", process=self.child.process.pid)
            self._over("ended")
        elif code is not None:
            self._failed(_reason(code))
        return told

    def stop(self, number: signal.Signals) -> None:
        """Pass a signal on, or give up the wait for a restart."""
        if self.child is not None:
            self.child.signal(number)
        elif not self.is_over:
            self._over("ended")

    def settle(self) -> None:
        """Take note of a process that was to stop, if it has."""
        code = None if self.child is None else self.child.code
        if code is not None:
            if code:
                self._events.error("process-failed", fault=f"{_reason(code)} when it was to stop")
            self._over("ended")

    def close(self) -> None:
        """Leave no process behind."""
        if self.child is not None:
            self.child.close()
            self.child = None

    def costs(self, gpu: Mapping[int, int], *, whole: bool) -> list[Cost]:
        """Return what each of its cages costs."""
        if self.meter is None:
            return []
        gpu_bytes = gpu.get(self.meter.process)
        restarts = self._crashes.restarts
        return [
            self.meter.cost(cage, state=self.state, restarts=restarts, gpu_bytes=gpu_bytes, whole=whole)
            for cage in self.cages
        ]

    def _start(self) -> None:
        self.child = Child(self._command, self._address, self._limits)
        self.meter = Meter(self.child.process.pid, self._folders)
        self.state = "starting"
        self._events.info("process-started", process=self.child.process.pid, restarts=self._crashes.restarts)

    def _failed(self, fault: str) -> None:
        now_s = time.monotonic()
        wait_s = self._crashes.wait_s(now_s)
        if wait_s is None:
            self.fault = fault
            self._events.error("process-given-up", fault=fault, restarts=self._crashes.restarts)
            self._over("given up")
            return
        self._events.warning("process-failed", fault=fault, restart_in_s=wait_s)
        self.close()
        self.state, self._restart_s = "waiting", now_s + wait_s

    def _over(self, state: str) -> None:
        if self.meter is not None:
            self.meter.look()
        self.close()
        self.state = state


def supervise(
    path: Path,
    cages: Mapping[str, CageConfig],
    *,
    stop: threading.Event,
    on_costs: OnCosts | None = None,
    rules: Supervision = Supervision(),
) -> dict[str, str]:
    """Watch cages, each by a process of its own or with those it shares one with, until `stop` or until all are over.

    Parameters
    ----------
    path, cages
        The configuration file, and its cages' configurations.
    stop
        Ends every process as SIGTERM does, and then this.

    Returns
    -------
    dict of str to str
        Why cages were given up, by name; empty where none was.
    """
    notifier = Notifier()
    with tempfile.TemporaryDirectory(prefix="toolkit-cages-") as folder:
        watched = [
            Watched(command_of(path, names), {name: cages[name] for name in names}, Path(folder) / str(number), rules)
            for number, names in enumerate(processes(cages))
        ]
        try:
            _watch(watched, notifier, stop, on_costs, rules)
            notifier.send(STOPPING=1, STATUS="stopped" if stop.is_set() else "every cage is over")
            _end(watched, rules.limits.stop_s)
            if on_costs is not None:
                on_costs([cost for one in watched for cost in one.costs({}, whole=True)], True)
        finally:
            for one in watched:
                one.close()
            notifier.close()
    return {cage: one.fault for one in watched if one.state == "given up" for cage in one.cages}


def _reason(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def command_of(path: Path, cages: Sequence[str]) -> list[str]:
    """Return the command of the process that watches these cages."""
    named = [argument for cage in cages for argument in ("--cage", cage)]
    return [sys.executable, "-m", "toolkit.cli", "cage", "run", str(path.resolve()), *named]


def _watch(
    watched: Sequence[Watched],
    notifier: Notifier,
    stop: threading.Event,
    on_costs: OnCosts | None,
    rules: Supervision,
) -> None:
    ready = False
    meter_due_s = time.monotonic()
    costs_due_s = meter_due_s + rules.costs_s
    while not stop.is_set() and not all(one.is_over for one in watched):
        told = {line for one in watched for line in one.look()}
        for name, _, value in (line.partition("=") for line in told):
            notifier.send(**{name: value})
        if not ready and all(one.is_over or one.state == "running" for one in watched):
            ready = notifier.send(READY=1)
        notifier.ping()
        now_s = time.monotonic()
        if now_s >= meter_due_s:
            meter_due_s = now_s + METER_S
            for one in watched:
                if one.meter is not None and one.child is not None:
                    one.meter.look()
            notifier.send(STATUS=_status(watched))
        if on_costs is not None and now_s >= costs_due_s:
            costs_due_s = now_s + rules.costs_s
            gpu = gpu_bytes_of([one.meter.process for one in watched if one.meter is not None])
            on_costs([cost for one in watched for cost in one.costs(gpu, whole=False)], False)
            for one in watched:
                if one.meter is not None:
                    one.meter.mark()
        sockets = [one.child.socket for one in watched if one.child is not None]
        # A signal ends the wait early only if its handler raises, which ours does not: so the wait is short.
        select.select(sockets, [], [], LOOK_S)


def _end(watched: Sequence[Watched], stop_s: float) -> None:
    for one in watched:
        one.stop(signal.SIGTERM)
    deadline_s = time.monotonic() + stop_s
    while time.monotonic() < deadline_s and any(one.child is not None for one in watched):
        for one in watched:
            if one.meter is not None:
                one.meter.look()
            one.settle()
        time.sleep(LOOK_S / 4)
    for one in watched:
        if one.child is not None:
            one.stop(signal.SIGKILL)
            one.child.process.wait()
            one.settle()


def _status(watched: Sequence[Watched]) -> str:
    states = [(cage, one.state) for one in watched for cage in one.cages]
    amiss = [f"{cage} {state}" for cage, state in states if state != "running"]
    return ", ".join([f"{len(states) - len(amiss)} of {len(states)} cages running", *amiss])
