"""Pictures of what one number hides, from plain arrays: calibration, bouts by overlap, and groups side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.report.figures import INK, PAGE_WIDTH_IN, PALE_INK, new_figure, paper_style, save_png

_BAR = "#bcd3e8"
_MARKERS = "os^Dv<>P"
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))


def draw_reliability(
    panels: Mapping[str, tuple[Sequence[int], Sequence[float | None], float | None]], path: Path
) -> None:
    """Write reliability diagrams as PNG: accuracy over confidence, and how many frames are how sure.

    Parameters
    ----------
    panels
        By title: frames in each of B bins of equal width over (0, 1], their accuracy (None in an empty bin), and the
        expected calibration error.
    path
        Written whole or not at all.

    Raises
    ------
    InputError
        If a panel has no bin, or its lengths differ.
    MissingDependency
        If matplotlib is not installed.
    """
    save_png(reliability_figure(panels), path)


def draw_paired_accuracy(groups: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Write the accuracy of each held-out group as PNG, a line from method to method.

    Parameters
    ----------
    groups
        By group, by method: fraction of right frames. Every group has the same methods.
    path
        Written whole or not at all.

    Raises
    ------
    InputError
        If there is no group, or the methods differ.
    MissingDependency
        If matplotlib is not installed.
    """
    save_png(paired_figure(groups), path)


def draw_bout_scores(thresholds: Sequence[float], f1: Mapping[str, Sequence[float | None]], path: Path) -> None:
    """Write F1 of bouts over the overlap that counts as found as PNG.

    Parameters
    ----------
    thresholds
        J intersections over union, increasing.
    f1
        By what the bouts were made of: J values of 0 to 1; None where there is no bout.
    path
        Written whole or not at all.

    Raises
    ------
    InputError
        If the lengths differ.
    MissingDependency
        If matplotlib is not installed.
    """
    save_png(bout_scores_figure(thresholds, f1), path)


def reliability_figure(panels: Mapping[str, tuple[Sequence[int], Sequence[float | None], float | None]]) -> Any:
    """Return the diagrams of `draw_reliability` as a matplotlib figure: bars above, histogram below."""
    if not panels or any(len(frames) != len(right) or not frames for frames, right, _ in panels.values()):
        raise InputError("expected panels whose bins have a number of frames and an accuracy each.")
    with paper_style():
        figure = new_figure(2.6 * len(panels) + 0.4, 3.4)
        axes = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
        for column, (title, (frames, right, error)) in enumerate(panels.items()):
            above, below = axes[:, column]
            edges = np.linspace(0, 1, len(frames) + 1)
            width = edges[1]
            heights = [math.nan if value is None else value for value in right]
            above.bar(edges[:-1], heights, width, align="edge", color=_BAR, edgecolor=INK, linewidth=0.6)
            above.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
            above.set_title(title, fontsize=8, loc="left")
            if error is not None:
                above.text(0.04, 0.93, f"ECE {100 * error:.1f} %", fontsize=7, va="top")
            share = 100 * np.asarray(frames) / max(1, sum(frames))
            below.bar(edges[:-1], share, width, align="edge", color="white", edgecolor=INK, linewidth=0.6, hatch="////")
            below.set_xlabel("confidence")
        axes[0, 0].set_ylim(0, 1)
        axes[0, 0].set_xlim(0, 1)
        axes[0, 0].set_ylabel("accuracy")
        axes[1, 0].set_ylabel("frames, %")
        figure.align_ylabels(axes[:, 0])
        figure.subplots_adjust(
            left=0.42 / (0.4 + 2.6 * len(panels)) + 0.03, right=0.98, top=0.93, bottom=0.12, hspace=0.12
        )
    return figure


def paired_figure(groups: Mapping[str, Mapping[str, float]]) -> Any:
    """Return the lines of `draw_paired_accuracy` as a matplotlib figure."""
    methods = list(next(iter(groups.values()), {}))
    if not methods or any(list(values) != methods for values in groups.values()):
        raise InputError("expected the same methods' accuracies for at least one held-out group.")
    few = len(groups) <= 16
    with paper_style():
        figure = new_figure(min(PAGE_WIDTH_IN, 1.2 + 0.95 * len(methods) + (1.2 if few else 0)), 3.0)
        places = np.arange(len(methods))
        for index, (group, values) in enumerate(groups.items()):
            per_cent = [100 * values[method] for method in methods]
            figure.gca().plot(
                places,
                per_cent,
                label=group,
                color=PALE_INK,
                linewidth=0.8,
                linestyle=_DASHES[index % len(_DASHES)],
                marker=_MARKERS[index % len(_MARKERS)],
                markersize=4,
                markerfacecolor="white" if index // len(_MARKERS) % 2 else PALE_INK,
                clip_on=False,
            )
        axes = figure.gca()
        means = [100 * float(np.mean([values[method] for values in groups.values()])) for method in methods]
        axes.plot(places, means, label="mean", color=INK, linewidth=2, marker="_", markersize=12, markeredgewidth=2)
        axes.set_xticks(places, [method.replace(" + ", "\n+ ").replace(" and ", "\nand ") for method in methods])
        axes.set_xlim(-0.3, len(methods) - 0.7)
        axes.set_ylabel("accuracy of a held-out group, %")
        if few:
            axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=7, handlelength=2.6)
        else:
            axes.legend(handles=[axes.lines[-1]], loc="lower right", frameon=False, fontsize=7)
        figure.set_layout_engine("tight", pad=0.4)
    return figure


def bout_scores_figure(thresholds: Sequence[float], f1: Mapping[str, Sequence[float | None]]) -> Any:
    """Return the curves of `draw_bout_scores` as a matplotlib figure."""
    if not f1 or any(len(values) != len(thresholds) for values in f1.values()):
        raise InputError(f"expected an F1 for each of {len(thresholds)} overlaps.")
    with paper_style():
        figure = new_figure(3.5, 2.6)
        axes = figure.add_axes((0.14, 0.17, 0.82, 0.66))
        for index, (name, values) in enumerate(f1.items()):
            axes.plot(
                thresholds,
                [math.nan if value is None else value for value in values],
                label=name,
                color=INK if index else PALE_INK,
                linestyle=_DASHES[index % len(_DASHES)],
                marker=_MARKERS[index % len(_MARKERS)],
                markersize=4,
                linewidth=1.2,
                clip_on=False,
            )
        axes.set_ylim(0, 1)
        axes.set_xlim(0, 1)
        axes.set_xticks(list(thresholds), [f"{threshold:g}" for threshold in thresholds])
        axes.set_xlabel("smallest intersection over union")
        axes.set_ylabel("F1 of bouts")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, fontsize=7, handlelength=2.8)
    return figure
