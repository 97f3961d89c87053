"""What a training says of each epoch, as a table and for TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.errors import InputError
from toolkit.files import atomic_write

METRICS, TENSORBOARD = "metrics.csv", "tensorboard"


@dataclass(frozen=True)
class EpochMetrics:
    """One row of ``metrics.csv``."""

    epoch: int
    """From 1."""
    loss: float
    """Mean cross-entropy over the epoch's training clips."""
    accuracy: float
    """Fraction of right training clips, before each step's update."""
    learning_rate: float
    """At the epoch's last step."""
    seconds: float
    clips_per_s: float
    validation_loss: float | None = None
    """Mean cross-entropy of the validation groups' frames; None without them."""
    validation_accuracy: float | None = None
    """Fraction of right frames of the validation groups."""

    def line(self) -> str:
        """Return what a progress display shows."""
        return f"epoch {self.epoch}, loss {self.loss:.3f}, accuracy {self.accuracy:.1%}, {self.clips_per_s:.1f} clips/s"

    def with_validation(self, *, accuracy: float, loss: float) -> EpochMetrics:
        """Return the same with the validation groups' figures."""
        return replace(self, validation_accuracy=accuracy, validation_loss=loss)


class MetricsLog:
    """Writes ``metrics.csv`` and ``tensorboard/`` in a folder as epochs end.

    Parameters
    ----------
    done
        Rows of the epochs done before; what TensorBoard holds of later ones is superseded.
    active
        Whether this process writes; of several, one does.
    """

    def __init__(self, folder: Path, done: Sequence[EpochMetrics], *, active: bool = True) -> None:
        self._folder, self._rows, self._active = folder, list(done), active

    def __enter__(self) -> MetricsLog:
        if self._active:
            # Here and not above: it takes seconds, and reading a run needs none of it.
            from torch.utils.tensorboard import SummaryWriter

            self._board: Any = SummaryWriter(self._folder / TENSORBOARD, purge_step=len(self._rows) + 1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._active:
            self._board.close()

    def append(self, row: EpochMetrics) -> None:
        """Write an epoch."""
        self._rows.append(row)
        for key, value in asdict(row).items():
            if key != "epoch" and value is not None:
                self._board.add_scalar(key, value, row.epoch)
        self._board.flush()
        with atomic_write(self._folder / METRICS) as beside, beside.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(EpochMetrics.__dataclass_fields__), lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: _rounded(value) for key, value in asdict(done).items()} for done in self._rows)


def read_metrics(folder: Path) -> tuple[EpochMetrics, ...]:
    """Read the table of a stream's folder.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    try:
        with (folder / METRICS).open(newline="") as file:
            return tuple(_row(cells) for cells in csv.DictReader(file))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder / METRICS}: missing or damaged ({error}). Train this stream again.") from error


def _row(cells: dict[str, str]) -> EpochMetrics:
    values: dict[str, Any] = {name: float(text) if text else None for name, text in cells.items() if name != "epoch"}
    return EpochMetrics(epoch=int(cells["epoch"]), **values)


def _rounded(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
