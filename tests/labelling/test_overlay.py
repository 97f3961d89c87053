"""What is drawn is what is said."""

from __future__ import annotations

import numpy as np

from toolkit.behaviour_log import Reason
from toolkit.bouts import NO_LABEL
from toolkit.ethogram import MOUSE_HOME_CAGE, Ethogram
from toolkit.labelling.overlay import PANEL_PX, VIEW_WIDTH_PX, overlay_picture
from toolkit.labelling.rows import LabelledRow

FRAME = np.full((48, 64, 3), 77, dtype=np.uint8)
PROBABILITIES = np.array([0.0, 0.5, 0.25, 0.0, 0.05, 0.1, 0.1, 0.0], dtype=np.float32)


def of_colour(picture: np.ndarray, ethogram: Ethogram, name: str) -> np.ndarray:
    """Return the (rows, columns) of the panel that have a behaviour's colour."""
    colour = ethogram.colours[ethogram.index(name)]
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.argwhere((picture[:, VIEW_WIDTH_PX:] == rgb).all(axis=2))


def drawn(row: LabelledRow | None, flow: np.ndarray | None = None) -> np.ndarray:
    return overlay_picture(FRAME, flow, row, MOUSE_HOME_CAGE, 12, 400_000_000)


def test_bars_are_as_long_as_probabilities_and_the_headline_has_the_labels_colour() -> None:
    picture = drawn(LabelledRow(12, 400_000_000, 1, PROBABILITIES, smoothed=1))
    assert picture.shape[1] == VIEW_WIDTH_PX + PANEL_PX
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    assert (picture[:360, :VIEW_WIDTH_PX] == 77).all()
    widths = {}
    for name in ("eat", "groom"):
        at = of_colour(picture, MOUSE_HOME_CAGE, name)
        bar = at[at[:, 0] > 60]
        widths[name] = np.ptp(bar[:, 1])
        assert (at[:, 0] < 60).any() == (name == "eat")
    assert abs(widths["eat"] / widths["groom"] - 2) < 0.1
    assert not len(of_colour(picture, MOUSE_HOME_CAGE, "walk"))


def test_a_frame_without_a_label_has_no_bar_and_another_headline() -> None:
    dark = drawn(LabelledRow(12, 400_000_000, NO_LABEL, None, view=Reason.DARK))
    frozen = drawn(LabelledRow(12, 400_000_000, NO_LABEL, None, view=Reason.FROZEN))
    # The grey of rest is also that of the edges of letters.
    for name in set(MOUSE_HOME_CAGE.names) - {"rest"}:
        assert not len(of_colour(dark, MOUSE_HOME_CAGE, name))
    assert (dark != frozen).any()
    assert (dark != drawn(None)).any()


def test_flow_is_drawn_as_it_is() -> None:
    flow = np.zeros((100, 120, 3), dtype=np.uint8)
    flow[:] = (1, 2, 3)
    picture = drawn(LabelledRow(12, 400_000_000, 1, PROBABILITIES, smoothed=1), flow)
    assert np.count_nonzero((picture == (1, 2, 3)).all(axis=2)) > 0.95 * 100 * 120
