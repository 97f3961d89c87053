"""What training videos say of how behaviours follow each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.annotations import UNLABELLED, AnnotatedDataset
from toolkit.errors import InputError
from toolkit.train.config import TrainConfig
from toolkit.train.dataset import prepare_dataset
from toolkit.train.transitions import (
    TRANSITIONS,
    learn_transitions,
    read_transitions,
    training_shares,
    write_transitions,
)

FLAT = np.ones(3)
INTERVAL_NS = 100_000_000


def labels(*runs: tuple[int, int]) -> NDArray[np.int8]:
    return np.concatenate([np.full(frames, label, dtype=np.int8) for label, frames in runs])


def test_by_hand() -> None:
    learned = learn_transitions([labels((0, 5), (1, 3), (0, 2)), labels((1, 4), (0, 1))], 3, INTERVAL_NS, FLAT)
    assert learned is not None
    assert (learned.changes, learned.seconds, learned.interval_ns) == (3, 1.5, INTERVAL_NS)
    # Stays: 0: 4 + 1 + 0, 1: 2 + 3; changes: 0 to 1 once, 1 to 0 twice. The imaginary bout: 10 stays over 3 changes,
    # and half a change to each of the others.
    stays = 10 / 3
    counts = [[5 + stays, 1.5, 0.5], [2.5, 5 + stays, 0.5], [0.5, 0.5, stays]]
    expected = [[count / sum(row) for count in row] for row in counts]
    np.testing.assert_allclose(learned.matrix, expected)
    np.testing.assert_allclose(learned.prior, [1 / 3] * 3)


def test_a_chain_is_found_again() -> None:
    """What a known chain's own course says of it, within what 60,000 steps can tell."""
    random = np.random.default_rng(0)
    true = np.array([[0.97, 0.02, 0.01], [0.05, 0.9, 0.05], [0.01, 0.09, 0.9]])
    course = [0]
    for draw in random.random(60_000):
        course.append(int(np.searchsorted(true[course[-1]].cumsum(), draw)))
    learned = learn_transitions([np.array(course, dtype=np.int8)], 3, INTERVAL_NS, FLAT)
    assert learned is not None
    np.testing.assert_allclose(learned.matrix, true, atol=0.01)


@pytest.mark.parametrize(
    "videos",
    [
        [],
        [labels((0, 40)), labels((1, 40))],
        # Clips beside each other in one video, but never touching.
        [labels((0, 20), (UNLABELLED, 5), (1, 20), (UNLABELLED, 5), (2, 20))],
        [labels((UNLABELLED, 40))],
        # One change was seen, but of three intervals one begins where nobody looked.
        [labels((0, 20), (1, 20), (UNLABELLED, 5), (2, 20))],
    ],
)
def test_clips_have_no_transitions(videos: list[NDArray[np.int8]]) -> None:
    assert learn_transitions(videos, 3, INTERVAL_NS, FLAT) is None


def test_frames_without_a_label_are_no_part_of_a_continuous_video() -> None:
    runs = [(t % 3, 4) for t in range(30)]
    whole = labels((UNLABELLED, 7), *runs[:15], (UNLABELLED, 5), *runs[15:], (UNLABELLED, 9))
    learned = learn_transitions([whole], 3, INTERVAL_NS, FLAT)
    assert learned is not None
    # 29 changes, of which the one over the hole was not seen; 120 frames carry a label.
    assert (learned.changes, learned.seconds) == (28, pytest.approx(12.0))


def test_networks_take_for_given_what_training_draws(squares: AnnotatedDataset, config: TrainConfig) -> None:
    videos = prepare_dataset(squares, config, workers=0).videos
    np.testing.assert_allclose(training_shares(videos, config, 4), 0.25)
    by_clip = config.model_copy(update={"sampling": "clip"})
    first = videos[0]
    # Three videos with a clip of each behaviour, and one of them without its first: 1 + 2 and 1 + 3 of 15.
    shorter = [type(first)(**{**vars(first), "intervals": first.intervals[1:]}), *videos[1:]]
    expected = np.full(4, 4 / 15)
    expected[first.labels[first.intervals[0][0]]] = 3 / 15
    np.testing.assert_allclose(training_shares(shorter, by_clip, 4), expected)


def test_a_run_keeps_them(squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path) -> None:
    data = prepare_dataset(squares, config, workers=0)
    write_transitions(tmp_path, data, data.videos, config)
    learned = read_transitions(tmp_path, data.sha256)
    assert learned.reason == ""
    assert learned.transitions is not None
    # Three videos of four bouts of 18 kept frames, 15 a second.
    assert (learned.transitions.changes, learned.transitions.interval_ns) == (9, 66_666_667)
    assert learned.transitions.seconds == pytest.approx(3 * 4 * 18 / 15)
    with pytest.raises(InputError, match="from another data set"):
        read_transitions(tmp_path, "0" * 64)
    (tmp_path / TRANSITIONS).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_transitions(tmp_path, data.sha256)


def test_an_earlier_run_says_that_it_has_none(tmp_path: Path) -> None:
    learned = read_transitions(tmp_path, "0" * 64)
    assert learned.transitions is None
    assert "before trainings counted" in learned.reason
