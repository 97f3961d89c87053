"""The most probable course of behaviour, decided a fixed lag behind the newest frame (Forney 1973, section IV)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts.contract import NO_LABEL

_LEAST = 1e-12
"""Probabilities below it count as it: softmax rounds to zero, which has no logarithm."""


class FixedLagViterbi:
    """A decision filter: a frame takes its label on the best course through the frames up to `lag` after it.

    The model is a Markov chain of behaviours in which a frame's evidence for behaviour k is
    its probability of k over the prior of k. With a lag as long as the segment it is Viterbi's algorithm.

    Parameters
    ----------
    transitions
        (K, K) float64, positive: probability of behaviour j one frame after behaviour i; rows sum to one.
    prior
        (K,) float64, positive: shares of the behaviours in what the networks learned from, which their probabilities
        contain. Also the chain's first state, so that a frame alone keeps its raw label.
    lag
        Frames that a decision waits for, at least 0.
    """

    def __init__(self, transitions: NDArray[np.float64], prior: NDArray[np.float64], lag: int) -> None:
        behaviours = len(prior)
        self._step = np.log(transitions)
        self._log_prior = np.log(prior)
        self._scores = np.empty(behaviours)
        # Of the best course to each behaviour, its newest labels: columns are used in turn.
        self._courses = np.empty((behaviours, lag + 1), dtype=np.int16)
        self._labels = np.arange(behaviours)
        self._frames = 0
        self._first = NO_LABEL

    def begin_with(self, label: int) -> None:
        """Decide the next segment's first frame as this label."""
        self._first = label

    def push(self, time_ns: int, label: int, probabilities: NDArray[np.floating]) -> list[int]:
        """Take the next frame and return the label that is final by now, if any."""
        del time_ns, label
        posterior = np.log(np.maximum(probabilities, _LEAST))
        if self._frames == 0:
            self._scores = posterior
            if self._first != NO_LABEL:
                self._scores = np.where(self._labels == self._first, 0.0, -np.inf)
                self._first = NO_LABEL
        else:
            by_way_of = self._scores[:, np.newaxis] + self._step
            best = by_way_of.argmax(axis=0)
            self._courses = self._courses[best]
            # Never scaled back: after a year of one segment, differences are still good to 1e-6.
            self._scores = by_way_of[best, self._labels] + posterior - self._log_prior
        lag = self._courses.shape[1] - 1
        self._courses[:, self._frames % (lag + 1)] = self._labels
        self._frames += 1
        if self._frames <= lag:
            return []
        return [int(self._courses[self._scores.argmax(), self._frames % (lag + 1)])]

    def end(self) -> list[int]:
        """Return the labels of the frames that remain."""
        length = self._courses.shape[1]
        remaining = min(self._frames, length - 1)
        course = self._courses[self._scores.argmax()]
        decided = [int(course[frame % length]) for frame in range(self._frames - remaining, self._frames)]
        self._frames = 0
        self._first = NO_LABEL
        return decided
