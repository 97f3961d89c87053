"""Sources in memory, and tables as `toolkit label` writes them, without networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.bouts import NO_LABEL
from toolkit.ethogram import MOUSE_HOME_CAGE, Ethogram
from toolkit.files import sha256_of_file
from toolkit.frames import NS_PER_S, count_frames, probe
from toolkit.sampling import Source
from toolkit.sampling.footage import Clip, Span
from toolkit.sampling.sources import Rows

DAY_NS = 86_400 * NS_PER_S
BEGIN_NS = 20_000 * DAY_NS
"""A midnight of 2024."""
FPS = 10


class NamedRuns:
    """Pictures that only say which rows have them."""

    def __init__(self, runs: NDArray[np.int64]) -> None:
        self._runs = runs

    def runs(self, frame: NDArray[np.int64], time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._runs[frame]

    def read(self, span: Span) -> Clip:
        raise NotImplementedError


def source(
    label: NDArray[np.int16],
    confidence: NDArray[np.float32] | None = None,
    *,
    cage: str = "a1",
    runs: NDArray[np.int64] | None = None,
    days: int = 1,
    ethogram: Ethogram = MOUSE_HOME_CAGE,
) -> Source:
    """Return a cage whose rows are `FPS` a second, divided evenly over days that each begin at midnight."""
    rows = len(label)
    sure = np.full(rows, 0.9, dtype=np.float32) if confidence is None else confidence
    day = np.repeat(np.arange(days), rows // days)
    time_ns = BEGIN_NS + day * DAY_NS + (np.arange(rows) % (rows // days)) * (NS_PER_S // FPS)

    def part(one: int) -> Rows:
        mine = day == one
        return Rows(np.flatnonzero(mine), time_ns[mine], label[mine], sure[mine])

    return Source(
        cage=cage,
        path=Path(cage),
        ethogram=ethogram,
        pictures=NamedRuns(np.zeros(rows, dtype=np.int64) if runs is None else runs),
        footage=Path(cage),
        parts=[lambda one=one: part(one) for one in range(days)],  # type: ignore[misc]
        dated=True,
        files=(),
        bundles=(),
    )


def label_table(video: Path, label: NDArray[np.int16], confidence: NDArray[np.float32] | None = None) -> Path:
    """Write a video's table and provenance beside it, as docs/labelling.md describes them; return the table."""
    names = MOUSE_HOME_CAGE.names
    fps = float(probe(video).fps)
    lines = [",".join(["frame", "time_s", "label", "view", "padded", *(f"p_{name}" for name in names)])]
    for frame, (one, sure) in enumerate(
        zip(label.tolist(), np.full(len(label), 0.9) if confidence is None else confidence, strict=True)
    ):
        known = one != NO_LABEL
        others = (1 - sure) / (len(names) - 1)
        p = [f"{sure if k == one else others:.6f}" if known else "" for k in range(len(names))]
        lines.append(",".join([str(frame), f"{frame / fps:.6f}", names[one] if known else "", "", "0", *p]))
    table = video.with_name(f"{video.stem}.labels.csv")
    table.write_text("\n".join(lines) + "\n")
    said = {
        "schema_version": 1,
        "video": str(video),
        "video_sha256": sha256_of_file(video),
        "video_bytes": video.stat().st_size,
        "video_mtime_ns": video.stat().st_mtime_ns,
        "frames": count_frames(video),
        "fps": fps,
        "recorded_at": "2026-11-26T08:00:00+00:00",
        "bundle": "bundles/small",
        "bundle_sha256": "b" * 64,
        "behaviours": names,
        "engines": {},
        "options": {},
        "rows": len(label),
        "unlabelled": {},
        "toolkit": "0.1.0",
        "labelled_at": "2026-11-26T09:00:00+00:00",
        "files": {table.name: table.stat().st_size},
    }
    video.with_name(f"{video.stem}.labels.json").write_text(json.dumps(said))
    return table
