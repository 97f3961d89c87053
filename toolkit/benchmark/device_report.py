"""What a lab sends back after `toolkit verify-device`: every figure, measured, failed, or why it is not measured.

It names no host, no person and no folder.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from toolkit.benchmark.report import BenchReport, Machine, machine_line, table

Status = Literal["measured", "failed", "not measured"]

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NotHere(Exception):
    """This machine has not what a check or a figure needs; the message says what."""


Figures = Iterator[tuple[str, str | NotHere]]
"""Figures of a check by name, or in the place of one why there is none."""


class Figure(BaseModel):
    """One figure, or why there is none."""

    model_config = _STRICT

    check: str
    """What was checked, e.g. ``flow on the GPU``."""
    name: str
    status: Status
    """``failed``: it could be checked here and is wrong. ``not measured``: this machine has not what it needs."""
    value: str
    """With its unit, or the reason."""


class DeviceReport(BaseModel):
    """Everything that `toolkit verify-device` writes."""

    model_config = _STRICT

    schema_version: Literal[1] = 1
    created_utc: str
    finished: bool
    """False if something ended the process midway."""
    bundle: str
    bundle_sha256: str
    machine: Machine
    versions: dict[str, str]
    facts: dict[str, str]
    """What `toolkit doctor` finds."""
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]
    """What opening networks and flow warned of."""
    benchmarks: dict[str, BenchReport]
    """Whole benchmarks, by name."""

    @property
    def failed(self) -> list[Figure]:
        """The figures that are wrong."""
        return [figure for figure in self.figures if figure.status == "failed"]

    def markdown(self) -> str:
        """Return the report as Markdown."""
        counts = {
            status: sum(figure.status == status for figure in self.figures)
            for status in ("measured", "failed", "not measured")
        }
        lines = [
            "# A device, verified",
            "",
            f"- machine: {machine_line(self.machine)}",
            f"- bundle: {self.bundle}, {self.bundle_sha256[:12]}",
            "- versions: " + ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            f"- measured: {self.created_utc}",
            "- figures: " + ", ".join(f"{count} {status}" for status, count in counts.items()),
        ]
        if not self.finished:
            lines.append("- **unfinished**: something ended the process midway")
        lines += [f"- note: {note}" for note in self.notes]
        for check in dict.fromkeys(figure.check for figure in self.figures):
            rows = [(f.name, _cell(f)) for f in self.figures if f.check == check]
            lines += ["", f"## {check[0].upper()}{check[1:]}", "", *table(("figure", "value"), rows)]
        rows = [(name, fact.replace("|", "/")) for name, fact in self.facts.items()]
        lines += ["", "## What the machine has", "", *table(("subject", "found"), rows)]
        for name, benchmark in self.benchmarks.items():
            lines += ["", f"# Benchmark: {name}", *benchmark.markdown().splitlines()[1:]]
        return "\n".join(lines) + "\n"


def without_names(text: str, folders: Iterable[Path] = ()) -> str:
    """Return a text in which paths are file names alone, and this host's name is ``HOST``.

    Parameters
    ----------
    folders
        Known folders, which are found even if their names hold spaces.

    Examples
    --------
    >>> without_names("/home/ann/cage 3/bundle.engines: cannot be written, 1/32 px", [Path("/home/ann/cage 3")])
    'bundle.engines: cannot be written, 1/32 px'
    """
    for folder in (*folders, Path.home()):
        text = text.replace(f"{folder}/", "/")
    text = re.sub(r"""(?<![\w.~/])~?/(?:[^\s/'":,;()\[\]]+/)*([^\s/'":,;()\[\]]+)""", r"\1", text)
    return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "HOST", text)


def _cell(figure: Figure) -> str:
    value = " ".join(figure.value.split()).replace("|", "/")
    return {"measured": value, "failed": f"**failed**: {value}", "not measured": f"not measured: {value}"}[
        figure.status
    ]
