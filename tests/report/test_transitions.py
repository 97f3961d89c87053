from __future__ import annotations

import numpy as np

from tests.report.logs import record
from toolkit.report.transition_picture import draw_transitions
from toolkit.report.transitions import transition_counts, transition_shares

DRINK, EAT, WALK = 0, 1, 7
# Unlabelled from 3 to 4; dark from 7 to 9.
FOUND = record(
    (DRINK, 0, 1), (EAT, 1, 2), (DRINK, 2, 3), (EAT, 4, 5), (WALK, 5, 6), (DRINK, 6, 7), (EAT, 9, 10),
    observed=[(0, 7), (9, 10)], gaps=[(7, 9, "dark")],
)  # fmt: skip


def test_only_bouts_that_touch() -> None:
    counts = transition_counts(FOUND)
    found = {(row, column): counts[row, column] for row, column in zip(*np.nonzero(counts), strict=True)}
    assert found == {(DRINK, EAT): 1, (EAT, DRINK): 1, (EAT, WALK): 1, (WALK, DRINK): 1}
    shares = transition_shares(counts)
    assert shares[EAT, [DRINK, WALK]].tolist() == [0.5, 0.5]
    assert np.isnan(shares[3]).all()


def test_the_picture_shows_numbers_and_arrows() -> None:
    matrix, graph = draw_transitions(transition_counts(FOUND), FOUND.ethogram).axes
    assert sorted(text.get_text() for text in matrix.texts) == ["100", "100", "50", "50"]
    assert "eat  (2)" in [label.get_text() for label in matrix.get_yticklabels()]
    arrows = [patch for patch in graph.patches if type(patch).__name__ == "FancyArrowPatch"]
    assert len(arrows) == 4
    rare = transition_counts(FOUND) * 100
    rare[EAT, 5] = 1
    arrows = [
        p for p in draw_transitions(rare, FOUND.ethogram).axes[1].patches if type(p).__name__ == "FancyArrowPatch"
    ]
    assert len(arrows) == 4
