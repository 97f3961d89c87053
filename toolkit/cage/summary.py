"""What a daemon tells whoever started it: how far it is, and at the end how it went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.behaviour_log import Reason


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a daemon is."""

    frames: int
    """Frames that were processed or dropped."""
    total_frames: int | None
    """Frames that it will deliver; None where it does not end."""
    rows: int
    frames_dropped: int
    behaviour: str
    """Label of the newest row; empty for none."""

    @property
    def detail(self) -> str:
        """The rest in a few words."""
        parts = [f"{self.rows} rows"]
        if self.frames_dropped:
            parts.append(f"{self.frames_dropped} dropped")
        return ", ".join([*parts, self.behaviour] if self.behaviour else parts)


@dataclass(frozen=True)
class Summary:
    """How one run of a daemon went."""

    cage: str
    log: Path
    """The file written last."""
    frames_captured: int
    frames_dropped: int
    """Dropped because the daemon could not keep up."""
    frames_processed: int
    windows_skipped: int
    """Not classified, though the configured stride asks for them, because the daemon could not keep up."""
    rows: int
    rows_refused: int
    """Dated before the log's end, and so not written: of a recording, what was logged before."""
    observed_s: float
    unobserved_s: Mapping[Reason, float]
    """Seconds without rows by reason, the time before this start included that no daemon accounted for."""
    fps: float
    """The source's frames per second."""
    wall_s: float
    busy_s: float
    """Time spent on flow, networks and rows."""
    latency_p50_s: float | None
    """From a frame's capture to its row; None for a source that is not live. The clip's frames after the centre are
    part of it: 7 / 30 s in the paper's geometry."""
    latency_p99_s: float | None

    @property
    def realtime_factor(self) -> float:
        """Seconds of camera time that this machine processes per second of work; 1 or more keeps up."""
        return self.frames_processed / self.fps / self.busy_s if self.busy_s else 0.0

    @property
    def rows_per_s(self) -> float:
        """Rows per second of wall time."""
        return self.rows / self.wall_s if self.wall_s else 0.0

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        lines = [
            f"{self.cage}: {self.frames_captured} frames captured, {self.frames_dropped} dropped, {self.rows} rows "
            f"in {self.wall_s:.1f} s ({self.rows_per_s:.1f} rows per second)",
            f"observed {self.observed_s:.1f} s"
            + "".join(f", {reason.value} {seconds:.1f} s" for reason, seconds in self._reasons()),
            f"processing ran at {self.realtime_factor:.2f} times real time",
        ]
        if self.rows_refused:
            lines.append(f"{self.rows_refused} rows lie before the log's end and were not written again")
        if self.windows_skipped:
            lines.append(f"overload: {self.windows_skipped} windows skipped by a larger stride")
        if self.latency_p50_s is not None and self.latency_p99_s is not None:
            lines.append(
                f"from frame to row: {self.latency_p50_s:.2f} s median, {self.latency_p99_s:.2f} s for 99 of 100 rows"
            )
        return [*lines, f"log: {self.log}"]

    def _reasons(self) -> list[tuple[Reason, float]]:
        return [(reason, seconds) for reason, seconds in self.unobserved_s.items() if seconds > 0]
