"""What a user may ask of labelling; two videos labelled alike have equal options."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

TableFormat = Literal["csv", "parquet"]
FORMATS: tuple[TableFormat, ...] = ("csv", "parquet")


class LabelOptions(BaseModel):
    """How recorded videos are labelled, and what is written of each."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stride: int = Field(default=1, ge=1)
    """Classify every n-th frame at the networks' frame rate."""
    smooth_s: float = Field(default=0.0, ge=0, le=60)
    """Width of a centred moving average of the probabilities, seconds; 0: none, and no column of smoothed labels."""
    min_bout_s: float = Field(default=0.0, ge=0, le=3600)
    """Shortest bout in the bouts' table, seconds."""
    format: TableFormat = "csv"
    """Of the table of frames."""
    overlay: bool = False
    """Whether a video for review is written: each frame with its label, probabilities and flow."""
    view_check: bool = True
    """Whether frames that cannot show a behaviour (frozen, dark, covered ...) are left without a label."""
    engine: str = "auto"
    """What runs the networks."""
    flow: str = "auto"
    """What computes flow."""
