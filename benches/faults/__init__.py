"""Faults done to a real behaviour log on purpose: each scenario returns a row of what it cost."""

from benches.faults.outcome import Outcome

__all__ = ["Outcome"]
