"""The bouts of a log under rules: those without are in the log, others are made of its decided rows again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import BehaviourLog
from toolkit.bouts import Bout, BoutRules, bouts_from_labels


def logged_bouts(log: BehaviourLog, rules: BoutRules | None = None) -> list[Bout]:
    """Return the log's bouts in order.

    Parameters
    ----------
    rules
        Stitching and minimum length; None leaves the runs of equal decided labels.

    Raises
    ------
    ConfigError
        If the rules name a behaviour that the log's ethogram lacks.
    """
    if rules is None or rules == BoutRules():
        return list(log.bouts)
    decided = log.decided
    return bouts_of_rows(log, decided, own_probability(log, decided), rules)


def own_probability(log: BehaviourLog, label: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return (N,) float64 each row's probability of its (N,) label, 0 to 1; 0 where it has none."""
    if len(label) == 0:
        return np.zeros(0)
    own = log.probabilities[np.arange(len(label)), label.clip(0)] / 255
    return np.where(label >= 0, own, 0.0)


def bouts_of_rows(
    log: BehaviourLog, label: NDArray[np.integer], probability: NDArray[np.float64], rules: BoutRules
) -> list[Bout]:
    """Return the bouts of (N,) labels that are not the log's own, on the log's rows.

    Rows that an unobserved interval or a restart separates are never in one bout, however near they lie.
    """
    starts = np.array([session.start_ns for session in log.provenance], dtype=np.int64)
    order = np.argsort(starts)
    session = order[(np.searchsorted(starts[order], log.time_ns, side="right") - 1).clip(0)]
    gaps = np.sort(np.array([gap.start_ns for gap in log.unobserved], dtype=np.int64))
    gaps_before = np.searchsorted(gaps, log.time_ns, side="right")
    edges = np.flatnonzero((np.diff(session) != 0) | (np.diff(gaps_before) != 0)) + 1
    bouts: list[Bout] = []
    for first, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(log.time_ns)], strict=True):
        if first == stop:
            continue
        rows = slice(first, stop)
        # Overload may have spread the rows: what separates them has been cut out already.
        interval_ns = max(log.provenance[session[first]].row_interval_ns, int(log.duration_ns[rows].max()))
        segment = bouts_from_labels(
            log.time_ns[rows], label[rows], probability[rows], rules, interval_ns, behaviours=log.ethogram.names
        )
        # The log knows better than the nominal interval how long the segment's last row stands for.
        end_ns = int(log.time_ns[stop - 1] + log.duration_ns[stop - 1])
        if segment and segment[-1].stop_ns > log.time_ns[stop - 1]:
            segment[-1] = replace(segment[-1], stop_ns=end_ns)
        bouts += segment
    return bouts
