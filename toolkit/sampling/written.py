"""A sample as a folder: clips, an empty scoring table, the key that the scorer must not see, and what made it all."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from toolkit import __version__
from toolkit.ethogram import Ethogram
from toolkit.files import atomic_directory, atomic_write, file_name
from toolkit.frames import NS_PER_S
from toolkit.sampling.clip_file import numbered, write_clip
from toolkit.sampling.draw import Draw, Drawn

SCHEMA_VERSION = 1
CLIPS, NUMBERED = "clips", "numbered"
SCORING, KEY, ABOUT = "scoring.csv", "key.csv", "sample.json"
SCORING_COLUMNS = (
    "clip",
    "cage",
    "utc",
    "source_start_frame",
    "source_stop_frame",
    "centre_frame",
    "behaviour",
    "start_frame",
    "stop_frame",
)
KEY_COLUMNS = ("clip", "cage", "utc", "frames", "centre_frame", "machine", "confidence", "stratum", "stands_for_s")


class About(BaseModel):
    """What ``sample.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: int = SCHEMA_VERSION
    toolkit: str = __version__
    drawn_at: str
    """UTC, ISO 8601."""
    seed: int
    clips: int
    """Clips in the folder."""
    clips_wanted: int
    seconds: float
    """Length of a clip."""
    by: str
    low_share: float
    since_ns: int | None
    """UTC ns before which nothing was drawn; None: no bound."""
    until_ns: int | None
    ethogram: Ethogram
    sources: tuple[dict[str, Any], ...]
    """Of each: cage, footage, the log's files or the table by SHA-256, bundles, and the seconds that were observed, had
    pictures, and could be drawn."""


def write_sample(
    folder: Path,
    sample: Draw,
    *,
    counter: bool = False,
    overwrite: bool = False,
    on_clip: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Write a sample's folder, whole or not at all; return it.

    Parameters
    ----------
    counter
        Whether ``numbered/`` holds each clip once more with its frames' numbers below the picture.

    Raises
    ------
    InputError
        If the folder exists and `overwrite` is false.
    VideoError
        If a clip's pictures cannot be read.
    """
    ethogram = sample.clips[0].source.ethogram
    with atomic_directory(folder, overwrite=overwrite) as beside:
        (beside / CLIPS).mkdir()
        if counter:
            (beside / NUMBERED).mkdir()
        scoring: list[list[str]] = []
        key: list[list[str]] = []
        for number, drawn in enumerate(sample.clips, start=1):
            clip = drawn.source.pictures.read(drawn.span)
            name = _clip_name(number, drawn)
            write_clip(beside / CLIPS / name, clip.images, clip.fps)
            if counter:
                write_clip(beside / NUMBERED / name, numbered(clip), clip.fps)
            source = [str(drawn.span.start_frame), str(drawn.span.stop_frame)]
            scoring.append([name, drawn.source.cage, _utc(drawn), *source, str(clip.centre), "", "", ""])
            machine = ethogram.names[drawn.label] if drawn.label >= 0 else ""
            counts = [str(len(clip.images)), str(clip.centre)]
            judged = [machine, f"{drawn.confidence:.6f}", drawn.stratum, f"{drawn.stands_for_s:.6f}"]
            key.append([name, drawn.source.cage, _utc(drawn), *counts, *judged])
            on_clip(number, len(sample.clips))
        write_csv(beside / SCORING, SCORING_COLUMNS, scoring)
        write_csv(beside / KEY, KEY_COLUMNS, key)
        (beside / "README.txt").write_text(_instructions(ethogram, counter=counter), encoding="utf-8")
        (beside / ABOUT).write_text(_about(sample, ethogram).model_dump_json(indent=2) + "\n", encoding="utf-8")
    return folder


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table beside and rename it."""
    with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _clip_name(number: int, drawn: Drawn) -> str:
    span = drawn.span
    begin = datetime.fromtimestamp(span.start_ns // NS_PER_S, timezone.utc)
    when = f"{begin:%Y%m%dT%H%M%SZ}" if drawn.source.dated else f"frame{span.start_frame:07d}"
    return f"{number:04d}_{file_name(drawn.source.cage)}_{when}.mp4"


def _utc(drawn: Drawn) -> str:
    """Return when the scored frame was taken; nothing where nobody knows."""
    if not drawn.source.dated:
        return ""
    centre_ns = drawn.span.centre_ns
    second = datetime.fromtimestamp(centre_ns // NS_PER_S, timezone.utc)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{centre_ns % NS_PER_S // 1000:06d}Z"


def _about(sample: Draw, ethogram: Ethogram) -> About:
    options = sample.options
    return About(
        drawn_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seed=options.seed,
        clips=len(sample.clips),
        clips_wanted=options.clips,
        seconds=options.seconds,
        by=options.by,
        low_share=options.low_share,
        since_ns=options.from_ns,
        until_ns=options.to_ns,
        ethogram=ethogram,
        sources=tuple(
            {**source.provenance(), **asdict(seen)} for source, seen in zip(sample.sources, sample.seen, strict=True)
        ),
    )


def _instructions(ethogram: Ethogram, *, counter: bool) -> str:
    names = "\n".join(
        f"  {behaviour.name}{f': {behaviour.definition}' if behaviour.definition else ''}"
        for behaviour in ethogram.behaviours
    )
    where = f"{NUMBERED}/ (the numbers are below the picture)" if counter else f"{CLIPS}/"
    return f"""How to score these clips

1. Play each clip of {where}
   as often as you need, in the order of their numbers. If you have to stop early, stop: the order is random, so that
   the first clips are a fair sample too.
2. In {SCORING}, write into the column "behaviour" what the animal does at the clip's middle, in the frame that the
   column "centre_frame" names (frames count from 0). Use one of:

{names}

   Write ? where you have looked and cannot say, or where it is none of these. Leave empty what you have not scored.
3. Optional, and worth it if a network is to be trained on the clips: add rows for other stretches of a clip. Copy the
   clip's name into "clip", write the behaviour, and the stretch as start_frame (its first frame) and stop_frame (the
   frame after its last). Rows of one clip may not contradict each other.
4. Do not look into {KEY}: it says what the machine said. Do not rename clips.

Any spreadsheet will do; save as CSV, comma, semicolon or tab. Then: toolkit agreement THIS_FOLDER
"""
