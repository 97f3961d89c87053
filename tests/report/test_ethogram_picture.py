from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.report.logs import bouts, recorded
from toolkit.behaviour_log import Reason
from toolkit.ethogram import MOUSE_HOME_CAGE, Ethogram, ethogram_from_names
from toolkit.report.clock import LabClock
from toolkit.report.ethogram_picture import draw_ethogram, occupancy
from toolkit.report.figures import DPI, save_png
from toolkit.report.time_axis import MOST_TICKS, time_ticks
from toolkit.report.time_budget import time_budget

S = 1_000_000_000


def test_occupancy_is_each_columns_share() -> None:
    table = bouts((0, 5, 20), (0, 21, 22), (0, 39, 45))
    # Columns of 10: 5 of the first, all of the second, 1 of the third, 1 of the last (the rest lies outside).
    np.testing.assert_allclose(occupancy(table, (0, 40 * S), 4), [0.5, 1, 0.1, 0.1])
    assert occupancy(bouts(), (0, 40), 4).tolist() == [0, 0, 0, 0]


def draw(tmp_path: Path, labels: list[int], ethogram: Ethogram = MOUSE_HOME_CAGE, **options: object) -> np.ndarray:
    """Return the (H, W, 3) RGB picture of a log."""
    found = recorded(tmp_path, labels, ethogram=ethogram, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_png(draw_ethogram(found, time_budget(found), LabClock()), tmp_path / "ethogram.png")
    picture = cv2.imread(str(tmp_path / "ethogram.png"))
    assert picture is not None
    return picture[..., ::-1]


def rgb(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def test_each_behaviour_is_in_its_row_and_at_its_time(tmp_path: Path) -> None:
    # A second each: drink, eat, ... walk. The bars then make a descending staircase.
    picture = draw(tmp_path, [behaviour for behaviour in range(8) for _ in range(30)])
    assert picture.shape[1] == 7.2 * DPI
    centres = []
    for colour in MOUSE_HOME_CAGE.colours:
        rows, columns = np.nonzero((picture == rgb(colour)).all(axis=2))
        assert rows.size > 1000
        centres.append((np.median(rows), np.median(columns)))
    steps = np.diff(centres, axis=0)
    assert (steps > 0).all()
    # Equal lengths: equal steps right; equal rows: equal steps down.
    np.testing.assert_allclose(steps, np.broadcast_to(steps.mean(axis=0), steps.shape), atol=6)


def test_unobserved_time_is_hatched_not_white(tmp_path: Path) -> None:
    labels = [0] * 90
    with_gap = draw(tmp_path / "a", labels, gaps=[(30, 60, Reason.DARK)])
    without = draw(tmp_path / "b", labels)
    # The lowest row is empty but for the hatching, whose ground is not white.
    band = slice(560, 600), slice(1000, 1300)
    assert (without[band] == 255).mean() > 0.9
    assert (with_gap[band] == 255).mean() < 0.2


@pytest.mark.parametrize(
    "names", [("rest",), tuple(f"behaviour-{index}-of-a-large-ethogram" for index in range(40))], ids=["one", "forty"]
)
def test_any_ethogram_fits(tmp_path: Path, names: tuple[str, ...]) -> None:
    picture = draw(tmp_path, [0] * 20, ethogram_from_names(names))
    # Nothing is cut off at the picture's borders.
    assert (picture[[0, -1]] == 255).all()
    assert (picture[:, [0, -1]] == 255).all()


def test_a_single_frame_is_drawn(tmp_path: Path) -> None:
    picture = draw(tmp_path, [5])
    assert (picture == rgb(MOUSE_HOME_CAGE.colours[5])).all(axis=2).any()


@pytest.mark.parametrize("span_s", [0.03, 1, 7, 100, 5_000, 90_000, 1e6, 3e7])
def test_ticks_are_few_and_inside(span_s: float) -> None:
    start_ns = 1_763_900_001 * S + 123
    stop_ns = start_ns + int(span_s * S)
    ticks, labels = time_ticks(start_ns, stop_ns)
    assert len(ticks) == len(labels) <= MOST_TICKS + 1
    assert all(start_ns <= tick <= stop_ns for tick in ticks)


def test_ticks_name_the_day_where_it_changes() -> None:
    midnight = 1_763_942_400 * S  # 2025-11-24 00:00 UTC
    hour = 3600 * S
    ticks, labels = time_ticks(midnight - 2 * hour, midnight + 2 * hour)
    assert labels[0] == "22:00\n23 Nov"
    assert labels[ticks.index(midnight)] == "00:00\n24 Nov"
    assert labels[-1] == "02:00"
