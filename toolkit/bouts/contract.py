"""What a bout is, and by which rules frames become bouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from toolkit.errors import ConfigError
from toolkit.frames import NS_PER_S

NO_LABEL = -1
"""The label of a frame that was seen but not classified."""


def _are_lengths(value: float | dict[str, float]) -> float | dict[str, float]:
    lengths = value.values() if isinstance(value, dict) else [value]
    if not all(0 <= length < float("inf") for length in lengths):
        raise ValueError(f"a shortest bout must be >= 0 seconds, found {value}")
    return value


Lengths = Annotated[float | dict[str, float], AfterValidator(_are_lengths)]
"""Seconds for all behaviours, or by name."""


class BoutRules(BaseModel):
    """What makes bouts of frames. All zero: raw runs of equal labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_bout_s: Lengths = 0.0
    """Shortest bout kept, seconds: one for all behaviours, or by name (a behaviour not named keeps every bout)."""
    stitch_gap_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Longest interruption by other behaviours that does not end a bout, seconds."""


@dataclass(frozen=True, slots=True)
class Bout:
    """One uninterrupted stretch of a behaviour."""

    behaviour: int
    """Index in the ethogram."""
    start_ns: int
    """Capture time of the first frame."""
    stop_ns: int
    """Exclusive: where the next frame starts, or one frame interval after the last frame."""
    frames: int
    """Frames in it, those included that stitching took from other behaviours."""
    mean_probability: float
    """Mean probability of `behaviour` over the frames that carry its label, 0 to 1."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.stop_ns - self.start_ns) / NS_PER_S


def shortest_ns(min_bout_s: float | dict[str, float], behaviours: Sequence[str]) -> tuple[int, dict[int, int]]:
    """Return the shortest bout in ns: of the behaviours that have none of their own, and of those that have one.

    Raises
    ------
    ConfigError
        If it names a behaviour that `behaviours` lacks.
    """
    if not isinstance(min_bout_s, dict):
        return round(min_bout_s * NS_PER_S), {}
    unknown = sorted(set(min_bout_s) - set(behaviours))
    if unknown:
        raise ConfigError(
            f"min_bout_s names {', '.join(unknown)}: this ethogram has {', '.join(behaviours) or 'no names'}. "
            "Correct the name, or remove it."
        )
    return 0, {behaviours.index(name): round(length * NS_PER_S) for name, length in min_bout_s.items()}
