"""How flow is quantised for storage, and made from storage again.

The cage applies the same quantise-dequantise to live flow, so that a network sees in a cage what it was trained on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class FlowEncoding(BaseModel):
    """Clip to +-`bound_px`, then round to steps of 1 / `steps_per_px` px.

    Zero stays exactly zero and negation commutes with encoding, so that a mirrored clip negates exactly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bound_px: float = Field(default=20.0, gt=0, le=256)
    """Largest displacement kept, px per frame at working size."""
    steps_per_px: int = Field(default=32, ge=1, le=127)
    """Steps per pixel. A step of 1/32 px is near the 0.02 px by which equally right implementations differ."""

    def encode(self, flow: NDArray[np.float32]) -> NDArray[np.int16]:
        """Return (..., 2) int16 steps of (..., 2) float32 flow in px per frame."""
        scaled = np.clip(flow, -self.bound_px, self.bound_px)
        scaled *= self.steps_per_px
        return np.rint(scaled, out=scaled).astype(np.int16)

    def decode(self, steps: NDArray[np.int16]) -> NDArray[np.float32]:
        """Return (..., 2) float32 flow in px per frame of (..., 2) int16 steps."""
        flow = steps.astype(np.float32)
        flow /= np.float32(self.steps_per_px)
        return flow

    def quantise(self, flow: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the flow that `decode(encode(flow))` gives."""
        return self.decode(self.encode(flow))
