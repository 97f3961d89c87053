"""`toolkit annotations`: what a data set folder's annotations hold, and the same in our own form."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import Overwrite, print_lines
from toolkit.terminal import print_warning

if TYPE_CHECKING:
    from toolkit.annotations import AnnotatedDataset, AnnotatedVideo

Folder = Annotated[Path, typer.Argument(help="Data set: ours, DeepEthogram's, BORIS's exports, or clips.")]
Behaviours = Annotated[str | None, typer.Option(help="The ethogram, comma-separated, in order.")]
Group = Annotated[str | None, typer.Option(help="Regular expression for a video's group, as for `toolkit train`.")]


def check(folder: Folder, behaviours: Behaviours = None, group: Group = None) -> None:
    """Read a data set's annotations as training would, and say what they hold or everything that is wrong.

    Example: [bold]toolkit annotations check data[/]
    """
    dataset = _dataset(folder, behaviours, group)
    print_lines(
        _columns(
            [
                ("video", "group", "frames", "fps", "labelled", "bouts"),
                *(_row(video, folder) for video in dataset.videos),
            ]
        )
    )
    print_lines(_totals(dataset))
    print_lines([f"skipped: {line}" for line in dataset.skipped])


def convert(
    folder: Folder,
    table: Annotated[Path, typer.Option("--out", help="Table to write; beside the videos it is read as data set.")],
    behaviours: Behaviours = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a data set's annotations as our own table of intervals, in frames.

    Example: [bold]toolkit annotations convert data --out data/annotations.csv[/]
    """
    from toolkit.annotations import write_interval_table
    from toolkit.ethogram import MOUSE_HOME_CAGE

    dataset = _dataset(folder, behaviours, None)
    rows = write_interval_table(table, dataset.videos, overwrite=overwrite)
    print_lines([f"skipped: {line}" for line in dataset.skipped])
    print_lines([f"{table}: {rows} intervals of {len(dataset.videos)} videos"])
    if not set(dataset.ethogram.names) <= set(MOUSE_HOME_CAGE.names):
        print_lines([f"read it with: --behaviours {','.join(dataset.ethogram.names)}"])
    if any(video.group != video.path.stem for video in dataset.videos):
        print_warning("a table has no groups: name them with --group, or clips of one video are tested on each other")


def _dataset(folder: Path, behaviours: str | None, group: str | None) -> AnnotatedDataset:
    from toolkit.annotations import load_dataset

    names = [name.strip() for name in behaviours.split(",")] if behaviours else None
    return load_dataset(folder, behaviours=names, group_pattern=group)


def _row(video: AnnotatedVideo, folder: Path) -> tuple[str, ...]:
    labelled = sum(interval.stop_frame - interval.start_frame for interval in video.intervals)
    bouts = Counter(interval.behaviour for interval in video.intervals)
    said = ", ".join(f"{name} {count}" for name, count in sorted(bouts.items()))
    name = os.path.relpath(video.path, folder)
    return name, video.group, str(video.frames), f"{video.fps:.3f}", f"{labelled / video.fps:.1f} s", said


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows as lines of columns, however wide: a number that a terminal's width cuts off is a wrong one."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _totals(dataset: AnnotatedDataset) -> list[str]:
    """Return the lines of the whole data set: its length, then each behaviour's share of what is labelled."""
    seconds = dict.fromkeys(dataset.ethogram.names, 0.0)
    bouts = dict.fromkeys(dataset.ethogram.names, 0)
    for video in dataset.videos:
        for interval in video.intervals:
            seconds[interval.behaviour] += (interval.stop_frame - interval.start_frame) / video.fps
            bouts[interval.behaviour] += 1
    whole = sum(video.frames / video.fps for video in dataset.videos)
    labelled = sum(seconds.values())
    counts = f"videos {len(dataset.videos)}, groups {len(dataset.groups)}"
    return [
        f"total: {counts}, labelled {labelled:.1f} s of {whole:.1f} s",
        *(
            f"  {name}: {seconds[name]:.1f} s ({100 * seconds[name] / labelled:.1f} %), bouts {bouts[name]}"
            for name in dataset.ethogram.names
        ),
    ]
