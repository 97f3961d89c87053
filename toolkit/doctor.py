"""What this machine has, and what to do about what is missing.

Nothing here is needed for the product to run; it answers "why is it slow" and "why does it not import" before they are
asked. GPU libraries are looked up, not loaded, but for one attempt each in a process of its own: a broken one can
abort the interpreter.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import av
import cv2

from toolkit import __version__
from toolkit.errors import ToolkitError
from toolkit.flow import PARAMETER_SETS, OpenCvFlow, open_flow
from toolkit.flow.cpu import IMPLEMENTATION
from toolkit.flow.difference import measure_difference
from toolkit.flow.select import why_absent

Status = Literal["ok", "absent", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    status: Status
    """``absent`` things are optional; a ``broken`` one is installed and does not work."""
    found: str
    advice: str = ""
    """What to do, empty when nothing is to be done."""


def examine() -> Iterator[Finding]:
    """Look at this machine, one finding after the other."""
    yield Finding("toolkit", "ok", f"{__version__}, Python {platform.python_version()}, {platform.machine()}")
    yield Finding("processor", "ok", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores, {_memory()}")
    yield _gpu()
    yield _package(
        "tensorrt",
        "TensorRT",
        "networks run on the CPU. On a Jetson it comes with JetPack (6.1 or newer): create the "
        "virtual environment with --system-site-packages. On a workstation: pip install 'toolkit[tensorrt]'.",
    )
    yield _package(
        "pycuda",
        "PyCUDA",
        "needed to run TensorRT engines. It is built on installation and needs the CUDA compiler and libcuda "
        "(a machine with only the compiler cannot build it): pip install 'toolkit[jetson]'.",
    )
    yield _package(
        "openvino",
        "OpenVINO",
        "networks run on ONNX Runtime: 1.4 to 1.7 times slower on x86-64, not measured elsewhere. pip install openvino",
        "from toolkit.engine.openvino import openvino_version; print(openvino_version())",
    )
    yield _package("onnxruntime", "ONNX Runtime", "pip install onnxruntime")
    yield _package("torch", "PyTorch", "only training needs it: pip install 'toolkit[train]'.")
    yield _package("matplotlib", "matplotlib", "only reports need it: pip install 'toolkit[report]'.")
    yield _opencv()
    yield _flow()
    yield _codecs()
    yield _cameras()


def _memory() -> str:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return f"{pages * size / 2**30:.1f} GiB memory"


def _gpu() -> Finding:
    jetson = Path("/etc/nv_tegra_release")
    if jetson.is_file():
        return Finding("GPU", "ok", f"Jetson, {jetson.read_text().splitlines()[0].lstrip('# ')}")
    advice = "flow and networks run on the CPU: right for a trial, too slow for full-size networks at 30 frames/s."
    command = shutil.which("nvidia-smi")
    if command is None:
        return Finding("GPU", "absent", "no NVIDIA driver", advice)
    result = _run([command, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"])
    if result.returncode != 0:
        return Finding("GPU", "broken", "nvidia-smi fails: " + result.stdout.strip(), "reinstall the NVIDIA driver.")
    return Finding("GPU", "ok", "; ".join(result.stdout.strip().splitlines()))


def _package(module: str, name: str, advice: str, attempt: str = "") -> Finding:
    """Import a module in a process of its own; `attempt` is how, and prints the version."""
    if find_spec(module) is None:
        return Finding(name, "absent", "not installed" + _outside(module), advice)
    attempt = attempt or f"import {module}; print(getattr({module}, '__version__', ''))"
    result = _run([sys.executable, "-c", attempt])
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        return Finding(name, "broken", f"installed, import fails: {reason}", advice)
    return Finding(name, "ok", result.stdout.strip() or _version(module))


def _outside(module: str) -> str:
    for folder in sorted(Path("/usr/lib").glob("python3*/dist-packages")):
        if (folder / module).is_dir():
            return f" in this environment, but found in {folder}: create it with --system-site-packages"
    return ""


def _version(module: str) -> str:
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        return "version unknown"


def _opencv() -> Finding:
    cuda = any(line.split(":")[1].strip().startswith("YES") for line in _build_lines("NVIDIA CUDA:"))
    found = f"{cv2.__version__}, {'with' if cuda else 'without'} CUDA"
    if not hasattr(cv2, "optflow"):
        return Finding(
            "OpenCV",
            "broken",
            found + ", without the contrib modules",
            "TV-L1 needs them. Remove every other opencv package, then: "
            "pip install --force-reinstall opencv-contrib-python-headless",
        )
    return Finding("OpenCV", "ok", found + ", with contrib (TV-L1)")


def _flow() -> Finding:
    parameters = PARAMETER_SETS["paper"]
    missing = {"cuda": why_absent("cuda"), "cpu": why_absent("cpu"), "opencv": why_absent("opencv")}
    here = [name for name, reason in missing.items() if reason is None]
    advice = missing["cpu"] or ""
    found = ", ".join(here) or "none"
    try:
        ours = open_flow("auto", parameters, warn=lambda _line: None)
        if missing["opencv"] is None and ours.implementation == IMPLEMENTATION:
            apart = measure_difference(OpenCvFlow(parameters), ours)
            found += (
                f"; {ours.implementation} and OpenCV differ by {apart.mean_px:.3f} px on average, "
                f"{apart.p99_px:.3f} px at the 99th percentile (a textured pair, paper parameters)"
            )
    except ToolkitError as error:
        return Finding("flow", "broken", found, str(error))
    return Finding("flow", "ok" if missing["cpu"] is None else "absent", found, advice)


def _build_lines(start: str) -> list[str]:
    lines = (line.strip() for line in cv2.getBuildInformation().splitlines())
    return [line for line in lines if line.startswith(start)]


def _codecs() -> Finding:
    wanted = ("h264", "hevc", "mpeg1video", "mpeg4", "mjpeg")
    missing = [name for name in wanted if name not in av.codecs_available]
    found = f"PyAV {av.__version__}: " + ", ".join(name for name in wanted if name not in missing)
    if missing:
        return Finding(
            "video codecs", "broken", found, f"{', '.join(missing)} cannot be read: pip install --upgrade av"
        )
    return Finding("video codecs", "ok", found)


def _cameras() -> Finding:
    named = sorted(path.name for path in Path("/dev/v4l/by-id").glob("*"))
    if named:
        return Finding("cameras", "ok", ", ".join(f"/dev/v4l/by-id/{name}" for name in named))
    numbered = sorted(str(path) for path in Path("/dev").glob("video*"))
    if numbered:
        advice = "these numbers can change at every boot; a camera with a serial number appears in /dev/v4l/by-id."
        return Finding("cameras", "ok", ", ".join(numbered), advice)
    return Finding("cameras", "absent", "no video device", "plug one in, or let a video file stand in for a camera.")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
