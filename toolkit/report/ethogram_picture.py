"""The ethogram as a picture: when the mouse did what, one row per behaviour, and when nobody could see.

The rows make it readable without colour; every bar has a dark edge. A pixel column shows how much of its time is the
behaviour's, so that a day of short bouts looks neither empty nor full.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.ethogram import Ethogram
from toolkit.report.clock import LabClock
from toolkit.report.figures import (
    DPI,
    HATCH,
    INK,
    PAGE_WIDTH_IN,
    PALE_INK,
    draw_dark_bar,
    edge_colour,
    new_figure,
    paper_style,
    rgb,
)
from toolkit.report.record import Bouts, CageRecord
from toolkit.report.time_axis import time_ticks
from toolkit.report.time_budget import TimeBudget, bout_spans, time_within
from toolkit.report.wording import moment

_ROW_PX = 72
_EDGE_PX = 3
_FAINTEST = 0.35
"""Opacity of the shortest bout: a single frame of a day must not vanish."""


def draw_ethogram(record: CageRecord, budget: TimeBudget, clock: LabClock, *, truth: Bouts | None = None) -> Any:
    """Return the ethogram as a matplotlib figure.

    Parameters
    ----------
    record
        Gives the bouts and the unobserved time.
    budget
        Gives each behaviour's share of observed time.
    clock
        Gives the axis its zone, and the light phases.
    truth
        An observer's bouts, drawn as a black line below the behaviour's own.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    ethogram = record.ethogram
    rows = len(ethogram)
    left_in = 0.35 + 0.062 * max(len(name) for name in ethogram.names)
    span = (record.start_ns, max(record.stop_ns, record.start_ns + 1))
    ticks, labels = time_ticks(*span, clock.zone if record.dated else None)
    right_in, top_in, bottom_in = 0.55, 0.34, 0.74 if any("\n" in label for label in labels) else 0.62
    body_in = rows * _ROW_PX / DPI
    height_in = top_in + body_in + bottom_in
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        body = (left_in, bottom_in, PAGE_WIDTH_IN - left_in - right_in, body_in)
        size = (PAGE_WIDTH_IN, height_in, PAGE_WIDTH_IN, height_in)
        axes = figure.add_axes([part / whole for part, whole in zip(body, size, strict=True)])
        _draw_unobserved(axes, record, span)
        picture = _raster(ethogram, record.bouts, truth, span, round(body[2] * DPI))
        axes.imshow(
            picture, extent=(0, 1, rows, 0), aspect="auto", interpolation="none", interpolation_stage="rgba", zorder=2
        )
        axes.set_xticks([_position(tick, span) for tick in ticks], labels)
        _draw_axes(axes, ethogram, budget, span, clock if record.dated else None)
        if record.dated:
            draw_dark_bar(axes, [(_position(a, span), _position(b, span)) for a, b in clock.dark_spans(*span).tolist()])
        _draw_key(figure, hatched=bool(record.unobserved), truth=truth is not None, bottom=0.14 / height_in)
    return figure


def occupancy(bouts: Bouts, span: tuple[int, int], columns: int) -> NDArray[np.float64]:
    """Return (columns,) float64: the fraction of each column's time, from span[0] to span[1], that is in a bout."""
    borders = span[0] + np.linspace(0, span[1] - span[0], columns + 1).astype(np.int64)
    fraction: NDArray[np.float64] = time_within(bout_spans(bouts), borders) / np.diff(borders).clip(1)
    return fraction


def _raster(
    ethogram: Ethogram, bouts: Bouts, truth: Bouts | None, span: tuple[int, int], columns: int
) -> NDArray[np.float64]:
    """Return the (K * _ROW_PX, columns, 4) RGBA picture of all bars, 0 to 1."""
    picture = np.zeros((len(ethogram), _ROW_PX, columns, 4))
    own = slice(10, 62) if truth is None else slice(8, 46)
    for index, behaviour in enumerate(ethogram.behaviours):
        share = occupancy(bouts.of(index), span, columns)
        picture[index, own] = _bar(share, behaviour.colour, own.stop - own.start)
        if truth is not None:
            picture[index, 50:60] = _bar(occupancy(truth.of(index), span, columns), "#000000", 10)
    return picture.reshape(len(ethogram) * _ROW_PX, columns, 4)


def _bar(share: NDArray[np.float64], colour: str, height_px: int) -> NDArray[np.float64]:
    bar = np.empty((height_px, len(share), 4))
    bar[..., :3] = rgb(colour)
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


def _draw_unobserved(axes: Any, record: CageRecord, span: tuple[int, int]) -> None:
    # Thousands of short ones are one hatched area each: those that a pixel cannot part are drawn as one.
    runs: list[tuple[float, float, str]] = []
    for gap in record.unobserved:
        start, stop = _position(gap.start_ns, span), _position(gap.stop_ns, span)
        if runs and start - runs[-1][1] < 0.0005 and gap.reason == runs[-1][2]:
            runs[-1] = (runs[-1][0], stop, gap.reason)
        else:
            runs.append((start, stop, gap.reason))
    for start, stop, reason in runs:
        axes.axvspan(start, max(stop, start + 0.001), zorder=1, **HATCH)
        if stop - start > 0.035:
            text = axes.text(
                (start + stop) / 2,
                len(record.ethogram) / 2,
                reason.replace("-", " "),
                rotation=90,
                ha="center",
                va="center",
                fontsize=7,
                zorder=3,
            )
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})


def _draw_axes(
    axes: Any, ethogram: Ethogram, budget: TimeBudget, span: tuple[int, int], clock: LabClock | None
) -> None:
    rows = len(ethogram)
    axes.set_xlim(0, 1)
    axes.set_ylim(rows, 0)
    axes.set_yticks(np.arange(rows) + 0.5, ethogram.names)
    axes.tick_params(axis="y", length=0, pad=4)
    for border in range(1, rows):
        axes.axhline(border, color="#d0d0d0", linewidth=0.4, zorder=1.5)
    axes.set_xlabel(axis_label(span, clock))
    # Above the bar of the light phases.
    axes.text(1.06, -0.4, "% of observed", ha="right", va="bottom", fontsize=6.5, color=PALE_INK)
    for row, line in enumerate(budget.behaviours):
        share = f"{line.percent_observed:.1f}" if line.bouts else "–"
        axes.text(1.06, row + 0.5, share, ha="right", va="center", color=INK if line.bouts else PALE_INK)


def axis_label(span: tuple[int, int], clock: LabClock | None) -> str:
    """Return what a time axis is of; without a clock it counts from the recording's start."""
    if clock is None:
        return "time since the recording's first frame, h:mm:ss"
    first, last = moment(span[0], clock.zone), moment(span[1], clock.zone)
    days = f"{first:%Y-%m-%d}" if first.date() == last.date() else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return f"time of day, {clock.name} ({days})"


def _draw_key(figure: Any, *, hatched: bool, truth: bool, bottom: float) -> None:
    from matplotlib.patches import Patch

    keys: list[Any] = []
    if truth:
        keys += [Patch(facecolor="#c8c8c8", edgecolor="#555555", linewidth=0.6, label="log")]
        keys += [Patch(facecolor="black", label="observer")]
    if hatched:
        keys += [Patch(**HATCH, label="unobserved")]
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
