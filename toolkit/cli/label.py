"""`toolkit label`: recorded video to tables, and to video for review."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.options import BundlePath, EngineOption, FlowOption, one_of, print_lines
from toolkit.terminal import print_warning, progress_bars

if TYPE_CHECKING:
    from toolkit.labelling import Progress, VideoResult


def label(
    videos: Annotated[list[Path], typer.Argument(help="Videos, folders of videos, or quoted patterns ('d/**/*.mp4').")],
    bundle: BundlePath,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to, or one video's table. (default: beside each video)")
    ] = None,
    stride: Annotated[int, typer.Option(min=1, help="Classify every n-th frame.")] = 1,
    smooth: Annotated[
        float, typer.Option(min=0, max=60, help="Centred moving average of the probabilities, seconds.")
    ] = 0.0,
    min_bout: Annotated[float, typer.Option(min=0, max=3600, help="Shortest bout written, seconds.")] = 0.0,
    table: Annotated[
        str | None, typer.Option("--format", help="Of the table of frames: csv or parquet. (default: --out's, or csv)")
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write a video for review.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Videos labelled at once, each in a process.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Label again what is done.")] = False,
    no_view_check: Annotated[
        bool, typer.Option("--no-view-check", help="Label dark, frozen, covered ... frames too.")
    ] = False,
    engine: EngineOption = "auto",
    flow: FlowOption = "auto",
) -> None:
    """Label recorded videos frame by frame: a table of frames, a table of bouts, and what made them.

    A video whose labels are there is skipped, unless it, the bundle or an option has changed: run the same command
    again after an interruption. The bar shows frames, time left, how many times real time, and videos ended.

    Example: [bold]toolkit label recordings --bundle bundle --out labels --smooth 0.5 --jobs 4[/]
    """
    from toolkit.bundle import load_bundle
    from toolkit.engine.select import ENGINE_CHOICES
    from toolkit.errors import InputError, raise_faults
    from toolkit.flow.select import FLOW_CHOICES
    from toolkit.labelling import FORMATS, LabelOptions, label_videos, plan_outputs

    guessed = "parquet" if out is not None and out.suffix.lower() == ".parquet" else "csv"
    options = LabelOptions(
        stride=stride,
        smooth_s=smooth,
        min_bout_s=min_bout,
        format=one_of("--format", table or guessed, FORMATS),
        overlay=overlay,
        view_check=not no_view_check,
        engine=one_of("--engine", engine, ENGINE_CHOICES),
        flow=one_of("--flow", flow, FLOW_CHOICES),
    )
    loaded = load_bundle(bundle)
    planned = plan_outputs(videos, out, options)
    faults: list[str] = []
    warned: set[str] = set()
    with progress_bars() as advance:

        def tell(progress: Progress) -> None:
            # Short: beside it a narrow terminal shows the count, the share and the time left.
            detail = f"{progress.realtime_factor:.1f} x, {progress.ended}/{progress.videos}"
            advance("label", progress.frames, progress.total, detail)

        for result in label_videos(planned, loaded, options, jobs=jobs, overwrite=overwrite, on_progress=tell):
            for line in set(result.warnings) - warned:
                print_warning(line)
                warned.add(line)
            if result.fault is not None:
                faults.append(result.fault)
            print_lines([_said(result)])
    raise_faults(InputError, f"{len(faults)} of {len(planned)} videos could not be labelled", faults)


def _said(result: VideoResult) -> str:
    video, labels = result.video, result.outputs.labels
    if result.fault is not None:
        return f"{video}: failed"
    if result.summary is None:
        return f"{video}: done before, {labels}"
    done = result.summary
    rows = {**done.counts, **{f"no label, {reason}": count for reason, count in done.unlabelled.items()}}
    shares = ", ".join(f"{name} {100 * count / done.rows:.1f} %" for name, count in rows.items() if count)
    return (
        f"{video}: {done.rows} of {done.frames} frames ({shares}), {done.elapsed_s:.1f} s, "
        f"{done.realtime_factor:.2f} times real time, {labels}"
    )
