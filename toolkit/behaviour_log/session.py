"""Who writes a log, from what: the provenance that every file names, and what the clocks said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.behaviour_log.schema import Level
from toolkit.ethogram import Ethogram


@dataclass(frozen=True)
class Session:
    """One start of a daemon: what produced its rows. Holds no secret, and must be given none."""

    uuid: str
    boot_id: str
    """The boot whose monotonic clock dates the rows."""
    host: str
    toolkit_version: str
    bundle_name: str
    bundle_sha256: str
    engines: Mapping[str, str]
    """Per stream `Backend.identity`, and the flow's implementation."""
    config_sha256: str
    config: str
    """JSON: the configuration as it was used."""
    ethogram: Ethogram
    utc_offset_ns: int
    """UTC ns = monotonic ns + this, for every row of the session: rows keep the camera's order whatever the system
    clock does, and the clock table says by how much it moved."""
    row_interval_ns: int
    """Time that one row stands for, unless it is written with another: the stride times the frame interval."""
    start_ns: int
    """UTC ns."""
    level: Level = Level.FRAMES
    """How much is kept."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The system's two clocks at one moment."""

    monotonic_ns: int
    utc_ns: int
    synchronised: bool | None
    """The kernel's NTP state; None where it cannot be asked."""

    @property
    def utc_offset_ns(self) -> int:
        """What is added to monotonic time to give UTC."""
        return self.utc_ns - self.monotonic_ns
