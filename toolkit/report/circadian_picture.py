"""A cage's days under each other (actogram), and its mean day (circadian profile), over Zeitgeber or clock time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.ethogram import Ethogram
from toolkit.report.circadian import DayGrid, Profile, activity
from toolkit.report.clock import LabClock
from toolkit.report.figures import (
    GROUP_INKS,
    HATCH,
    INK,
    MARKERS,
    PAGE_WIDTH_IN,
    PALE_INK,
    draw_dark_bar,
    edge_colour,
    new_figure,
    paper_style,
)
from toolkit.report.wording import moment

_DARK = {"facecolor": "#e6e6e6", "edgecolor": "none"}
_COLUMNS = 4


def draw_actogram(grid: DayGrid, inactive: list[int], clock: LabClock) -> Any:
    """Return the double-plotted actogram: each line is a day and the next one; bars are the share of active time.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    active = activity(grid, inactive)
    days, bins = active.shape
    line_in = float(np.clip(6.5 / days, 0.11, 0.32))
    left_in, right_in, top_in, bottom_in = 0.75, 0.15, 0.3, 0.5
    height_in = top_in + days * line_in + bottom_in
    double = np.concatenate([active, np.vstack([active[1:], np.full((1, bins), np.nan)])], axis=1)
    beyond = np.zeros(double.shape, bool)
    beyond[-1, bins:] = True
    hours = np.arange(2 * bins + 1) * grid.bin_h
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        box = (left_in, bottom_in, PAGE_WIDTH_IN - left_in - right_in, days * line_in)
        axes = figure.add_axes([a / b for a, b in zip(box, (PAGE_WIDTH_IN, height_in) * 2, strict=True)])
        dark = _dark_hours(clock, 48)
        for start, stop in dark:
            axes.axvspan(start, stop, zorder=0, **_DARK)
        for day in range(days):
            base = days - 1 - day
            _hatch_unseen(axes, np.isnan(double[day]) & ~beyond[day], hours, base)
            heights = base + 0.92 * np.nan_to_num(double[day])
            axes.fill_between(hours[:-1], base, heights, step="post", color=INK, linewidth=0, zorder=2)
            axes.axhline(base, color="#999999", linewidth=0.3, zorder=3)
        axes.set_xlim(0, 48)
        axes.set_ylim(0, days)
        axes.set_xticks(range(0, 49, 6), [str(hour % 24) for hour in range(0, 49, 6)])
        axes.set_xlabel(_hours_label(clock))
        shown = [day for day in range(days) if day % max(1, -(-days // 31)) == 0]
        # Names of days need room: with thin lines, every second.
        step = 1 if line_in >= 0.13 else 2
        names = [f"{moment(int(grid.day_starts[day]), clock.zone):%d %b}" for day in shown[::step]]
        axes.set_yticks([days - 0.5 - day for day in shown[::step]], names, fontsize=6.5)
        axes.tick_params(axis="y", length=0)
        draw_dark_bar(axes, dark, whole=(0, 48)) if days >= 4 else None
    return figure


def draw_profile(
    profiles: Sequence[tuple[str, Profile]], ethogram: Ethogram, clock: LabClock, *, spread: str = "SD over days"
) -> Any:
    """Return the mean day: a panel per behaviour, a line per profile, with its spread where there is a single one.

    Parameters
    ----------
    profiles
        With their names; groups differ by marker and grey.
    spread
        What the standard deviation is over.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    columns = min(_COLUMNS, len(ethogram))
    rows = -(-len(ethogram) // columns)
    height_in = 0.75 + 1.15 * rows
    with paper_style():
        figure = new_figure(PAGE_WIDTH_IN, height_in)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for index, axes in enumerate(grid.ravel()):
            if index >= len(ethogram):
                axes.axis("off")
                continue
            for start, stop in _dark_hours(clock, 24):
                axes.axvspan(start, stop, zorder=0, **_DARK)
            for at, (name, profile) in enumerate(profiles):
                _draw_line(axes, profile, index, at, name, ethogram.colours[index] if len(profiles) == 1 else None)
            axes.set_title(ethogram.names[index], fontsize=8, loc="left", pad=4)
            axes.set_xlim(0, 24)
            axes.set_ylim(0, None)
            axes.set_xticks(range(0, 25, 6))
            axes.tick_params(labelsize=7, labelbottom=index + columns >= len(ethogram))
            axes.locator_params(axis="y", nbins=4)
        figure.supxlabel(_hours_label(clock), fontsize=8, y=0.01)
        figure.supylabel("% of observed time", fontsize=8, x=0.005)
        figure.subplots_adjust(
            left=0.075, right=0.985, top=1 - 0.4 / height_in, bottom=0.45 / height_in, wspace=0.3, hspace=0.42
        )
        _draw_profile_key(figure, grid.ravel()[0], profiles, spread)
    return figure


def _draw_line(axes: Any, profile: Profile, index: int, at: int, name: str, colour: str | None) -> None:
    middle = (np.arange(len(profile.mean)) + 0.5) * profile.bin_h
    mean, sd = profile.mean[:, index], np.nan_to_num(profile.sd[:, index])
    if colour is not None:
        low, high = (mean - sd).clip(0), mean + sd
        axes.fill_between(middle, low, high, facecolor=colour, alpha=0.45, edgecolor="none", zorder=1)
        axes.plot(middle, mean, color=tuple(edge_colour(colour)), linewidth=1.2, zorder=3, label=name)
        return
    ink, marker = GROUP_INKS[at % len(GROUP_INKS)], MARKERS[at % len(MARKERS)]
    axes.fill_between(middle, (mean - sd).clip(0), mean + sd, facecolor=ink, alpha=0.13, edgecolor="none", zorder=1)
    axes.plot(
        middle,
        mean,
        color=ink,
        linewidth=0.9,
        marker=marker,
        markersize=2.8,
        markevery=3,
        zorder=3,
        label=name,
        linestyle=("-", "--", "-.", ":")[at % 4],
    )


def _draw_profile_key(figure: Any, axes: Any, profiles: Sequence[tuple[str, Profile]], spread: str) -> None:
    text = f"shaded: mean ± {spread}"
    if len(profiles) > 1:
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="upper left",
            bbox_to_anchor=(0.06, 1.0),
            frameon=False,
            fontsize=7,
            ncols=min(4, len(profiles)),
            handlelength=3,
        )
    figure.text(0.985, 0.995, text, ha="right", va="top", fontsize=6.5, color=PALE_INK)


def _hatch_unseen(axes: Any, unseen: NDArray[np.bool_], hours: NDArray[np.float64], base: int) -> None:
    edges = np.diff(np.r_[0, unseen.astype(int), 0])
    for start, stop in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        axes.fill_between([hours[start], hours[stop]], base, base + 1, zorder=1, **{**HATCH, "linewidth": 0})


def _dark_hours(clock: LabClock, until: int) -> list[tuple[float, float]]:
    light_h = clock.light_hours()
    if light_h is None:
        return []
    return [(day + light_h, float(day + 24)) for day in range(0, until, 24)]


def _hours_label(clock: LabClock) -> str:
    return "Zeitgeber time, h (0: lights on)" if clock.lights else f"clock time, h ({clock.name})"
