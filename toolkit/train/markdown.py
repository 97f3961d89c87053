"""How tables, fractions and intervals read in a report."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.train.score_parts import Interval


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def percent(value: float | None) -> str:
    """Return a fraction in per cent, or a dash."""
    return "-" if value is None else f"{100 * value:.1f} %"


def span(interval: Interval | None) -> str:
    """Return an interval of fractions in per cent, or a dash."""
    return "-" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f} %"


def number(value: float | None) -> str:
    """Return a score of 0 to 1 with three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def in_brackets(interval: Interval | None) -> str:
    """Return an interval to stand behind its score, or nothing."""
    return f" ({interval.low:.3f} to {interval.high:.3f})" if interval else ""


def points(value: float) -> str:
    """Return a difference of fractions in percentage points."""
    return f"{100 * value:+.1f}"


def points_span(interval: Interval | None) -> str:
    """Return an interval of differences in percentage points, or a dash."""
    return "-" if interval is None else f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
