"""`toolkit doctor` and `--version`: what this machine has."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

import typer
from rich.markup import escape

from toolkit.terminal import out


def doctor() -> None:
    """Say what this machine has, and what to do about what is missing.

    Example: [bold]toolkit doctor[/]
    """
    from toolkit.doctor import examine

    colours = {"ok": "green", "absent": "yellow", "broken": "bold red"}
    broken = False
    for finding in examine():
        broken |= finding.status == "broken"
        mark = f"[{colours[finding.status]}]{finding.status:<6}[/]"
        out.print(f"{mark} {escape(finding.subject)}: {escape(finding.found)}", soft_wrap=True)
        if finding.advice:
            out.print(f"       {escape(finding.advice)}", soft_wrap=True)
    if broken:
        raise typer.Exit(1)


_OPENCV = ("opencv-contrib-python-headless", "opencv-contrib-python", "opencv-python-headless", "opencv-python")
_PACKAGES = ("numpy", *_OPENCV, "av", "onnxruntime", "openvino", "tensorrt", "pycuda", "torch", "onnx")
"""What decides on numbers: another version of one of these may give another log."""


def versions() -> Iterator[tuple[str, str]]:
    """Yield name and version of what decides on numbers, from the installation's records: nothing is imported."""
    yield "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            if package not in _OPENCV:
                yield package, "not installed"
