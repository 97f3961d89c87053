"""What a recorder tells of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class RecorderState:
    """How a recorder does; the recorder's thread replaces what it changes, others may read at any time."""

    mode: str
    state: str = "starting"
    """starting, recording (a file is open), waiting (for a time or a bout), undated (until the clock can be believed),
    paused or stopped."""
    fault: str | None = None
    """Why it is paused."""
    encoder: str = ""
    encoded: int = 0
    frames: int = 0
    """Written to files."""
    dropped: int = 0
    """Dropped because the encoder could not keep up."""
    paused_frames: int = 0
    """Not recorded because of a fault."""
    files: int = 0
    """Begun."""
    removed_files: int = 0
    """Removed because they were too old or too much."""
    stored_bytes: int = 0
    """That the cage's recordings take, as of the last look."""
    encode_s: float = 0.0
    """Spent on encoding and writing."""

    def values(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)
