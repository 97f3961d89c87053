"""A bundle of two tiny networks with random weights, exported once; tests that change it take a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from toolkit.bundle import Bundle, load_bundle

from .tiny import write_tiny_bundle


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle's folder; not to be changed."""
    pytest.importorskip("torch", reason="needs the train extra to export a bundle")
    return write_tiny_bundle(tmp_path_factory.mktemp("exported") / "tiny").path


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Bundle:
    """Return a copy of the bundle that a test may change and build engines beside."""
    return load_bundle(Path(shutil.copytree(exported, tmp_path / "tiny")))
