"""A bundle of two tiny networks with random weights, exported once; tests that build engines beside it take a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.tiny import write_tiny_bundle


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle's folder; not to be changed."""
    pytest.importorskip("torch", reason="needs the train extra to export a bundle")
    return write_tiny_bundle(tmp_path_factory.mktemp("exported") / "tiny").path
