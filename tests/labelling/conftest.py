"""A bundle of two tiny networks with this machine's engines, exported once."""

from __future__ import annotations

import pytest

from tests.engine.tiny import write_tiny_bundle
from toolkit.bundle import Bundle
from toolkit.engine.build import build_engines


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the bundle; not to be changed."""
    pytest.importorskip("torch", reason="needs the train extra to export a bundle")
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("labelling") / "tiny")
    build_engines(bundle, engine="onnxruntime")
    return bundle
