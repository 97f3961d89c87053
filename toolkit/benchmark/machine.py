"""What a benchmark runs on, and what runs there: a machine's facts without its name, and versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from toolkit import __version__
from toolkit.benchmark.report import Machine
from toolkit.engine.board import ROOT, board_model, jetson_release, memory_gib, power_mode
from toolkit.engine.device import find_gpu
from toolkit.errors import ToolkitError

DISTRIBUTIONS = (
    *("numpy", "opencv-contrib-python-headless", "opencv-python", "av", "onnxruntime", "openvino"),
    *("tensorrt", "tensorrt-rtx", "pycuda"),
)


def describe_machine(root: Path = ROOT) -> Machine:
    """Return what this machine is."""
    memory = memory_gib(root)
    return Machine(
        model=board_model(root) or platform.processor() or "unknown processor",
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=None if memory is None else round(memory, 1),
        gpu=_gpu(),
        power_mode=power_mode(root),
    )


def versions_here(root: Path = ROOT) -> dict[str, str]:
    """Return the version of everything here that can change a figure."""
    found = {"toolkit": __version__, "Python": platform.python_version(), "kernel": platform.release()}
    release = jetson_release(root)
    if release is not None:
        found["L4T"] = release
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpu() -> str | None:
    try:
        gpu = find_gpu()
    except ToolkitError:
        return None
    return f"{gpu.name}, compute capability {'.'.join(map(str, gpu.compute_capability))}"
