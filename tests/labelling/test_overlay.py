"""What is drawn is what is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from toolkit.behaviour_log import Reason
from toolkit.bouts import NO_LABEL
from toolkit.ethogram import MOUSE_HOME_CAGE, Ethogram
from toolkit.flow import PARAMETER_SETS
from toolkit.frames import Frame
from toolkit.labelling.overlay import PANEL_PX, VIEW_WIDTH_PX, OverlayVideo, WatchedFlow, overlay_picture
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


class FastRight:
    """Flow of 5 px per frame to the right everywhere: one full colour."""

    parameters = PARAMETER_SETS["paper"]
    implementation = "made up"

    def flow(self, previous: np.ndarray, current: np.ndarray) -> np.ndarray:
        return np.full((*current.shape, 2), (5.0, 0.0), dtype=np.float32)


@pytest.mark.parametrize("fps", [30, 60])
def test_frames_that_the_networks_do_not_see_show_the_flow_before(tmp_path: Path, fps: int) -> None:
    """Of networks at 15 frames per second, whose frames' times round to nanoseconds."""
    every = fps // 15
    flow, grey = WatchedFlow(FastRight()), FRAME[..., 0]
    with OverlayVideo(tmp_path / "overlay.mp4", Fraction(fps), MOUSE_HOME_CAGE, flow, 15.0) as overlay:
        for index in range(24):
            time_ns = round(index * 1e9 / fps)
            if index % every == 0 and index:
                flow.flow(grey, grey)
            overlay.admit(Frame(index, time_ns, FRAME))
            overlay.label([LabelledRow(index, time_ns, 1, PROBABILITIES, smoothed=1)])
        # Two kept frames are missing: what comes then begins a segment.
        late_ns = round((24 + 2 * every) * 1e9 / fps)
        overlay.admit(Frame(24, late_ns, FRAME))
        overlay.label([LabelledRow(24, late_ns, 1, PROBABILITIES, smoothed=1)])
        overlay.end()
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    inset = [picture[250:330, VIEW_WIDTH_PX + 40 : VIEW_WIDTH_PX + 120].mean() < 200 for picture in pictures]
    assert inset == [False] * every + [True] * (24 - every) + [False]
