"""Whether a probability means what it says: of the frames labelled with 0.8, are 80 % right?

A network's confidence is calibrated after training by one number, the temperature that its logits are divided by (Guo
et al. 2017, On Calibration of Modern Neural Networks, ICML, section 4.2). It changes no label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.scoring.frames import ratio

CALIBRATION_BINS = 15
"""Bins of equal width that confidences are sorted into (Guo et al. 2017)."""

TEMPERATURE_BOUNDS = (0.25, 10.0)
"""Where a temperature is looked for. On frames that are all right any colder one is likelier, which says nothing of
others: the lower bound keeps such a choice from making every probability a one."""

_HALVINGS = 40


@dataclass(frozen=True, eq=False)
class Reliability:
    """Frames sorted by confidence into B bins of equal width, each open below and closed above, over (0, 1]."""

    frames: NDArray[np.int64]
    """(B,) frames in each bin."""
    confidence: NDArray[np.float64]
    """(B,) mean probability of the labels given; NaN in an empty bin."""
    accuracy: NDArray[np.float64]
    """(B,) fraction of those labels that are right; NaN in an empty bin."""

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance of confidence to accuracy over the frames, 0 to 1 (Naeini et al. 2015); NaN without any."""
        filled = self.frames > 0
        if not filled.any():
            return float("nan")
        return float(np.average(np.abs(self.confidence - self.accuracy)[filled], weights=self.frames[filled]))


def reliability(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> Reliability:
    """Sort frames by their labels' probabilities.

    Parameters
    ----------
    confidence
        (N,) probability of each frame's label, 0 to 1.
    right
        (N,) whether the label is the observer's.
    bins
        B.

    Raises
    ------
    InputError
        If the lengths differ.

    Examples
    --------
    >>> table = reliability(np.array([0.6, 0.9, 0.9]), np.array([True, True, False]), bins=2)
    >>> table.frames.tolist(), round(table.expected_calibration_error, 3)
    ([0, 3], 0.133)
    """
    if confidence.shape != right.shape:
        raise InputError(f"each frame needs a confidence and a verdict, found {confidence.size} and {right.size}.")
    values = confidence.astype(np.float64)
    which = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], values)
    frames = np.bincount(which, minlength=bins)
    return Reliability(
        frames=frames.astype(np.int64),
        confidence=ratio(np.bincount(which, weights=values, minlength=bins), frames),
        accuracy=ratio(np.bincount(which, weights=right, minlength=bins), frames),
    )


def negative_log_likelihood(
    logits: NDArray[np.floating], truth: NDArray[np.integer], temperature: float = 1.0
) -> float:
    """Return the mean of -log softmax(logits / temperature)[truth] over (N, K) logits, in nats; NaN without frames."""
    if not len(truth):
        return float("nan")
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    own = scaled[np.arange(len(truth)), truth]
    return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - own))


def best_temperature(logits: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """Return the temperature within `TEMPERATURE_BOUNDS` at which the labels are most likely.

    The negative log-likelihood is convex in the inverse temperature, so that its slope, the mean over the frames of the
    expected minus the true logit, changes sign once: it is bisected.

    Parameters
    ----------
    logits
        (N, K) before the softmax.
    truth
        (N,) labels, 0 to K - 1.

    Raises
    ------
    InputError
        If there is no frame.
    """
    if not len(truth):
        raise InputError("a temperature needs labelled frames, found none.")
    # Only differences of a frame's logits matter.
    relative = logits.astype(np.float64)
    relative -= relative.max(axis=1, keepdims=True)
    own = relative[np.arange(len(truth)), truth].mean()

    def too_cold(log_temperature: float) -> bool:
        weights = np.exp(relative / np.exp(log_temperature))
        expected = (weights * relative).sum(axis=1) / weights.sum(axis=1)
        return bool(expected.mean() > own)

    low, high = np.log(TEMPERATURE_BOUNDS)
    if not too_cold(low):
        return TEMPERATURE_BOUNDS[0]
    if too_cold(high):
        return TEMPERATURE_BOUNDS[1]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_cold(middle) else (low, middle)
    return float(np.exp((low + high) / 2))
