"""Animals and groups beside each other: one mark is one animal, and effects have their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.ethogram import Ethogram
from toolkit.report.comparison import AnimalValues, Comparison
from toolkit.report.figures import GROUP_INKS, INK, MARKERS, PAGE_WIDTH_IN, PALE_INK, new_figure, paper_style

_COLUMNS = 4
_SHARE = "% of observed time"


def _mark_size(animals: int) -> float:
    return max(1.6, 4 * min(1.0, math.sqrt(12 / max(1, animals))))


def draw_animals(animals: Sequence[AnimalValues], ethogram: Ethogram) -> Any:
    """Return every animal's shares as a matplotlib figure: a line per behaviour, a mark per animal, a bar: median.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    values = np.array([animal.values[_SHARE, "all"] for animal in animals])
    height_in = 0.55 + 0.24 * len(ethogram)
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        axes = figure.add_axes([0.18, 0.45 / height_in, 0.79, 1 - 0.5 / height_in])
        for row, colour in enumerate(ethogram.colours):
            spread = np.linspace(-0.22, 0.22, len(animals)) if len(animals) > 1 else [0.0]
            axes.plot(
                values[:, row],
                row + np.array(spread),
                linestyle="none",
                marker="o",
                markersize=_mark_size(len(animals)),
                markerfacecolor=colour,
                markeredgecolor=INK,
                markeredgewidth=0.6,
                alpha=0.9,
            )
            axes.plot([np.nanmedian(values[:, row])] * 2, [row - 0.34, row + 0.34], color=INK, linewidth=1.4)
            axes.axhline(row + 0.5, color="#dddddd", linewidth=0.4)
        axes.set_yticks(range(len(ethogram)), ethogram.names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(ethogram) - 0.5, -0.5)
        # Rest takes most of the time: on an even scale all else would crowd at the left.
        axes.set_xscale("function", functions=(lambda x: np.sqrt(np.abs(x)), np.square))
        axes.set_xlim(0, 1.1 * max(1.0, float(np.nanmax(values))))
        ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 40, 60, 80, 100) if tick <= axes.get_xlim()[1]]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel(
            "% of observed time (square-root scale); a mark is an animal, in the table's order; bar: median"
        )
    return figure


def draw_groups(animals: Sequence[AnimalValues], column: str, groups: Sequence[str], ethogram: Ethogram) -> Any:
    """Return a panel per behaviour: each group's animals as marks, their mean as a line.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    columns = min(_COLUMNS, len(ethogram))
    rows = -(-len(ethogram) // columns)
    longest = max(len(group) for group in groups)
    foot_in = 0.3 + (0.055 * min(longest, 16) if longest * len(groups) > 18 else 0.08)
    height_in = 0.25 + foot_in + 1.2 * rows
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for index, axes in enumerate(grid.ravel()):
            if index >= len(ethogram):
                axes.axis("off")
                continue
            for at, group in enumerate(groups):
                own = [a.values[_SHARE, "all"][index] for a in animals if a.groups.get(column) == group]
                spread = np.linspace(-0.16, 0.16, len(own)) if len(own) > 1 else np.zeros(1)
                axes.plot(
                    at + spread,
                    own,
                    linestyle="none",
                    marker=MARKERS[at % len(MARKERS)],
                    markersize=_mark_size(len(own)),
                    markerfacecolor="white" if at % 2 else "#555555",
                    markeredgecolor=GROUP_INKS[0],
                    markeredgewidth=0.7,
                )
                axes.plot([at - 0.3, at + 0.3], [np.mean(own)] * 2, color=INK, linewidth=1.2)
            axes.set_title(ethogram.names[index], fontsize=8, loc="left", pad=4)
            axes.set_xlim(-0.6, len(groups) - 0.4)
            axes.set_ylim(0, 1.12 * max(0.01, axes.dataLim.y1))
            axes.locator_params(axis="y", nbins=4)
            counts = [sum(a.groups.get(column) == group for a in animals) for group in groups]
            names = [f"{group[:16]} ({count})" for group, count in zip(groups, counts, strict=True)]
            slant = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if longest * len(groups) > 18 else {}
            axes.set_xticks(range(len(groups)), names, fontsize=7, **slant)
            axes.tick_params(axis="y", labelsize=7)
            axes.tick_params(axis="x", length=0, labelbottom=index + columns >= len(ethogram))
        figure.supylabel("% of observed time", fontsize=8, x=0.005)
        figure.subplots_adjust(
            left=0.075, right=0.985, top=1 - 0.25 / height_in, bottom=foot_in / height_in, wspace=0.32, hspace=0.35
        )
    return figure


def draw_effects(comparisons: Sequence[Comparison], ethogram: Ethogram) -> Any:
    """Return Hedges' g of every behaviour with its interval; comparisons of one pair of groups, one panel per phase.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    height_in = 0.75 + 0.2 * len(ethogram)
    first = comparisons[0]
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        panels = figure.subplots(1, len(comparisons), sharey=True, sharex=True, squeeze=False)[0]
        for axes, comparison in zip(panels, comparisons, strict=True):
            axes.axvline(0, color="#999999", linewidth=0.6)
            for row, line in enumerate(comparison.behaviours):
                effect = line.effect
                if math.isnan(effect.hedges_g):
                    axes.text(0, row, "–", ha="center", va="center", color=PALE_INK)
                    continue
                axes.plot([effect.g_low, effect.g_high], [row, row], color=INK, linewidth=0.9)
                filled = line.p_holm < 0.05
                axes.plot(
                    effect.hedges_g,
                    row,
                    marker="s",
                    markersize=4.5,
                    markeredgecolor=INK,
                    markeredgewidth=0.8,
                    markerfacecolor=INK if filled else "white",
                )
            axes.set_title(
                "whole time" if comparison.phase == "all" else f"{comparison.phase} phase", fontsize=8, loc="left"
            )
            axes.set_yticks(range(len(ethogram)), ethogram.names)
            axes.set_ylim(len(ethogram) - 0.5, -0.5)
            axes.tick_params(axis="y", length=0)
        figure.supxlabel(
            f"Hedges' g of % of observed time: right of 0 more in {first.b} than in {first.a}; filled: p (Holm) < 0.05",
            fontsize=8,
            y=0.01,
        )
        figure.subplots_adjust(left=0.17, right=0.985, top=1 - 0.28 / height_in, bottom=0.45 / height_in, wspace=0.08)
    return figure
