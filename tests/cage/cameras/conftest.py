"""What the tests of real sources share: no process of theirs outlives its test."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest


def pipelines() -> list[psutil.Process]:
    """Return this process's running pipelines."""
    return [child for child in psutil.Process().children() if child.name().startswith("gst-launch")]


@pytest.fixture(autouse=True)
def _leaves_no_pipeline() -> Iterator[None]:
    yield
    left = pipelines()
    for process in left:
        process.kill()
    assert left == []
