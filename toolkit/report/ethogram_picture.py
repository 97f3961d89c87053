"""The ethogram as a picture: when the mouse did what, one row per behaviour, and when nobody could see.

The rows make it readable without colour; every bar has a dark edge. A pixel column shows how much of its time is the
behaviour's, so that a day of short bouts looks neither empty nor full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import BehaviourLog
from toolkit.bouts import Bout
from toolkit.ethogram import Ethogram
from toolkit.report.figures import DPI, INK, PAGE_WIDTH_IN, PALE_INK, edge_colour, new_figure, paper_style
from toolkit.report.time_axis import time_ticks
from toolkit.report.time_budget import TimeBudget
from toolkit.report.wording import moment

_ROW_PX = 72
_EDGE_PX = 3
_FAINTEST = 0.35
"""Opacity of the shortest bout: a single frame of a day must not vanish."""
_HATCH: dict[str, Any] = {"facecolor": "#f4f4f4", "edgecolor": "#9a9a9a", "hatch": "//////", "linewidth": 0.6}


def draw_ethogram(
    log: BehaviourLog, budget: TimeBudget, bouts: Sequence[Bout], *, truth: Sequence[Bout] | None = None
) -> Any:
    """Return the ethogram as a matplotlib figure.

    Parameters
    ----------
    log
        Gives the ethogram and the unobserved time.
    budget
        Gives the time span and each behaviour's share of observed time.
    bouts
        In order, without overlaps.
    truth
        An observer's bouts, drawn as a black line below the behaviour's own.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    ethogram = log.ethogram
    rows = len(ethogram)
    left_in = 0.35 + 0.062 * max(len(name) for name in ethogram.names)
    span = (budget.start_ns, max(budget.stop_ns, budget.start_ns + 1))
    ticks, labels = time_ticks(*span)
    right_in, top_in, bottom_in = 0.55, 0.22, 0.74 if any("\n" in label for label in labels) else 0.62
    body_in = rows * _ROW_PX / DPI
    height_in = top_in + body_in + bottom_in
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        body = (left_in, bottom_in, PAGE_WIDTH_IN - left_in - right_in, body_in)
        size = (PAGE_WIDTH_IN, height_in, PAGE_WIDTH_IN, height_in)
        axes = figure.add_axes([part / whole for part, whole in zip(body, size, strict=True)])
        _draw_unobserved(axes, log, span)
        picture = _raster(ethogram, bouts, truth, span, round(body[2] * DPI))
        axes.imshow(
            picture, extent=(0, 1, rows, 0), aspect="auto", interpolation="none", interpolation_stage="rgba", zorder=2
        )
        axes.set_xticks([_position(tick, span) for tick in ticks], labels)
        _draw_axes(axes, ethogram, budget, span)
        _draw_key(figure, hatched=bool(log.unobserved), truth=truth is not None, bottom=0.14 / height_in)
    return figure


def occupancy(bouts: Sequence[Bout], span: tuple[int, int], columns: int) -> NDArray[np.float64]:
    """Return (columns,) float64: the fraction of each column's time, from span[0] to span[1], that is in a bout."""
    if not bouts:
        return np.zeros(columns)
    edges = np.array([[bout.start_ns - span[0], bout.stop_ns - span[0]] for bout in bouts], dtype=np.float64)
    before = np.concatenate([[0.0], np.cumsum(edges[:, 1] - edges[:, 0])])
    # Time in bouts up to x: level between bouts, rising within them.
    total = np.column_stack([before[:-1], before[1:]]).ravel()
    borders = np.linspace(0, span[1] - span[0], columns + 1)
    fraction: NDArray[np.float64] = np.diff(np.interp(borders, edges.ravel(), total)) / np.diff(borders)
    return fraction.clip(0, 1)


