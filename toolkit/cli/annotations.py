"""`toolkit annotations`: what a data set folder's annotations hold, and the same in our own form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from toolkit.cli.options import Overwrite, print_lines
from toolkit.terminal import out, print_warning

if TYPE_CHECKING:
    from toolkit.annotations import AnnotatedDataset

Folder = Annotated[Path, typer.Argument(help="Data set: ours, DeepEthogram's, BORIS's exports, or clips.")]
Behaviours = Annotated[str | None, typer.Option(help="The ethogram, comma-separated, in order.")]
Group = Annotated[str | None, typer.Option(help="Regular expression for a video's group, as for `toolkit train`.")]


def check(folder: Folder, behaviours: Behaviours = None, group: Group = None) -> None:
    """Read a data set's annotations as training would, and say what they hold or everything that is wrong.

    Example: [bold]toolkit annotations check data[/]
    """
    dataset = _dataset(folder, behaviours, group)
    names = dataset.ethogram.names
    table = Table(box=None)
    table.add_column("video", no_wrap=True)
    for title in ("group", "frames", "fps", "labelled s", *names):
        table.add_column(title, justify="left" if title == "group" else "right")
    for video in dataset.videos:
        labelled = sum(i.stop_frame - i.start_frame for i in video.intervals)
        bouts = [sum(i.behaviour == name for i in video.intervals) for name in names]
        cells = (video.frames, f"{video.fps:.3f}", f"{labelled / video.fps:.1f}", *bouts)
        table.add_row(_shown(video.path, folder), video.group, *map(str, cells))
    # Never narrower than it needs: a number that is cut off is a wrong one.
    out.print(table, width=max(out.width, out.measure(table).maximum), crop=False, no_wrap=True)
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


def _shown(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


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
    counts = f"{len(dataset.videos)} videos in {len(dataset.groups)} groups"
    return [
        f"total: {counts}, {labelled:.1f} s labelled of {whole:.1f} s",
        *(
            f"  {name}: {seconds[name]:.1f} s ({100 * seconds[name] / labelled:.1f} %), bouts {bouts[name]}"
            for name in dataset.ethogram.names
        ),
    ]
