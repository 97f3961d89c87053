"""Per-frame probabilities become decided labels, and those become bouts: the same live and recorded."""

from toolkit.bouts.builder import BoutBuilder, bouts_from_labels
from toolkit.bouts.contract import NO_LABEL, Bout, BoutRules
from toolkit.bouts.decision import DecidedBouts, DecisionFilter, decided_labels
from toolkit.bouts.hysteresis import Hysteresis
from toolkit.bouts.moving_average import MovingAverage, smooth_probabilities
from toolkit.bouts.settings import BundleDecision, ChosenDecision, DecisionTable, decision_filter
from toolkit.bouts.transitions import Transitions
from toolkit.bouts.viterbi import FixedLagViterbi

__all__ = [
    "NO_LABEL",
    "Bout",
    "BoutBuilder",
    "BoutRules",
    "BundleDecision",
    "ChosenDecision",
    "DecidedBouts",
    "DecisionFilter",
    "DecisionTable",
    "FixedLagViterbi",
    "Hysteresis",
    "MovingAverage",
    "Transitions",
    "bouts_from_labels",
    "decided_labels",
    "decision_filter",
    "smooth_probabilities",
]
