from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.report.test_crossval_picture import borders_are_white
from toolkit.errors import InputError
from toolkit.report.score_pictures import (
    bout_scores_figure,
    draw_bout_scores,
    draw_paired_accuracy,
    draw_reliability,
    paired_figure,
    reliability_figure,
)


def test_reliability_shows_accuracy_and_how_many_frames(tmp_path: Path) -> None:
    panels = {"before": ([0, 30, 10], [None, 0.5, 0.9], 0.123), "after": ([10, 20, 10], [0.2, 0.5, 0.8], 0.02)}
    above, _, below, _ = reliability_figure(panels).axes
    heights = [bar.get_height() for bar in above.patches]
    assert np.isnan(heights[0])
    assert heights[1:] == [0.5, 0.9]
    assert [bar.get_x() for bar in above.patches] == pytest.approx([0, 1 / 3, 2 / 3])
    assert [text.get_text() for text in above.texts] == ["ECE 12.3 %"]
    assert [bar.get_height() for bar in below.patches] == [0, 75, 25]
    draw_reliability(panels, tmp_path / "reliability.png")
    assert borders_are_white(tmp_path / "reliability.png")
    with pytest.raises(InputError, match="number of frames and an accuracy each"):
        reliability_figure({"before": ([1, 2], [0.5], None)})


@pytest.mark.parametrize("groups", [1, 12, 40])
def test_every_group_has_a_line_and_the_mean_another(tmp_path: Path, groups: int) -> None:
    values = {f"group{i}": {"RGB alone": 0.5 + i / 100, "fused and smoothed": 0.6} for i in range(groups)}
    (axes,) = paired_figure(values).axes
    assert len(axes.lines) == groups + 1
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [50, 60])
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), [50 + (groups - 1) / 2, 60])
    draw_paired_accuracy(values, tmp_path / "paired.png")
    assert borders_are_white(tmp_path / "paired.png")


def test_groups_need_the_same_methods() -> None:
    for groups in ({}, {"a": {"rgb": 0.5}, "b": {"flow": 0.5}}):
        with pytest.raises(InputError, match="same methods"):
            paired_figure(groups)


def test_bouts_are_drawn_over_the_overlap(tmp_path: Path) -> None:
    f1 = {"raw": [0.5, 0.4, None], "processed": [0.8, 0.7, 0.6]}
    (axes,) = bout_scores_figure([0.1, 0.5, 0.75], f1).axes
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.1, 0.8], [0.5, 0.7], [0.75, 0.6]])
    draw_bout_scores([0.1, 0.5, 0.75], f1, tmp_path / "bouts.png")
    assert borders_are_white(tmp_path / "bouts.png")
    with pytest.raises(InputError, match="each of 2 overlaps"):
        bout_scores_figure([0.1, 0.5], f1)
