"""How long a daemon's work has taken, by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

VIEW = "view"
ADMIT = "admit"
INFER = "infer"
ROW = "row"
COMMIT = "commit"
STAGES = {
    VIEW: "whether a frame shows a cage",
    ADMIT: "working frame, flow and clips",
    INFER: "networks",
    ROW: "rows and bouts",
    COMMIT: "commits of the log",
}
"""What each stage is."""


@dataclass(slots=True)
class Stage:
    """A stage's work since the start."""

    count: int = 0
    spent_ns: int = 0


class Stages:
    """Adds up the time of every stage."""

    def __init__(self) -> None:
        self._stages = {name: Stage() for name in STAGES}

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Time what is done within; a failure does not count."""
        begun_ns = time.perf_counter_ns()
        yield
        stage = self._stages[name]
        stage.count += 1
        stage.spent_ns += time.perf_counter_ns() - begun_ns

    def seconds(self) -> dict[str, tuple[int, float]]:
        """Return each stage's count and seconds."""
        return {name: (stage.count, stage.spent_ns / 1e9) for name, stage in self._stages.items()}
