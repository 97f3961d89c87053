"""Everything but training imports on a machine that has neither torch nor a GPU library."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

BLOCKED = (
    "torch",
    "pyarrow",
    "duckdb",
    "pynwb",
    "ndx_ethogram",
    "tensorrt",
    "tensorrt_rtx",
    "pycuda",
    "matplotlib",
    "jinja2",
    "sklearn",
    "onnx",
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in an interpreter in which importing any of `BLOCKED` fails."""
    block = f"""
    import importlib.abc, sys
    class Block(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {BLOCKED!r}:
                raise ImportError(name + " is blocked")
    sys.meta_path.insert(0, Block())
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(block) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_blocking_works() -> None:
    assert "torch is blocked" in run("import torch").stderr


@pytest.mark.parametrize(
    "module",
    [
        "toolkit.cli",
        "toolkit.cage.daemon",
        "toolkit.cage.check",
        "toolkit.pipeline",
        "toolkit.labelling",
        "toolkit.agreement",
        "toolkit.benchmark",
        "toolkit.engine.select",
        "toolkit.engine.build",
        "toolkit.behaviour_log",
        "toolkit.bundle",
        "toolkit.annotations",
        "toolkit.scoring",
        "toolkit.doctor",
        "toolkit.report",
        "toolkit.export",
        "toolkit.store",
        "toolkit.synth",
        "toolkit.train.crossval_report",
    ],
)
def test_a_bare_machine_can_import(module: str) -> None:
    result = run(f"import {module}")
    assert result.returncode == 0, result.stderr
