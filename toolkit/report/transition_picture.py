"""Which behaviour follows which: the matrix with its numbers, and beside it the graph of the common transitions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.ethogram import Ethogram
from toolkit.report.figures import INK, PAGE_WIDTH_IN, PALE_INK, edge_colour, new_figure, paper_style
from toolkit.report.transitions import transition_shares

DRAWN_FROM = 0.2
"""An arrow is drawn for a transition that takes at least this fraction of those from its behaviour."""


def draw_transitions(counts: NDArray[np.int64], ethogram: Ethogram) -> Any:
    """Return the matrix and the graph as a matplotlib figure.

    Parameters
    ----------
    counts
        (K, K) int64, rows = from.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    shares = transition_shares(counts)
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, 3.6)
        matrix = figure.add_axes([0.2, 0.21, 0.35, 0.7])
        _draw_matrix(matrix, shares, counts, ethogram)
        graph = figure.add_axes([0.58, 0.02, 0.41, 0.9])
        _draw_graph(graph, shares, counts, ethogram)
    return figure


def _draw_matrix(axes: Any, shares: NDArray[np.float64], counts: NDArray[np.int64], ethogram: Ethogram) -> None:
    size = len(ethogram)
    axes.imshow(np.nan_to_num(shares), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for row in range(size):
        for column in range(size):
            if counts[row, column]:
                share = shares[row, column]
                text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
                axes.text(
                    column, row, text, ha="center", va="center", fontsize=6.5, color="white" if share > 0.5 else INK
                )
    axes.set_xticks(range(size), ethogram.names, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
    names = [f"{name}  ({total:,})" for name, total in zip(ethogram.names, counts.sum(axis=1), strict=True)]
    axes.set_yticks(range(size), names, fontsize=7)
    axes.set_xlabel("to", fontsize=8)
    axes.set_title("from (number): % that go to", fontsize=8, loc="left", x=-0.5)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    for border in range(1, size):
        axes.axhline(border - 0.5, color="#dddddd", linewidth=0.4)
        axes.axvline(border - 0.5, color="#dddddd", linewidth=0.4)


def _draw_graph(axes: Any, shares: NDArray[np.float64], counts: NDArray[np.int64], ethogram: Ethogram) -> None:
    from matplotlib.patches import FancyArrowPatch

    size = len(ethogram)
    angle = np.pi / 2 - 2 * np.pi * np.arange(size) / size
    places = np.column_stack([np.cos(angle), np.sin(angle)])
    total = counts.sum(axis=1) + counts.sum(axis=0)
    radius = 0.06 + 0.13 * np.sqrt(total / max(1, total.max()))
    for row, column in zip(*np.nonzero(np.nan_to_num(shares) >= DRAWN_FROM), strict=True):
        if row == column:
            continue
        share = shares[row, column]
        way = places[column] - places[row]
        way /= np.hypot(*way)
        start, stop = places[row] + way * radius[row], places[column] - way * (radius[column] + 0.02)
        arrow = FancyArrowPatch(
            tuple(start),
            tuple(stop),
            connectionstyle="arc3,rad=0.14",
            arrowstyle="-|>",
            mutation_scale=6 + 5 * share,
            linewidth=0.4 + 3 * share,
            color=str(0.55 * (1 - share)),
            shrinkA=0,
            shrinkB=0,
            zorder=2,
        )
        axes.add_patch(arrow)
    for index, (name, colour) in enumerate(zip(ethogram.names, ethogram.colours, strict=True)):
        from matplotlib.patches import Circle

        circle = Circle(places[index], radius[index], facecolor=colour, edgecolor=tuple(edge_colour(colour)), zorder=3)
        axes.add_patch(circle)
        outside = places[index] * (1 + radius[index] + 0.09)
        across = "center" if abs(places[index, 0]) < 0.2 else ("left" if places[index, 0] > 0 else "right")
        label_colour = INK if total[index] else PALE_INK
        axes.text(*outside, name, ha=across, va="center", fontsize=7, color=label_colour)
    axes.set_xlim(-1.75, 1.75)
    axes.set_ylim(-1.45, 1.45)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title(f"transitions of {100 * DRAWN_FROM:.0f} % and more", fontsize=8)
