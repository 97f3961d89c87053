"""The tables of a training, read by TensorBoard's own reader and by csv."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from toolkit.errors import InputError
from toolkit.train.metrics import EpochMetrics, MetricsLog, read_metrics

ROWS = [
    EpochMetrics(epoch, 1 / epoch, 0.5, 1e-3 * epoch, 2.0, 10.0, validation_loss=0.75, validation_accuracy=0.25 * epoch)
    for epoch in (1, 2, 3)
]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, []) as log:
        log.append(ROWS[0])
        log.append(ROWS[1])
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    accuracies = [(event.step, event.value) for event in board.Scalars("validation_accuracy")]
    assert accuracies == [(1, 0.25), (2, 0.5)]
    assert [event.value for event in board.Scalars("learning_rate")] == pytest.approx([1e-3, 2e-3])


def test_epochs_done_again_supersede_what_tensorboard_had(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, []) as log:
        log.append(ROWS[0])
        log.append(ROWS[1])
    # Killed before the second epoch's state was kept: it is done again.
    with MetricsLog(tmp_path, ROWS[:1]) as log:
        log.append(ROWS[1])
        log.append(ROWS[2])
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3]
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_the_table_is_read_again(tmp_path: Path) -> None:
    plain = EpochMetrics(1, 0.5, 0.5, 1e-3, 2.0, 10.0)
    with MetricsLog(tmp_path, []) as log:
        log.append(plain)
    assert read_metrics(tmp_path) == (plain,)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,much\n")
    with pytest.raises(InputError, match=r"metrics.csv: missing or damaged"):
        read_metrics(tmp_path)
