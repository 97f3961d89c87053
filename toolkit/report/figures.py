"""The one place that knows matplotlib: a paper's style, and figures as files or bytes.

Figures are made without pyplot, so that nothing global is left behind and no display is looked for. Matplotlib is an
extra, and is imported when a figure is drawn.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import MissingDependency
from toolkit.files import atomic_write

DPI = 300
PAGE_WIDTH_IN = 7.2
"""Two columns of a journal, 183 mm."""
INK = "#222222"
PALE_INK = "#767676"

HATCH: dict[str, Any] = {"facecolor": "#f4f4f4", "edgecolor": "#9a9a9a", "hatch": "//////", "linewidth": 0.6}
"""How unobserved time looks in every picture."""
MARKERS = "osD^vPX*"
"""Groups, in order: told apart by shape as well as by grey."""
GROUP_INKS = ("#000000", "#7a7a7a", "#3d3d3d", "#a6a6a6", "#000000", "#7a7a7a", "#3d3d3d", "#a6a6a6")

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "hatch.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "svg.fonttype": "path",
    "svg.hashsalt": "toolkit",
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw and save figures within this.

    Raises
    ------
    MissingDependency
        If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "pictures need matplotlib, which is not installed here. Install it: pip install 'toolkit[report]'"
        ) from error
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width_in: float, height_in: float) -> Any:
    """Return an empty white figure; call within `paper_style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def rgb(colour: str) -> NDArray[np.float64]:
    """Return the (3,) channels of ``#rrggbb``, 0 to 1."""
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def draw_dark_bar(axes: Any, spans: Sequence[tuple[float, float]], *, whole: tuple[float, float] = (0, 1)) -> None:
    """Draw the light phases as a bar on top of axes: black where the lights are off. Nothing without dark spans."""
    if not spans:
        return
    transform = axes.get_xaxis_transform()
    for (start, stop), colour in [(whole, "white"), *((span, INK) for span in spans)]:
        axes.fill_between(
            [start, stop],
            1.012,
            1.035,
            transform=transform,
            clip_on=False,
            facecolor=colour,
            edgecolor=INK,
            linewidth=0.5,
        )


def save_png(figure: Any, path: Path) -> None:
    """Write a figure at `DPI`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside, paper_style():
        figure.savefig(beside, format="png", dpi=DPI)


def svg_uri(figure: Any) -> str:
    """Return a figure as a ``data:`` address of an SVG whose text is outlines: it needs no font."""
    content = BytesIO()
    with paper_style():
        figure.savefig(content, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{b64encode(content.getvalue()).decode()}"


def relative_luminance(colour: str) -> float:
    """Return how light ``#rrggbb`` is, 0 (black) to 1 (white), as WCAG 2 defines it."""
    channels = rgb(colour)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def edge_colour(colour: str) -> NDArray[np.float64]:
    """Return the (3,) RGB, 0 to 1, that outlines areas of a colour so that pale ones show in black and white."""
    channels = rgb(colour)
    edge: NDArray[np.float64] = channels * (0.45 if relative_luminance(colour) > 0.2 else 0.7)
    return edge
