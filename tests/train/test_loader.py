"""What a loader process is started with."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from toolkit.train import loader
from toolkit.train.loader import stream_of_batches

PIPE_BYTES = 64 * 1024


def test_what_starts_a_loader_process_fits_into_the_pipe_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process that is told more reads it only after its imports, and the next one is started only then.
    batches: Any = SimpleNamespace(per_epoch=2, frames=b"x" * 10 * PIPE_BYTES)
    given: list[Any] = []

    def data_loader(dataset: Any, **settings: Any) -> list[Any]:
        told = pickle.dumps(dataset)
        given.append((len(told), pickle.loads(told)._batches))
        return []

    monkeypatch.setattr(loader, "DataLoader", data_loader)
    assert list(stream_of_batches(batches, range(1, 2), 3)) == []
    assert given == [(given[0][0], batches)]
    assert given[0][0] < PIPE_BYTES // 16
