from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.report.logs import bouts
from toolkit.errors import InputError
from toolkit.ethogram import MOUSE_HOME_CAGE, ethogram_from_names
from toolkit.report.bout_length_picture import draw_bout_lengths
from toolkit.report.crossval_picture import (
    behaviour_sweep_figure,
    confusion_figure,
    draw_behaviour_sweep,
    draw_confusion,
    draw_fusion_sweep,
    fusion_sweep_figure,
)


def borders_are_white(path: Path) -> bool:
    picture = cv2.imread(str(path))
    assert picture is not None
    return bool((picture[[0, -1]] == 255).all() and (picture[:, [0, -1]] == 255).all())


def test_confusion_shows_shares_of_the_truth(tmp_path: Path) -> None:
    confusion = np.array([[30, 10], [0, 500]])
    ethogram = ethogram_from_names(["rest", "walk"])
    texts = [text.get_text() for text in confusion_figure(confusion, ethogram).axes[0].texts]
    assert texts[:3] == ["75", "25", "100"]
    assert {"40", "500"} <= set(texts)
    draw_confusion(confusion, ethogram, tmp_path / "confusion.png")
    assert borders_are_white(tmp_path / "confusion.png")
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]


def test_confusion_of_an_absent_behaviour_is_empty() -> None:
    figure = confusion_figure(np.diag([5, 0]), ethogram_from_names(["rest", "walk"]))
    assert figure.axes[0].images[0].get_array().tolist() == [[1, 0], [0, 0]]


def test_refuses_a_matrix_of_another_ethogram(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"8 x 8 behaviours, found shape \(2, 2\)"):
        draw_confusion(np.eye(2, dtype=int), MOUSE_HOME_CAGE, tmp_path / "confusion.png")


def test_sweep_marks_the_best_weight_and_the_headline(tmp_path: Path) -> None:
    weights, accuracy = [0.0, 0.5, 1.0], [0.8, 0.9, 0.85]
    (axes,) = fusion_sweep_figure(weights, accuracy, 0.875).axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0, 80], [0.5, 90], [1, 85]])
    assert set(axes.lines[1].get_ydata()) == {87.5}
    texts = [text.get_text() for text in axes.texts]
    assert "90.0 %" in texts
    assert any("87.5 %, weights chosen without these videos" in text for text in texts)
    assert "optimistic" in axes.get_title(loc="left")
    draw_fusion_sweep(weights, accuracy, 0.875, tmp_path / "sweep.png")
    assert borders_are_white(tmp_path / "sweep.png")
    with pytest.raises(InputError, match=r"found lengths \[2, 3\]"):
        fusion_sweep_figure(weights, accuracy[:2], 0.875)


def test_each_behaviours_sweep_has_its_panel(tmp_path: Path) -> None:
    weights, recall = [0.0, 0.5, 1.0], {"rest": [0.9, 0.8, 0.7], "hang": [None, None, None]}
    rest, hang = behaviour_sweep_figure(weights, recall).axes
    np.testing.assert_allclose(rest.lines[0].get_xydata(), [[0, 90], [0.5, 80], [1, 70]])
    assert [text.get_text() for text in hang.texts] == ["no frames"]
    all_eight = {name: [0.5, 0.6, 0.4] for name in MOUSE_HOME_CAGE.names}
    draw_behaviour_sweep(weights, all_eight, tmp_path / "sweep.png")
    assert borders_are_white(tmp_path / "sweep.png")
    with pytest.raises(InputError, match=r"found lengths \[2, 3\]"):
        behaviour_sweep_figure(weights, {"rest": [0.9, 0.8]})


def test_histograms_count_every_bout() -> None:
    table = bouts((6, 0, 0.033), (6, 1, 2), (6, 3, 13), (6, 20, 30.000000001))
    rest, walk = draw_bout_lengths(table, MOUSE_HOME_CAGE).axes[6:8]
    assert sum(patch.get_height() for patch in rest.patches) == 4
    assert [text.get_text() for text in walk.texts] == ["no bouts"]
    assert draw_bout_lengths(bouts(), ethogram_from_names(["rest"])).axes
