"""The paper's figures 7 to 10, from plain arrays: confusion matrices, and scores over the fusion's weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.ethogram import Ethogram, ethogram_from_names
from toolkit.report.figures import INK, PAGE_WIDTH_IN, PALE_INK, edge_colour, new_figure, paper_style, save_png

_WHITE_TEXT_ABOVE = 0.55


def draw_confusion(confusion: NDArray[np.integer], ethogram: Ethogram, path: Path, title: str = "") -> None:
    """Write a confusion matrix as PNG.

    Parameters
    ----------
    confusion
        (K, K) frames, rows = truth.
    ethogram
        Names of the K behaviours.
    path
        Written whole or not at all.
    title
        Over the matrix, e.g. the stream.

    Raises
    ------
    InputError
        If the matrix is not (K, K).
    MissingDependency
        If matplotlib is not installed.
    """
    save_png(confusion_figure(confusion, ethogram, title), path)


def draw_fusion_sweep(flow_weights: Sequence[float], accuracy: Sequence[float], headline: float, path: Path) -> None:
    """Write the accuracy of the fused streams over the weight of flow as PNG.

    Parameters
    ----------
    flow_weights
        M weights of the flow stream, 0 (RGB alone) to 1 (flow alone), increasing.
    accuracy
        M fractions of right frames, 0 to 1.
    headline
        Accuracy with the weights chosen without the test videos: the figure to report.
    path
        Written whole or not at all.

    Raises
    ------
    InputError
        If there is no weight, or the lengths differ.
    MissingDependency
        If matplotlib is not installed.
    """
    save_png(fusion_sweep_figure(flow_weights, accuracy, headline), path)


def draw_behaviour_sweep(
    flow_weights: Sequence[float], recall: Mapping[str, Sequence[float | None]], path: Path
) -> None:
    """Write the recall of each behaviour over the weight of flow as PNG, one panel each on a common scale.

    Parameters
    ----------
    flow_weights
        M weights of the flow stream, 0 (RGB alone) to 1 (flow alone), increasing.
    recall
        By behaviour, M fractions of its frames that were found; None where it has no frame.
    path
        Written whole or not at all.

    Raises
    ------
    InputError
        If there is no weight, or the lengths differ.
    MissingDependency
        If matplotlib is not installed.
    """
    save_png(behaviour_sweep_figure(flow_weights, recall), path)


def confusion_figure(confusion: NDArray[np.integer], ethogram: Ethogram, title: str = "") -> Any:
    """Return the confusion matrix of `draw_confusion` as a matplotlib figure.

    A cell's shade and number are per cent of the true behaviour's frames.
    """
    behaviours = len(ethogram)
    if confusion.shape != (behaviours, behaviours):
        raise InputError(
            f"expected a confusion matrix of {behaviours} x {behaviours} behaviours, found shape {confusion.shape}."
        )
    frames = confusion.sum(axis=1)
    share = np.divide(confusion, frames[:, None], out=np.zeros(confusion.shape), where=frames[:, None] > 0)
    margin_in = 0.3 + 0.062 * max(len(name) for name in ethogram.names)
    body_in = 0.36 * behaviours
    right_in, top_in, bottom_in = 0.62, 0.42 if title else 0.24, margin_in + 0.05
    width_in, height_in = margin_in + 0.15 + body_in + right_in, top_in + body_in + bottom_in
    with paper_style():
        figure = new_figure(width_in, height_in)
        left_in = margin_in + 0.15
        axes = figure.add_axes((left_in / width_in, bottom_in / height_in, body_in / width_in, body_in / height_in))
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for row, column in np.ndindex(*confusion.shape):
            if confusion[row, column]:
                _write_cell(axes, row, column, float(share[row, column]))
        axes.set_xticks(np.arange(behaviours), ethogram.names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(np.arange(behaviours), ethogram.names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("observer")
        axes.set_xticks(np.arange(behaviours + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(behaviours + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#d8d8d8", linewidth=0.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.text(behaviours - 0.4, -0.6, "frames", va="bottom", fontsize=6.5, color=PALE_INK)
        for row, count in enumerate(frames.tolist()):
            axes.text(behaviours - 0.4, row, f"{count:,}", va="center", fontsize=6.5, color=PALE_INK)
        axes.text(-0.5, -0.6, "% of the observer's frames", va="bottom", fontsize=6.5, color=PALE_INK)
        if title:
            axes.set_title(title, fontsize=8, loc="left", pad=15)
    return figure


def fusion_sweep_figure(flow_weights: Sequence[float], accuracy: Sequence[float], headline: float) -> Any:
    """Return the curve of `draw_fusion_sweep` as a matplotlib figure."""
    _check_lengths(flow_weights, accuracy)
    per_cent = 100 * np.asarray(accuracy, dtype=np.float64)
    with paper_style():
        figure = new_figure(3.5, 2.6)
        axes = figure.add_axes((0.15, 0.21, 0.75, 0.69))
        axes.plot(flow_weights, per_cent, color=INK, linewidth=1.3, marker="o", markersize=3, clip_on=False)
        dashed = 100 * headline
        axes.axhline(dashed, color=PALE_INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
        low, high = min(per_cent.min(), dashed), max(per_cent.max(), dashed)
        span = max(float(high - low), 1.0)
        axes.set_ylim(low - 0.3 * span, high + 0.2 * span)
        axes.text(
            0.5,
            0.03,
            f"dashed: {dashed:.1f} %, weights chosen without these videos",
            transform=axes.transAxes,
            ha="center",
            va="bottom",
            fontsize=6.5,
            color=PALE_INK,
        )
        best = int(per_cent.argmax())
        at = (float(flow_weights[best]), float(per_cent[best]))
        axes.plot(*at, marker="o", markersize=7, markerfacecolor="none", color=INK, clip_on=False)
        side = "left" if at[0] < 0.1 else "right" if at[0] > 0.9 else "center"
        axes.annotate(f"{at[1]:.1f} %", at, textcoords="offset points", xytext=(0, 7), ha=side, fontsize=7)
        axes.set_title("tried on the test videos themselves: optimistic", fontsize=8, loc="left")
        axes.set_ylabel("accuracy, %")
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0\nRGB alone", "0.2", "0.4", "0.6", "0.8", "1\nflow alone"])
        axes.set_xlabel("weight of flow", labelpad=-6)
    return figure


def behaviour_sweep_figure(flow_weights: Sequence[float], recall: Mapping[str, Sequence[float | None]]) -> Any:
    """Return the panels of `draw_behaviour_sweep` as a matplotlib figure."""
    _check_lengths(flow_weights, *recall.values())
    columns = min(4, max(1, len(recall)))
    rows = max(1, -(-len(recall) // columns))
    behaviours = ethogram_from_names(list(recall)).behaviours if recall else ()
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, 0.65 + 1.4 * rows)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for axes, behaviour in zip(panels, behaviours, strict=False):
            values = np.array([math.nan if value is None else 100 * value for value in recall[behaviour.name]])
            axes.set_title(behaviour.name, fontsize=8, loc="left")
            if np.isnan(values).all():
                axes.text(0.5, 50, "no frames", ha="center", va="center", color=PALE_INK, fontsize=7)
                continue
            line = tuple(edge_colour(behaviour.colour))
            axes.plot(flow_weights, values, color=line, linewidth=1.1, clip_on=False)
            axes.plot(
                flow_weights, values, "o", markersize=3, color=behaviour.colour, markeredgecolor=line, clip_on=False
            )
        for axes in figure.axes[len(behaviours) :]:
            axes.set_visible(False)
        for axes in figure.axes[max(0, len(behaviours) - columns) :]:
            axes.tick_params(labelbottom=True)
        figure.axes[0].set_ylim(0, 105)
        figure.axes[0].set_yticks([0, 25, 50, 75, 100])
        figure.axes[0].set_xlim(-0.03, 1.03)
        figure.axes[0].set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "0.2", "0.4", "0.6", "0.8", "1"])
        figure.supxlabel("weight of flow (0: RGB alone, 1: flow alone)", fontsize=8, y=0.02)
        figure.supylabel("recall, %", fontsize=8, x=0.01)
        height_in = 0.65 + 1.4 * rows
        figure.subplots_adjust(
            left=0.075, right=0.985, top=1 - 0.25 / height_in, bottom=0.5 / height_in, wspace=0.12, hspace=0.42
        )
    return figure


def _check_lengths(flow_weights: Sequence[float], *scores: Sequence[float | None]) -> None:
    lengths = {len(flow_weights), *(len(values) for values in scores)}
    if len(lengths) != 1 or not len(flow_weights):
        raise InputError(f"expected a score for every fusion weight, found lengths {sorted(lengths)}.")


def _write_cell(axes: Any, row: int, column: int, share: float) -> None:
    text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
    colour = "white" if share > _WHITE_TEXT_ABOVE else INK
    axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
