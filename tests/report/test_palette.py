"""Colours for readers who see two kinds of cone, and for print without colour.

The simulations follow Vienot, Brettel and Mollon 1999; distances are CIE 1976 in L*a*b*, where about 2.3 is just seen.
No picture rests on colour alone (a behaviour has its row, panel or name), so this is what colour adds.
"""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import pytest

from toolkit.ethogram import MOUSE_HOME_CAGE, ethogram_from_names
from toolkit.report.figures import edge_colour, relative_luminance, rgb

# Linear RGB to linear RGB: what a viewer without red or green cones takes for the same colour.
DEUTERANOPIA = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
PROTANOPIA = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])


def seen(colours: tuple[str, ...], matrix: np.ndarray) -> np.ndarray:
    """Return (N, 3) L*a*b* of colours as a viewer sees them."""
    encoded = np.array([rgb(colour) for colour in colours])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    flat = (linear @ matrix.T).clip(0, 1)
    back = np.where(flat <= 0.0031308, flat * 12.92, 1.055 * flat ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(back[np.newaxis].astype(np.float32), cv2.COLOR_RGB2LAB)[0]


@pytest.mark.parametrize("matrix", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all cones", "no green", "no red"])
def test_behaviours_are_told_apart(matrix: np.ndarray) -> None:
    lab = seen(MOUSE_HOME_CAGE.colours, matrix)
    neighbours = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert neighbours.min() > 12
    # The nearest are groom and rest to a viewer without green cones.
    assert min(np.linalg.norm(lab[a] - lab[b]) for a, b in combinations(range(8), 2)) > 7


def test_every_bar_has_an_edge_that_shows_without_colour() -> None:
    sixteen = ethogram_from_names([f"behaviour-{index}" for index in range(16)])
    for colour in (*MOUSE_HOME_CAGE.colours, *sixteen.colours):
        edge = "#" + "".join(f"{round(255 * channel):02x}" for channel in edge_colour(colour))
        # WCAG 2 asks for a contrast of 3 between parts of a picture and what is around them.
        assert 1.05 / (relative_luminance(edge) + 0.05) > 3