def _raster(
    ethogram: Ethogram, bouts: Sequence[Bout], truth: Sequence[Bout] | None, span: tuple[int, int], columns: int
) -> NDArray[np.float64]:
    """Return the (K * _ROW_PX, columns, 4) RGBA picture of all bars, 0 to 1."""
    picture = np.zeros((len(ethogram), _ROW_PX, columns, 4))
    own = slice(10, 62) if truth is None else slice(8, 46)
    for index, behaviour in enumerate(ethogram.behaviours):
        share = occupancy([bout for bout in bouts if bout.behaviour == index], span, columns)
        picture[index, own] = _bar(share, behaviour.colour, own.stop - own.start)
        if truth is not None:
            share = occupancy([bout for bout in truth if bout.behaviour == index], span, columns)
            picture[index, 50:60] = _bar(share, "#000000", 10)
    return picture.reshape(len(ethogram) * _ROW_PX, columns, 4)


def _bar(share: NDArray[np.float64], colour: str, height_px: int) -> NDArray[np.float64]:
    bar = np.empty((height_px, len(share), 4))
    bar[..., :3] = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    bar[:_EDGE_PX, :, :3] = bar[-_EDGE_PX:, :, :3] = edge_colour(colour)
    # A bout's ends are edged too, unless it is so short that only edge would be seen.
    inside = np.r_[False, share > 0.99, False]
    ends = inside[1:-1] & ~(inside[2:] & inside[:-2])
    wide = np.convolve(inside, np.ones(7), mode="same")[1:-1] >= 4
    bar[:, ends & wide, :3] = edge_colour(colour)
    bar[..., 3] = np.where(share > 0, _FAINTEST + (1 - _FAINTEST) * share, 0)
    return bar


def _position(time_ns: int, span: tuple[int, int]) -> float:
    return (time_ns - span[0]) / (span[1] - span[0])


def _draw_unobserved(axes: Any, log: BehaviourLog, span: tuple[int, int]) -> None:
    for gap in log.unobserved:
        start, stop = _position(gap.start_ns, span), _position(gap.stop_ns, span)
        axes.axvspan(start, max(stop, start + 0.001), zorder=1, **_HATCH)
        if stop - start > 0.035:
            text = axes.text(
                (start + stop) / 2,
                len(log.ethogram) / 2,
                gap.reason.value.replace("-", " "),
                rotation=90,
                ha="center",
                va="center",
                fontsize=7,
                zorder=3,
            )
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})


def _draw_axes(axes: Any, ethogram: Ethogram, budget: TimeBudget, span: tuple[int, int]) -> None:
    rows = len(ethogram)
    axes.set_xlim(0, 1)
    axes.set_ylim(rows, 0)
    axes.set_yticks(np.arange(rows) + 0.5, ethogram.names)
    axes.tick_params(axis="y", length=0, pad=4)
    for border in range(1, rows):
        axes.axhline(border, color="#d0d0d0", linewidth=0.4, zorder=1.5)
    first, last = moment(span[0]), moment(span[1])
    days = f"{first:%Y-%m-%d}" if first.date() == last.date() else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    axes.set_xlabel(f"time of day, UTC ({days})")
    axes.text(1.06, -0.15, "% of observed", ha="right", va="bottom", fontsize=6.5, color=PALE_INK)
    for row, line in enumerate(budget.behaviours):
        share = f"{line.percent_observed:.1f}" if line.bouts else "–"
        axes.text(1.06, row + 0.5, share, ha="right", va="center", color=INK if line.bouts else PALE_INK)


def _draw_key(figure: Any, *, hatched: bool, truth: bool, bottom: float) -> None:
    from matplotlib.patches import Patch

    keys: list[Any] = []
    if truth:
        keys += [Patch(facecolor="#c8c8c8", edgecolor="#555555", linewidth=0.6, label="log")]
        keys += [Patch(facecolor="black", label="observer")]
    if hatched:
        keys += [Patch(**_HATCH, label="unobserved")]
    if keys:
        figure.legend(
            handles=keys,
            loc="lower right",
            bbox_to_anchor=(0.995, bottom - 0.02),
            ncols=len(keys),
            frameon=False,
            fontsize=7,
            handlelength=1.4,
            columnspacing=1.2,
            borderaxespad=0,
        )
