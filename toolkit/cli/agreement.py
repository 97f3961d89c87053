"""`toolkit agreement`: two labellings of one video beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from toolkit.cli.options import one_of, print_lines
from toolkit.errors import InputError

GROUP = "[0-9]+_(.+)_"
"""Finds the cage in the name of a sample's clip: its clips are held out together."""


def agreement(
    a: Annotated[
        Path,
        typer.Argument(help="An observer's file, labels of `toolkit label`, or a behaviour log; or a scored sample."),
    ],
    b: Annotated[Path | None, typer.Argument(help="Another of the same video; none with a sample.")] = None,
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
    per: Annotated[str, typer.Option(help="Of a sample: kappa of each day or week, in UTC.")] = "week",
    write_dataset: Annotated[
        Path | None, typer.Option("--write-dataset", help="Of a sample: data set folder for `toolkit train`.")
    ] = None,
) -> None:
    """Say how two labellings of a video agree: frames, bouts, boundaries, time, and where they differ.

    Of a folder that `toolkit sample` wrote and a person scored: kappa of each cage over time, and a data set.

    Example: [bold]toolkit agreement anna.csv cage3.labels.csv --video cage3.mp4 --out agreement[/]
    """
    if b is None:
        _scored_sample(a, out, one_of("--per", per, ("day", "week")), write_dataset)
        return
    if write_dataset is not None:
        raise InputError("--write-dataset: expected with a scored sample alone, found two labellings of a video.")
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


def _scored_sample(folder: Path, out: Path | None, per: Literal["day", "week"], dataset: Path | None) -> None:
    from toolkit.ethogram import MOUSE_HOME_CAGE
    from toolkit.sampling import (
        is_sample,
        read_scored,
        sample_agreement,
        sample_lines,
        write_sample_agreement,
        write_sample_dataset,
    )

    if not is_sample(folder):
        raise InputError(f"{folder}: not a folder of `toolkit sample`. Expected one, or a second labelling beside it.")
    scored = read_scored(folder)
    agreed = sample_agreement(scored, per)
    print_lines(sample_lines(agreed))
    # First what may be refused: then nothing is written.
    if dataset is not None:
        clips, frames = write_sample_dataset(scored, dataset)
        names = scored.ethogram.names
        own = "" if set(names) <= set(MOUSE_HOME_CAGE.names) else f" --behaviours {','.join(names)}"
        print_lines(
            [
                "",
                f"written: {dataset}, {clips} clips with {frames} labelled frames; train on it: "
                f"toolkit train {dataset} --group '{GROUP}'{own} --out RUN",
            ]
        )
    if out is not None:
        print_lines(["", *(f"written: {path}" for path in write_sample_agreement(agreed, out))])


def _overlaps(text: str) -> tuple[float, ...]:
    from toolkit.errors import ConfigError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--overlaps: expected numbers over 0 and up to 1, comma-separated; found {text!r}."
        ) from None
