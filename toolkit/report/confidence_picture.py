"""The networks' confidence day by day: a camera that drifts, or a mouse unlike those trained on, shows here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.ethogram import Ethogram
from toolkit.report.confidence import daily_quantiles
from toolkit.report.figures import INK, PAGE_WIDTH_IN, PALE_INK, edge_colour, new_figure, paper_style
from toolkit.report.record import DayConfidence
from toolkit.report.wording import moment

_COLUMNS = 3


def draw_confidence(days: Sequence[DayConfidence], ethogram: Ethogram, *, dated: bool = True) -> Any:
    """Return median and 5th percentile of each behaviour's probabilities by UTC day as a matplotlib figure.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    table = daily_quantiles(days, (0.05, 0.25, 0.5))
    names = [*ethogram.names, "all labels"]
    colours = [*ethogram.colours, "#666666"]
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    height_in = 0.5 + 1.0 * rows
    at = np.array([round((day.day_ns - days[0].day_ns) / 86_400e9) for day in days])
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for index, axes in enumerate(grid.ravel()):
            if index >= len(names):
                axes.axis("off")
                continue
            low, quarter, median = table[:, index].T
            edge = tuple(edge_colour(colours[index]))
            if np.isnan(median).all():
                axes.text(0.5, 0.5, "no labels", transform=axes.transAxes, ha="center", fontsize=7, color=PALE_INK)
            elif len(days) > 1:
                axes.fill_between(at, low, median, facecolor=colours[index], alpha=0.5, edgecolor="none")
                axes.plot(at, quarter, color=edge, linewidth=0.6, linestyle=":")
                axes.plot(at, median, color=edge, linewidth=1.2, marker="o", markersize=2.5)
            else:
                axes.plot([0, 0], [low[0], median[0]], color=edge, linewidth=3, solid_capstyle="butt", alpha=0.5)
                axes.plot([0], median, color=edge, marker="o", markersize=4)
            axes.set_title(names[index], fontsize=8, loc="left", pad=3, color=INK)
            axes.set_ylim(0, 1.03)
            axes.set_xlim(-0.5, max(at[-1], 0) + 0.5)
            axes.tick_params(labelsize=7, labelbottom=index + columns >= len(names))
            _label_days(axes, days, at.tolist(), dated=dated)
        figure.supylabel("probability of the label", fontsize=8, x=0.005)
        figure.subplots_adjust(
            left=0.075, right=0.985, top=1 - 0.22 / height_in, bottom=0.32 / height_in, wspace=0.1, hspace=0.42
        )
    return figure


def _label_days(axes: Any, days: Sequence[DayConfidence], at: list[int], *, dated: bool) -> None:
    step = max(1, -(-len(at) // 5))
    names = [
        f"{moment(day.day_ns):%d %b}" if dated else f"day {position + 1}"
        for position, day in zip(at, days, strict=True)
    ]
    axes.set_xticks(at[::step], names[::step])
