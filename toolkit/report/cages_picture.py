"""All cages over one time axis: a block per behaviour, a line per cage, darker where it took more of the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.report.clock import LabClock
from toolkit.report.ethogram_picture import axis_label
from toolkit.report.figures import HATCH, INK, PAGE_WIDTH_IN, edge_colour, new_figure, paper_style, rgb
from toolkit.report.summary import CageSummary
from toolkit.report.time_axis import time_ticks

_COLUMNS = 1500
_MOST_BODY_IN = 8.0
_LINE_IN = 0.1
_NAMED_FROM_IN = 0.085
"""Lines thinner than this have no room for a cage's name."""
_MOST_BORDERED = 20


def draw_cages(summaries: Sequence[CageSummary], clock: LabClock) -> Any:
    """Return the raster of all animals as a matplotlib figure.

    Parameters
    ----------
    summaries
        Of one ethogram; all dated, or none.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    ethogram = summaries[0].ethogram
    dated = summaries[0].dated
    span = common_span(summaries)
    lines, blocks = len(summaries), len(ethogram)
    line_in = min(_LINE_IN, _MOST_BODY_IN / (lines * blocks))
    named = line_in >= _NAMED_FROM_IN
    longest = max(len(summary.name) for summary in summaries)
    right_in = 0.1 + (0.05 * min(longest, 24) if named else 0.05)
    left_in, bottom_in, top_in, space_in = 0.35 + 0.062 * max(map(len, ethogram.names)), 0.6, 0.25, 0.06
    height_in = top_in + bottom_in + blocks * (lines * line_in + space_in)
    columns = [_on(summary, span) for summary in summaries]
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        for block, behaviour in enumerate(ethogram.behaviours):
            top = height_in - top_in - block * (lines * line_in + space_in)
            box = (left_in, top - lines * line_in, PAGE_WIDTH_IN - left_in - right_in, lines * line_in)
            axes = figure.add_axes([a / b for a, b in zip(box, (PAGE_WIDTH_IN, height_in) * 2, strict=True)])
            axes.add_patch(_unobserved_ground(lines))
            of_seen = [(shares[block] / np.where(seen > 0, seen, 1)).clip(0, 1) for shares, seen in columns]
            most = _darkest(of_seen)
            picture = np.stack(
                [_line(share / most, seen, behaviour.colour) for share, (_, seen) in zip(of_seen, columns, strict=True)]
            )
            axes.imshow(picture, extent=(0, 1, lines, 0), aspect="auto", interpolation="none", zorder=2)
            _draw_borders(axes, lines, [summary.name for summary in summaries] if named else [])
            scale = f"darkest: {100 * most:.0f} %" if lines * line_in > 0.3 else ""
            axes.set_ylabel(
                f"{behaviour.name}\n" if scale else behaviour.name, rotation=0, ha="right", va="center", labelpad=5
            )
            axes.text(-0.0105, 0.5, f"\n\n{scale}", transform=axes.transAxes, ha="right", va="center", fontsize=5.5)
            if block == 0 and dated:
                dark = (clock.dark_spans(*span) - span[0]) / (span[1] - span[0])
                figure_bar = [(float(start), float(stop)) for start, stop in dark]
                _draw_bar(figure, box, height_in, figure_bar)
            if block == blocks - 1:
                ticks, labels = time_ticks(*span, clock.zone if dated else None)
                axes.set_xticks([(tick - span[0]) / (span[1] - span[0]) for tick in ticks], labels)
                axes.set_xlabel(axis_label(span, clock if dated else None))
            else:
                axes.set_xticks([])
    return figure


def common_span(summaries: Sequence[CageSummary]) -> tuple[int, int]:
    """Return the time from the first beginning to the last end."""
    start_ns = min(summary.budget.start_ns for summary in summaries)
    return start_ns, max(max(summary.budget.stop_ns for summary in summaries), start_ns + 1)


def _on(summary: CageSummary, span: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a summary's (K, C) shares and (C,) observed fraction, 0 to 1, by the columns of another span."""
    own = np.linspace(summary.budget.start_ns - span[0], summary.budget.stop_ns - span[0], summary.seen.size + 1)
    borders = np.linspace(0, span[1] - span[0], _COLUMNS + 1)

    def resampled(fraction: NDArray[np.uint8]) -> NDArray[np.float64]:
        total = np.concatenate([[0.0], np.cumsum(fraction / 255 * np.diff(own))])
        found: NDArray[np.float64] = np.diff(np.interp(borders, own, total)) / np.diff(borders)
        return found

    return np.stack([resampled(row) for row in summary.shares]), resampled(summary.seen)


def _darkest(shares: Sequence[NDArray[np.float64]]) -> float:
    """Return the share that is drawn darkest: what 1 % of the columns with the behaviour exceed."""
    some = np.concatenate(shares)
    some = some[some > 0]
    return max(0.01, float(np.quantile(some, 0.99))) if some.size else 1.0


def _line(share: NDArray[np.float64], seen: NDArray[np.float64], colour: str) -> NDArray[np.float64]:
    """Return (C, 4) RGBA: white to a dark shade of the colour; see-through where nothing was observed."""
    of_seen = share.clip(0, 1)
    dark = np.minimum(edge_colour(colour), rgb(colour))
    pixels = np.ones((len(share), 4))
    pixels[:, :3] = 1 - of_seen[:, np.newaxis] * (1 - dark)
    pixels[:, 3] = seen > 0.02
    return pixels


def _unobserved_ground(lines: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((0, 0), 1, lines, zorder=1, **{**HATCH, "linewidth": 0})


def _draw_borders(axes: Any, lines: int, names: list[str]) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(lines, 0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    # Of many cages the borders would be all that is seen.
    for border in range(1, lines) if lines <= _MOST_BORDERED else ():
        axes.axhline(border, color="#c4c4c4", linewidth=0.3, zorder=3)
    axes.yaxis.set_ticks([])
    for line, name in enumerate(names):
        axes.text(1.006, line + 0.5, name[:24], ha="left", va="center", fontsize=5.5, transform=axes.transData)


def _draw_bar(figure: Any, box: tuple[float, ...], height_in: float, spans: list[tuple[float, float]]) -> None:
    if not spans:
        return
    bar = (box[0], height_in - 0.16, box[2], 0.06)
    axes = figure.add_axes([a / b for a, b in zip(bar, (PAGE_WIDTH_IN, height_in) * 2, strict=True)])
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    for start, stop in spans:
        axes.axvspan(start, stop, color=INK, linewidth=0)
