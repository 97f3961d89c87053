"""Late fusion: two streams' logits become one set of probabilities (Nguyen et al. 2019, section 2.5)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from toolkit.preprocess import Stream


class Fusion(BaseModel):
    """A weight per stream, the rule that combines them, and how sure the result is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[Stream, float] = Field(min_length=1, max_length=2)
    """Non-negative weights that sum to one, in the order of the streams (paper: rgb 0.4, flow 0.6)."""
    rule: Literal["logits", "probabilities"] = "logits"
    """``logits``: softmax of the weighted sum (the authors' code). ``probabilities``: weighted mean of softmaxes."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Divides the logits before the softmax (Guo et al. 2017): over 1 makes the networks less sure. With ``logits`` it
    changes no label; 1 changes nothing."""

    @model_validator(mode="after")
    def _weights_are_a_mean(self) -> Fusion:
        weights = self.weights.values()
        if min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
            raise ValueError(f"fusion weights must be >= 0 and sum to 1, found {self.weights}")
        return self

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Fuse the streams.

        Parameters
        ----------
        logits
            (S, ..., K), streams in the order of `weights`.

        Returns
        -------
        (..., K) float32
            Probabilities that sum to one.

        Examples
        --------
        >>> fusion = Fusion(weights={"rgb": 0.4, "flow": 0.6})
        >>> fusion.probabilities(np.array([[1.0, 0.0], [0.0, 0.0]], dtype=np.float32)).round(3).tolist()
        [0.5989999771118164, 0.4009999930858612]
        """
        weights = np.asarray(list(self.weights.values()), dtype=np.float32)
        if self.rule == "logits":
            return softmax(np.tensordot(weights, logits, axes=1) / self.temperature)
        mean: NDArray[np.float32] = np.tensordot(weights, softmax(logits / self.temperature), axes=1).astype(np.float32)
        return mean


PAPER_WEIGHTS: dict[Stream, float] = {"rgb": 0.4, "flow": 0.6}
"""Best for both architectures (paper, section 3.3)."""


def fusion_for(streams: tuple[Stream, ...]) -> Fusion:
    """Return the paper's fusion of both streams, or the identity for one."""
    if len(streams) == 1:
        return Fusion(weights={streams[0]: 1.0})
    return Fusion(weights={stream: PAPER_WEIGHTS[stream] for stream in streams})


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis, as float32."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities
