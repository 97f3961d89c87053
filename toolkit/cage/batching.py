"""Several cages in one process: a thread for each cage's daemon, one set of engines, clips inferred together.

Only cages with one bundle and one `[engine]` can share. What one of them does wrong is its own: its daemon ends, says
why, and is started again after a wait that doubles, while the others go on. Engines that fail are all cages' fault, and
are opened again, or replaced, once for all of them (`toolkit.cage.shared_engines`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from toolkit.cage.config import CageConfig
from toolkit.cage.crash_loop import CrashLoop, Patience
from toolkit.cage.daemon import run
from toolkit.cage.journal import EventLog
from toolkit.cage.notify import Notifier, Voice
from toolkit.cage.shared_engines import OnBuild, SharedEngines
from toolkit.cage.sharing import processes
from toolkit.cage.summary import Progress, Summary
from toolkit.errors import ConfigError
from toolkit.preprocess import Stream

if TYPE_CHECKING:
    from toolkit.engine.build import BuildProgress


@dataclass
class Outcome:
    """How cages went, by name."""

    summaries: dict[str, Summary] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    """Why a cage was given up."""
    inferences: dict[Stream, tuple[int, int]] = field(default_factory=dict)
    """Per stream: runs of the engine, and clips in them."""

    def lines(self) -> list[str]:
        """Return how clips were batched as lines of text."""
        return [
            f"{stream}: {clips} clips in {runs} inferences, {clips / runs:.2f} at once"
            for stream, (runs, clips) in self.inferences.items()
            if runs
        ]


class SharedVoice:
    """Several cages' part of one `Notifier`: ready when all are, alive while every one of them is."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._lock = threading.Lock()
        self._members: dict[str, _Member] = {}
        self._is_ready = False

    def member(self, cage: str) -> Voice:
        """Return a cage's voice; one that it had before is forgotten."""
        with self._lock:
            member = self._members[cage] = _Member(self)
            return member

    def send(self, **variables: str | int) -> bool:
        """Send what is not a cage's, as `Notifier.send` does."""
        return self._notifier.send(**variables)

    def close(self) -> None:
        """Say no more."""
        self._notifier.close()

    def changed(self) -> None:
        """Pass on what all cages together say."""
        with self._lock:
            open_ = [member for member in self._members.values() if not member.is_closed]
            if open_ and not self._is_ready and all(member.is_ready for member in open_):
                self._is_ready = self._notifier.send(READY=1)
            # A cage without its first row has its start-up time, not the watchdog's.
            working = [member for member in open_ if member.is_ready]
            if working and all(member.has_pinged for member in working):
                self._notifier.ping()
                for member in working:
                    member.has_pinged = False
            if any(member.has_news for member in self._members.values()):
                self._notifier.send(
                    STATUS="; ".join(f"{cage}: {member.status}" for cage, member in self._members.items())
                )
                for member in self._members.values():
                    member.has_news = False


class _Member:
    """`Voice` of one cage."""

    def __init__(self, shared: SharedVoice) -> None:
        self._shared = shared
        self.is_ready = self.is_closed = self.has_pinged = self.has_news = False
        self.status: str | int = "starting"

    def send(self, **variables: str | int) -> bool:
        if "READY" in variables:
            self.is_ready = True
        if "EXTEND_TIMEOUT_USEC" in variables:
            self._shared.send(EXTEND_TIMEOUT_USEC=variables["EXTEND_TIMEOUT_USEC"])
        if "STATUS" in variables:
            self.has_news, self.status = True, variables["STATUS"]
        self._shared.changed()
        return True

    def ping(self) -> None:
        self.has_pinged = True
        self._shared.changed()

    def close(self) -> None:
        self.is_closed = True
        self._shared.changed()


def run_together(
    configs: Mapping[str, CageConfig],
    *,
    stop: threading.Event,
    on_progress: Callable[[str, Progress], None] | None = None,
    on_build: OnBuild | None = None,
    patience: Patience = Patience(),
) -> Outcome:
    """Watch several cages by one process until `stop` is set, or until each has ended or was given up.

    Parameters
    ----------
    configs
        By cage's name.
    on_progress
        Told, by every cage's thread, how far its daemon is.
    on_build
        Told how far a build of engines is.
    patience
        When a cage that failed is started again.

    Raises
    ------
    ConfigError
        If they do not share bundle, `[engine]` and `batch_cages`.
    """
    if len(processes(configs)) != 1:
        raise ConfigError(
            f"{', '.join(configs)} cannot share a process: expected [engine] batch_cages = true, one bundle and one "
            "[engine] for all of them. Run each by itself, or all of them with --all."
        )
    outcome = Outcome()
    engines, voice = SharedEngines(next(iter(configs.values()))), SharedVoice(Notifier())

    def watch(name: str, config: CageConfig) -> None:
        crashes = CrashLoop(patience)
        while True:
            try:
                outcome.summaries[name] = run(
                    config,
                    stop=stop,
                    on_progress=None if on_progress is None else lambda progress: on_progress(name, progress),
                    opening=engines.parts,
                    voice=voice.member(name),
                )
                return
            except Exception as error:  # noqa: BLE001  one cage's fault is not the others'; its daemon has said it
                wait_s = None if engines.failed or stop.is_set() else crashes.wait_s(time.monotonic())
                if wait_s is not None:
                    EventLog(name).warning("restarting", in_s=wait_s)
                if wait_s is None or stop.wait(wait_s):
                    outcome.faults[name] = error
                    return

    def building(progress: BuildProgress) -> None:
        voice.send(EXTEND_TIMEOUT_USEC=600_000_000, STATUS=f"building engines: {progress.stage}")
        if on_build is not None:
            on_build(progress)

    events = EventLog("+".join(configs))
    threads = [
        threading.Thread(target=watch, args=item, name=f"cage {item[0]}", daemon=True) for item in configs.items()
    ]
    for thread in threads:
        thread.start()
    engines.open(stop, building, lambda text: events.warning("warning", text=text))
    for thread in threads:
        thread.join()
    outcome.inferences = {stream: (batcher.inferences, batcher.clips) for stream, batcher in engines.batchers.items()}
    engines.close()
    voice.close()
    return outcome
