from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from toolkit.bouts import Transitions
from toolkit.errors import ConfigError


def transitions(**changes: object) -> Transitions:
    fields: dict[str, object] = {
        "interval_ns": 33_333_333,
        "matrix": ((0.9, 0.1), (0.3, 0.7)),
        "prior": (0.5, 0.5),
        "changes": 10,
        "seconds": 60.0,
    }
    return Transitions.model_validate({**fields, **changes})


def test_every_third_frame_takes_three_steps_at_once() -> None:
    # The sum over both states between, by hand: two steps first.
    two = [[0.9 * 0.9 + 0.1 * 0.3, 0.9 * 0.1 + 0.1 * 0.7], [0.3 * 0.9 + 0.7 * 0.3, 0.3 * 0.1 + 0.7 * 0.7]]
    np.testing.assert_allclose(transitions().at(66_666_667), two)
    three = [[row[0] * 0.9 + row[1] * 0.3, row[0] * 0.1 + row[1] * 0.7] for row in two]
    np.testing.assert_allclose(transitions().at(100_000_000), three)
    np.testing.assert_allclose(transitions().at(33_333_333), [[0.9, 0.1], [0.3, 0.7]])


@pytest.mark.parametrize("interval_ns", [50_000_000, 10_000_000, 1])
def test_other_intervals_are_refused(interval_ns: int) -> None:
    with pytest.raises(ConfigError, match=r"for frames 0\.0333 s apart.*classify every n-th frame"):
        transitions().at(interval_ns)


@pytest.mark.parametrize(
    "changes",
    [
        {"matrix": ((1.0, 0.0), (0.3, 0.7))},
        {"matrix": ((0.9, 0.2), (0.3, 0.7))},
        {"matrix": ((0.9, 0.1),)},
        {"prior": (0.3, 0.3, 0.4)},
        {"prior": (float("nan"), 0.5)},
        {"changes": 0},
        {"surprise": 1},
    ],
)
def test_what_are_no_probabilities_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        transitions(**changes)
