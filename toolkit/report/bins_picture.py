"""Shares over the time bins: a panel per behaviour, a break where nothing was observed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.report.clock import LabClock
from toolkit.report.ethogram_picture import axis_label
from toolkit.report.figures import HATCH, PAGE_WIDTH_IN, edge_colour, new_figure, paper_style
from toolkit.report.summary import CageSummary
from toolkit.report.time_axis import time_ticks

_ROW_IN = 0.5


def draw_bins(summary: CageSummary, clock: LabClock) -> Any:
    """Return each behaviour's share of observed time by time bin as a matplotlib figure.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    ethogram, edges = summary.ethogram, summary.bin_edges
    span = (int(edges[0]), int(edges[-1]))
    percent = summary.bins.percent
    dark = clock.dark_spans(*span) if summary.dated else np.empty((0, 2), np.int64)
    left_in, top_in, bottom_in = 0.6 + 0.062 * max(map(len, ethogram.names)), 0.12, 0.62
    height_in = top_in + bottom_in + _ROW_IN * len(ethogram)
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        grid = figure.subplots(len(ethogram), 1, sharex=True, squeeze=False)[:, 0]
        for index, axes in enumerate(grid):
            for start, stop in dark.tolist():
                axes.axvspan(start - span[0], stop - span[0], facecolor="#e6e6e6", edgecolor="none", zorder=0)
            _hatch_unobserved(axes, summary.bins.observed_s, edges)
            colour = ethogram.colours[index]
            axes.stairs(
                np.nan_to_num(percent[:, index]),
                edges - span[0],
                fill=True,
                facecolor=colour,
                edgecolor=tuple(edge_colour(colour)),
                linewidth=0.6,
                zorder=2,
            )
            axes.set_ylabel(ethogram.names[index], rotation=0, ha="right", va="center", labelpad=8)
            axes.yaxis.set_label_coords(-0.05, 0.5)
            axes.set_xlim(0, span[1] - span[0])
            axes.set_ylim(0, max(1.0, 1.05 * float(np.nan_to_num(percent[:, index]).max(initial=0))))
            axes.locator_params(axis="y", nbins=3)
            axes.tick_params(axis="y", labelsize=6.5)
            axes.tick_params(axis="x", length=3 if index == len(ethogram) - 1 else 0)
        ticks, labels = time_ticks(*span, clock.zone if summary.dated else None)
        grid[-1].set_xticks([tick - span[0] for tick in ticks], labels)
        grid[-1].set_xlabel(f"{axis_label(span, clock if summary.dated else None)}; vertical: % of observed time")
        figure.subplots_adjust(
            left=left_in / PAGE_WIDTH_IN,
            right=0.985,
            top=1 - top_in / height_in,
            bottom=bottom_in / height_in,
            hspace=0.28,
        )
    return figure


def _hatch_unobserved(axes: Any, observed_s: NDArray[np.float64], edges: NDArray[np.int64]) -> None:
    unseen = np.diff(np.r_[0, (observed_s <= 0).astype(int), 0])
    for start, stop in zip(np.flatnonzero(unseen > 0), np.flatnonzero(unseen < 0), strict=True):
        axes.axvspan(edges[start] - edges[0], edges[stop] - edges[0], zorder=1, **{**HATCH, "linewidth": 0})
