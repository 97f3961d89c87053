"""Logs and labelled videos for the exports' tests: the real writers' output, small."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import WriteVideo
from tests.labelling.parts import label
from tests.labelling.test_video import blinking
from tests.report.logs import INTERVAL_NS, START_NS, write_log
from toolkit.behaviour_log import Reason, read_log
from toolkit.export.from_logs import piece_of_log
from toolkit.export.piece import Piece

DRINK, REST, WALK = 0, 6, 7
LABELS = [REST] * 60 + [WALK] * 30 + [DRINK] * 90 + [-1] * 30 + [REST] * 90
"""Ten seconds at 30 rows a second; one of them seen without a label."""
GAP = (90, 150, Reason.CAMERA_LOST)
"""Rows 90 to 149 are not there: two of drink's three seconds."""


def gapped_log(folder: Path) -> Path:
    """Write ten seconds with a gap of two; return the cage's folder."""
    return write_log(folder, LABELS, gaps=[GAP])


def gapped_piece(folder: Path) -> Piece:
    """Return it as a piece."""
    return piece_of_log(read_log(gapped_log(folder)))


def labelled_video(write_video: WriteVideo, folder: Path, name: str = "cage.mp4") -> tuple[Path, Path]:
    """Label thirty frames, the middle ten of them walk and the others rest; return video and table."""
    video = write_video(name, blinking())
    _, outputs = label(video, folder)
    return video, outputs.labels


def at(row: int) -> int:
    """Return a row's time, UTC ns."""
    return START_NS + row * INTERVAL_NS
