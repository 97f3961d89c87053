"""How long the bouts are: a histogram per behaviour over one logarithmic axis, so that behaviours compare."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.ethogram import Ethogram
from toolkit.frames import NS_PER_S
from toolkit.report.figures import INK, PAGE_WIDTH_IN, PALE_INK, edge_colour, new_figure, paper_style
from toolkit.report.record import Bouts

_COLUMNS = 4
_BINS_PER_DECADE = 6


def draw_bout_lengths(bouts: Bouts, ethogram: Ethogram) -> Any:
    """Return histograms of bout length, seconds, as a matplotlib figure; the median is marked.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    lengths_s = bout_lengths(bouts, len(ethogram))
    bins = length_bins(lengths_s)
    columns = min(_COLUMNS, len(ethogram))
    rows = -(-len(ethogram) // columns)
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, 0.45 + 1.2 * rows)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for index, axes in enumerate(grid.ravel()):
            if index < len(ethogram):
                _draw_one(axes, lengths_s[index], bins, ethogram.names[index], ethogram.colours[index])
            else:
                axes.axis("off")
            # The axes below may be missing in the last row.
            axes.tick_params(labelbottom=index + columns >= len(ethogram))
        figure.supxlabel("bout length, s (log scale)", fontsize=8, y=0.01)
        figure.supylabel("bouts", fontsize=8, x=0.005)
        figure.subplots_adjust(left=0.065, right=0.985, top=1 - 0.3 / (0.45 + 1.2 * rows), wspace=0.28, hspace=0.55)
        figure.subplots_adjust(bottom=0.42 / (0.45 + 1.2 * rows))
    return figure


def bout_lengths(bouts: Bouts, behaviours: int) -> list[NDArray[np.float64]]:
    """Return each behaviour's bout lengths, seconds."""
    return [(each.stop_ns - each.start_ns) / NS_PER_S for each in map(bouts.of, range(behaviours))]


def length_bins(by_behaviour: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return edges, seconds, a sixth of a decade apart that hold every length, over a decade at least."""
    lengths_s = np.concatenate(by_behaviour)
    lengths_s = lengths_s[lengths_s > 0]
    low, high = (lengths_s.min(), lengths_s.max()) if lengths_s.size else (0.1, 10.0)
    first = int(np.floor(np.log10(low) * _BINS_PER_DECADE))
    last = max(int(np.floor(np.log10(high) * _BINS_PER_DECADE)) + 1, first + _BINS_PER_DECADE)
    edges: NDArray[np.float64] = 10.0 ** (np.arange(first, last + 1) / _BINS_PER_DECADE)
    return edges


def _draw_one(axes: Any, lengths_s: NDArray[np.float64], bins: NDArray[np.float64], name: str, colour: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(bins[0], bins[-1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.tick_params(labelsize=7)
    axes.set_title(name, fontsize=8, loc="left", pad=12.5, color=INK if lengths_s.size else PALE_INK)
    if not lengths_s.size:
        axes.text(0.5, 0.45, "no bouts", transform=axes.transAxes, ha="center", va="center", color=PALE_INK, fontsize=7)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        return
    axes.hist(lengths_s, bins=bins, color=colour, edgecolor=tuple(edge_colour(colour)), linewidth=0.6)
    median_s = float(np.median(lengths_s))
    axes.axvline(median_s, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
    middle = f"{median_s:.2g}" if median_s < 10 else f"{median_s:.0f}"
    summary = f"n = {lengths_s.size:,}, median {middle} s"
    axes.text(0, 1.04, summary, transform=axes.transAxes, fontsize=6.5, va="bottom", color=PALE_INK)
