"""How behaviours follow each other: probabilities from one frame to the next, for the interval they were learned at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from toolkit.errors import ConfigError
from toolkit.frames import NS_PER_S

_ONE = 1e-6
"""What rows may differ from a sum of one by."""


class Transitions(BaseModel):
    """Transition probabilities, learned from continuously annotated video."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_ns: int = Field(gt=0)
    """Time of one step: the frame interval of the networks' frame rate."""
    matrix: tuple[tuple[float, ...], ...]
    """(K, K): probability of the column's behaviour one step after the row's. Positive; rows sum to one."""
    prior: tuple[float, ...]
    """(K,) shares of the behaviours among the samples that the networks learned from. Positive, sum to one."""
    changes: int = Field(ge=1)
    """Changes of behaviour that they were learned from."""
    seconds: float = Field(gt=0, allow_inf_nan=False)
    """Annotated video that they were learned from."""

    @model_validator(mode="after")
    def _are_probabilities(self) -> Transitions:
        behaviours = len(self.prior)
        rows = [*self.matrix, self.prior]
        if len(self.matrix) != behaviours or {len(row) for row in rows} != {behaviours}:
            raise ValueError(f"expected a square matrix and a prior of as many behaviours, found rows of {rows}")
        values = np.array(rows)
        if not ((values > 0).all() and (np.abs(values.sum(axis=1) - 1) < _ONE).all()):
            raise ValueError("expected positive probabilities whose rows sum to one")
        return self

    def at(self, interval_ns: int) -> NDArray[np.float64]:
        """Return (K, K) float64 the probabilities from one frame to the next at another interval, a multiple of this.

        Raises
        ------
        ConfigError
            If it is no multiple: frames between the steps have no probabilities.
        """
        steps = round(interval_ns / self.interval_ns)
        # Rates such as 30000/1001 are rounded to ns; a hundredth of a step is far more than that.
        if steps < 1 or abs(interval_ns / self.interval_ns - steps) > 0.01:
            raise ConfigError(
                f"the bundle's transitions are for frames {self.interval_ns / NS_PER_S:.4f} s apart, these are "
                f"{interval_ns / NS_PER_S:.4f} s apart. Expected a multiple: classify every n-th frame."
            )
        power: NDArray[np.float64] = np.linalg.matrix_power(np.array(self.matrix), steps)
        return power
