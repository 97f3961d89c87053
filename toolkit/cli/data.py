"""`toolkit synth`: data to try the chain on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import Workers
from toolkit.terminal import out, progress_bars


def synth(
    folder: Annotated[Path, typer.Argument(help="Where the data set goes; must not exist.")],
    videos: Annotated[int, typer.Option(help="Annotated videos.")] = 4,
    duration: Annotated[float, typer.Option(help="Seconds per video, at 30 frames per second.")] = 60.0,
    held_out: Annotated[int, typer.Option(help="Further videos, in FOLDER/held_out, that are in no fold.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same videos.")] = 0,
    strain: Annotated[
        str | None,
        typer.Option(
            help="black, agouti, grey, chocolate, fawn or white for every video. (default: one drawn for each)"
        ),
    ] = None,
    workers: Workers = 2,
) -> None:
    """Render a synthetic home cage: videos of a mouse with exact annotations.

    Example: [bold]toolkit synth data --videos 4 --duration 60 --held-out 1[/]
    """
    from toolkit.synth import write_dataset

    total = round((videos + held_out) * duration * 30)
    with progress_bars() as advance:
        done = 0

        def rendered(frames: int) -> None:
            nonlocal done
            done += frames
            advance("render", done, total, "frames")

        write_dataset(
            folder,
            videos=videos,
            duration_s=duration,
            seed=seed,
            held_out=held_out,
            strain=strain,
            workers=workers,
            on_progress=rendered,
        )
    out.print(f"{videos} annotated videos in {folder}, {held_out} more in {folder / 'held_out'}")
