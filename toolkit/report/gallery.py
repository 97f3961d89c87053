"""Every picture as PNG, SVG and, its data, CSV; and as an address that a page can hold within itself."""

from __future__ import annotations

import csv
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.files import file_name
from toolkit.report.figures import DPI, paper_style
from toolkit.report.tables import Rows, text_of


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on the page. It is read when it is shown: those of many animals are only files."""

    file: Path
    data: str
    """Path of its CSV in the report's folder."""

    @property
    def uri(self) -> str:
        """``data:`` address of the picture."""
        kind = "png" if self.file.suffix == ".png" else "svg+xml"
        return f"data:image/{kind};base64,{b64encode(self.file.read_bytes()).decode()}"


class Gallery:
    """Writes pictures into ``figures/`` and their data into ``data/`` of a folder.

    Parameters
    ----------
    folder
        The report's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def room(self, name: str) -> str:
        """Return a name for an animal's own files that no other has."""
        found = base = file_name(name)
        number = 2
        while found.lower() in self._taken:
            found, number = f"{base}-{number}", number + 1
        self._taken.add(found.lower())
        return found

    def add(self, name: str, draw: Callable[[], Any], rows: Rows, *, raster: bool = False) -> Shown:
        """Draw a picture and write its files.

        Parameters
        ----------
        name
            Without a suffix; may lie in a folder.
        rows
            Its data.
        raster
            On the page as PNG: thousands of marks are smaller so.
        """
        figure = draw()
        png, svg = (self._folder / "figures" / f"{name}.{kind}" for kind in ("png", "svg"))
        png.parent.mkdir(parents=True, exist_ok=True)
        with paper_style():
            figure.savefig(png, format="png", dpi=DPI)
            figure.savefig(svg, format="svg", metadata={"Date": None})
        # Figures and canvases refer to each other, and a report draws thousands.
        figure.clear()
        return Shown(png if raster else svg, self.table(name, rows))

    def table(self, name: str, rows: Rows) -> str:
        """Write a CSV and return its path in the report's folder."""
        path = self._folder / "data" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([text_of(cell) for cell in row] for row in rows)
        return f"data/{name}.csv"
