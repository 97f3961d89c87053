"""Which decision filter a cage uses: the `[decision]` table, what a bundle brings for it, and the filter they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from toolkit.bouts.contract import Lengths, shortest_ns
from toolkit.bouts.decision import DecisionFilter
from toolkit.bouts.hysteresis import Hysteresis
from toolkit.bouts.moving_average import MovingAverage, reach_of
from toolkit.bouts.transitions import Transitions
from toolkit.bouts.viterbi import FixedLagViterbi
from toolkit.errors import ConfigError
from toolkit.frames import NS_PER_S


class DecisionTable(BaseModel):
    """How bouts are decided. Rows of the log keep their raw labels in any case."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    filter: Literal["off", "bundle", "viterbi", "hysteresis"] = "off"
    """What makes bouts: raw labels ("off"), what cross-validation chose ("bundle"), "viterbi", or "hysteresis"."""
    lag_s: float = Field(default=1.0, ge=0, le=5)
    """Seconds that "viterbi" waits for later frames before it decides one."""
    min_bout_s: Lengths = 0.3
    """Shortest bout of "hysteresis", seconds, or by name: {drink = 0.2, rest = 2.0}."""


class ChosenDecision(BaseModel):
    """What cross-validation chose on inner validation; zeros where it chose to leave labels alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smoothing_s: float = Field(ge=0, allow_inf_nan=False)
    """Width of the moving average of the fused probabilities, seconds."""
    min_bout_s: float = Field(ge=0, allow_inf_nan=False)
    """Shortest bout, seconds."""
    uncertain_below: float | None = Field(ge=0, le=1)
    """Fused probability under which labels were too often wrong: what `[cage] min_confidence` may be set to."""
    frames: int = Field(gt=0)
    """Frames it was chosen on."""


class BundleDecision(BaseModel):
    """What a bundle brings for deciding bouts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chosen: ChosenDecision | None = None
    """None where nothing was cross-validated, or there was nothing to choose on."""
    transitions: Transitions | None = None
    """None where the annotated video is not continuous."""
    without_transitions: str = ""
    """Why there are no transitions."""

    def lines(self) -> list[str]:
        """Return what there is as two lines of text."""
        chosen, transitions = "nothing", f"none ({self.without_transitions})"
        if self.chosen is not None:
            certain = self.chosen.uncertain_below
            threshold = "no threshold of certainty" if certain is None else f"uncertain below {certain:g}"
            chosen = f"smoothing {self.chosen.smoothing_s:g} s, shortest bout {self.chosen.min_bout_s:g} s, {threshold}"
        if self.transitions is not None:
            transitions = (
                f"{self.transitions.changes} changes of behaviour in {self.transitions.seconds:.0f} s of video"
            )
        return [f"chosen by cross-validation: {chosen}", f"transitions between behaviours: {transitions}"]


def decision_filter(
    table: DecisionTable, bundle: BundleDecision | None, behaviours: Sequence[str], frame_interval_ns: int
) -> DecisionFilter | None:
    """Return the filter of a `[decision]` table; None where it is off.

    Parameters
    ----------
    bundle
        `Manifest.decision`; None in bundles of schema 1.
    behaviours
        The ethogram's names.
    frame_interval_ns
        Nominal time from one classified frame to the next.

    Raises
    ------
    ConfigError
        If the bundle does not bring what the filter needs, or a behaviour's name is unknown.
    """
    if table.filter == "off":
        return None
    if table.filter == "hysteresis":
        return Hysteresis(*shortest_ns(table.min_bout_s, behaviours), frame_interval_ns)
    brings = bundle or BundleDecision(without_transitions="it was exported before bundles had them")
    if table.filter == "bundle":
        if brings.chosen is None:
            raise ConfigError(
                '[decision] filter = "bundle" needs settings that a cross-validation chose; this bundle has none. '
                'Export it again with --crossval, or set filter to "hysteresis" or "off".'
            )
        shortest = round(brings.chosen.min_bout_s * NS_PER_S)
        then = Hysteresis(shortest, {}, frame_interval_ns)
        return MovingAverage(reach_of(brings.chosen.smoothing_s, frame_interval_ns), then)
    if brings.transitions is None:
        raise ConfigError(
            f'[decision] filter = "viterbi" needs transitions between behaviours; this bundle has none '
            f'({brings.without_transitions}). Set filter to "hysteresis" or "off", or train on continuously annotated '
            "video and export again."
        )
    lag = round(table.lag_s * NS_PER_S / frame_interval_ns)
    prior = np.array(brings.transitions.prior)
    return FixedLagViterbi(brings.transitions.at(frame_interval_ns), prior, lag)
