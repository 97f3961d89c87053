"""Pictures of scores, from plain arrays: a confusion matrix, and accuracy over the fusion's weight."""

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


def draw_confusion(confusion: NDArray[np.integer], ethogram: Ethogram, path: Path) -> None:
    """Write a confusion matrix as PNG.

    Parameters
    ----------
    confusion
        (K, K) frames, rows = truth.
    ethogram
        Names of the K behaviours.
    path
        Written whole or not at all.

    Raises
    ------
    InputError
        If the matrix is not (K, K).
    MissingDependency
        If matplotlib is not installed.
    """
    save_png(confusion_figure(confusion, ethogram), path)


def draw_fusion_sweep(
    flow_weights: Sequence[float],
    accuracy: Sequence[float],
    recall: Mapping[str, Sequence[float | None]],
    path: Path,
) -> None:
    """Write the scores of the fused streams over the weight of flow as PNG.

    Parameters
    ----------
    flow_weights
        M weights of the flow stream, 0 (RGB alone) to 1 (flow alone), increasing.
    accuracy
        M fractions of right frames, 0 to 1.
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
    save_png(fusion_sweep_figure(flow_weights, accuracy, recall), path)


def confusion_figure(confusion: NDArray[np.integer], ethogram: Ethogram) -> Any:
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
    right_in, top_in, bottom_in = 0.62, 0.24, margin_in + 0.05
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
    return figure


def fusion_sweep_figure(
    flow_weights: Sequence[float],
    accuracy: Sequence[float],
    recall: Mapping[str, Sequence[float | None]],
) -> Any:
    """Return the curves of `draw_fusion_sweep` as a matplotlib figure: accuracy left, recalls right."""
    lengths = {len(flow_weights), len(accuracy), *(len(values) for values in recall.values())}
    if len(lengths) != 1 or not flow_weights:
        raise InputError(
            f"expected an accuracy and each recall for every fusion weight, found lengths {sorted(lengths)}."
        )
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, 2.7)
        left = figure.add_axes((0.075, 0.2, 0.36, 0.68))
        _draw_accuracy(left, np.asarray(flow_weights), 100 * np.asarray(accuracy, dtype=np.float64))
        right = figure.add_axes((0.51, 0.2, 0.285, 0.68))
        _draw_recalls(right, flow_weights, recall)
        for axes in (left, right):
            axes.set_xlim(-0.03, 1.03)
            axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0\nRGB alone", "0.2", "0.4", "0.6", "0.8", "1\nflow alone"])
            axes.set_xlabel("weight of flow", labelpad=-6)
    return figure


def _draw_accuracy(axes: Any, weights: NDArray[np.float64], per_cent: NDArray[np.float64]) -> None:
    axes.plot(weights, per_cent, color=INK, linewidth=1.3, marker="o", markersize=3, clip_on=False)
    span = max(float(np.ptp(per_cent)), 1.0)
    axes.set_ylim(per_cent.min() - 0.15 * span, per_cent.max() + 0.25 * span)
    best = int(per_cent.argmax())
    at = (float(weights[best]), float(per_cent[best]))
    axes.plot(*at, marker="o", markersize=7, markerfacecolor="none", color=INK, clip_on=False)
    side = "left" if at[0] < 0.1 else "right" if at[0] > 0.9 else "center"
    axes.annotate(f"{at[1]:.1f} %", at, textcoords="offset points", xytext=(0, 7), ha=side, fontsize=7)
    axes.set_title("all frames", fontsize=8, loc="left")
    axes.set_ylabel("accuracy, %")


def _draw_recalls(axes: Any, weights: Sequence[float], recall: Mapping[str, Sequence[float | None]]) -> None:
    if not recall:
        axes.axis("off")
        return
    # Markers and dashes tell the lines apart where colour is not printed.
    markers, dashes = "os^Dv<>P", ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
    for index, behaviour in enumerate(ethogram_from_names(list(recall)).behaviours):
        values = [math.nan if value is None else 100 * value for value in recall[behaviour.name]]
        axes.plot(
            weights,
            values,
            label=behaviour.name,
            color=tuple(edge_colour(behaviour.colour)),
            linestyle=dashes[index % len(dashes)],
            linewidth=1,
            marker=markers[index % len(markers)],
            markersize=3.2,
            markerfacecolor=behaviour.colour,
            markeredgewidth=0.5,
            clip_on=False,
        )
    axes.set_title("each behaviour", fontsize=8, loc="left")
    axes.set_ylabel("recall, %")
    axes.legend(
        loc="center left", bbox_to_anchor=(1.03, 0.5), frameon=False, fontsize=7, handlelength=2.6, labelspacing=0.6
    )


def _write_cell(axes: Any, row: int, column: int, share: float) -> None:
    text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
    colour = "white" if share > _WHITE_TEXT_ABOVE else INK
    axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
