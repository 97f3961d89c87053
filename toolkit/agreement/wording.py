"""How a figure that may not exist is written: in JSON, and in a table for people."""

from __future__ import annotations

import math


def defined(value: float) -> float | None:
    """Return a figure as JSON has it: None where it is NaN."""
    return None if math.isnan(value) else float(value)


def number(value: float) -> str:
    """Return a figure with three decimals; a dash where it is NaN."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def percent(value: float) -> str:
    """Return a share as per cent; a dash where it is NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"
