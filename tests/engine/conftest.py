"""A bundle of two tiny networks with random weights, exported once; and a GPU that is played on the CPU."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from toolkit.bundle import Bundle, load_bundle
from toolkit.flow import cuda_driver

from .fake_cuda import FakeCuda
from .fake_tensorrt import fake_tensorrt
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


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the CUDA kernels, compiled for the CPU."""
    return tmp_path_factory.mktemp("shims")


@pytest.fixture
def gpu(shims: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """Play a machine with a GPU, PyCUDA, nvcc and TensorRT; prove at the end that nothing is left on it."""
    driver = FakeCuda(shims)
    package, compiler = ModuleType("pycuda"), ModuleType("pycuda.compiler")
    compiler.compile = lambda source, **options: b"cubin"  # type: ignore[attr-defined]
    package.driver, package.compiler = driver, compiler  # type: ignore[attr-defined]
    modules = {"pycuda": package, "pycuda.driver": driver, "pycuda.compiler": compiler}
    for name, module in {**modules, "tensorrt": fake_tensorrt(driver)}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cuda_driver, "_graph_library", lambda: driver.graphs)
    yield driver
    assert (driver.graphs.captures, driver.graphs.live) == ({}, {})
    assert (driver.depth, driver.retained, driver.executions) == (0, 0, 0)
    assert not [block for block in driver.blocks if block.kind == "device"]
