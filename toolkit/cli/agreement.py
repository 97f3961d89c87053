"""`toolkit agreement`: two labellings of one video beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import print_lines


def agreement(
    a: Annotated[Path, typer.Argument(help="An observer's file, labels of `toolkit label`, or a behaviour log.")],
    b: Annotated[Path, typer.Argument(help="Another of the same video.")],
    video: Annotated[Path | None, typer.Option(help="The video, where the files do not say or find it.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for agreement.json, confusion.csv and disagreements.csv.")
    ] = None,
    renames: Annotated[
        list[str] | None, typer.Option("--map", help="A name that differs, OLD=NEW, or a CSV file with from,to.")
    ] = None,
    behaviours: Annotated[str | None, typer.Option(help="The ethogram, comma-separated, in order.")] = None,
    collar_ms: Annotated[
        float, typer.Option(min=0, help="Also score without the frames so near to A's boundaries.")
    ] = 0.0,
    overlaps: Annotated[str, typer.Option(help="Overlaps (IoU) at which bouts are scored.")] = "0.1,0.25,0.5,0.75",
    boundary_overlap: Annotated[
        float, typer.Option(min=0.01, max=1, help="Overlap from which on bouts' boundaries are compared.")
    ] = 0.5,
    tolerance_frames: Annotated[int, typer.Option(min=0, help="Frames by which the two may differ in length.")] = 0,
) -> None:
    """Say how two labellings of a video agree: frames, bouts, boundaries, time, and where they differ.

    Example: [bold]toolkit agreement anna.csv cage3.labels.csv --video cage3.mp4 --out agreement[/]
    """
    from toolkit.agreement import Names, compare, read_pair, read_renames, summary_lines, write_agreement

    said = Names(
        tuple(name.strip() for name in behaviours.split(",")) if behaviours else None, read_renames(renames or [])
    )
    first, second = read_pair(a, b, video=video, names=said)
    compared = compare(
        first,
        second,
        names=said,
        tolerance_frames=tolerance_frames,
        collar_s=collar_ms / 1000,
        thresholds=_overlaps(overlaps),
        boundary_iou=boundary_overlap,
    )
    print_lines(summary_lines(compared))
    if out is not None:
        print_lines(["", *(f"written: {path}" for path in write_agreement(compared, out))])


def _overlaps(text: str) -> tuple[float, ...]:
    from toolkit.errors import ConfigError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--overlaps: expected numbers over 0 and up to 1, comma-separated; found {text!r}."
        ) from None
