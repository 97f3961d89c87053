"""`toolkit flow`: optical flow by itself, to look at or ahead of training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import FlowOption, Store, one_of, whole_numbers
from toolkit.cli.training_options import Aspect, ConfigFile, FlowBy, FlowSet, Fps, Roi, WorkingSize, training_settings
from toolkit.terminal import out, print_warning, progress_bars


def show(
    video: Annotated[Path, typer.Argument(help="Video to compute flow of.")],
    picture: Annotated[Path, typer.Option("--out", help="Picture (.png) or video (.mp4) to write.")],
    flow: FlowOption = "auto",
    flow_parameters: Annotated[str, typer.Option(help="paper or fast.")] = "paper",
    working_size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT in px before flow. (default: the video's shape, 320 px wide)")
    ] = None,
    frame: Annotated[int, typer.Option(min=1, help="Of a picture: frame, from 0; flow is from the one before.")] = 1,
    max_px: Annotated[float, typer.Option(min=0.01, help="Speed of full colour, px per frame.")] = 6.0,
) -> None:
    """Draw a video's flow beside its frames: colour is direction, saturation is speed.

    Example: [bold]toolkit flow show cage3.mp4 --out flow.mp4[/]
    """
    from toolkit.flow import PARAMETER_SETS, open_flow
    from toolkit.flow.select import FLOW_CHOICES
    from toolkit.flow.show import viewing_geometry, write_flow_picture, write_flow_video

    kind = one_of("--out", picture.suffix.lower(), (".png", ".mp4"))
    parameters = PARAMETER_SETS[one_of("--flow-parameters", flow_parameters, tuple(PARAMETER_SETS))]
    choice = one_of("--flow", flow, FLOW_CHOICES)
    size = whole_numbers("--working-size", working_size.replace("x", ","), 2) if working_size else None
    geometry = viewing_geometry(video, size)
    estimator = open_flow(choice, parameters, warn=print_warning)
    if kind == ".png":
        write_flow_picture(video, picture, geometry, estimator, frame=frame, max_px=max_px)
    else:
        with progress_bars() as advance:
            write_flow_video(
                video,
                picture,
                geometry,
                estimator,
                max_px=max_px,
                on_progress=lambda done, total: advance("flow", done, total, "frames"),
            )
    out.print(f"{picture}: {estimator.implementation}, parameters {parameters.name}", soft_wrap=True)


def extract(
    dataset: Annotated[Path, typer.Argument(help="Data set, as for `toolkit train`.")],
    config: ConfigFile = None,
    flow: FlowBy = None,
    flow_parameters: FlowSet = None,
    working_size: WorkingSize = None,
    fps: Fps = None,
    roi: Roi = None,
    aspect: Aspect = None,
    behaviours: Annotated[str | None, typer.Option(help="The ethogram, comma-separated, in order.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes and threads that decode and compute. (default: all cores)")
    ] = None,
    store: Store = None,
) -> None:
    """Decode a data set's videos and compute their flow, once for all trainings with the same settings.

    `toolkit train` and `crossval` do the same when they start. Run it again after an interruption: finished videos are
    kept.

    Example: [bold]toolkit flow extract data --flow-parameters paper[/]
    """
    from toolkit.annotations import load_dataset
    from toolkit.train.dataset import CACHE, prepare_dataset
    from toolkit.train.runs import preparation_line

    settings = training_settings(locals())
    with progress_bars() as advance:
        prepared = prepare_dataset(
            load_dataset(dataset, behaviours=behaviours.split(",") if behaviours else None),
            settings,
            cache=store,
            workers=workers or len(os.sched_getaffinity(0)),
            on_progress=lambda p: advance(p.task, p.done, p.total, p.detail),
        )
    out.print(preparation_line(prepared.preparation, settings), soft_wrap=True, markup=False)
    stored = prepared.preparation
    out.print(
        f"store: {store or dataset / CACHE}, {stored.stored_bytes / 1e9:.2f} GB of "
        f"{stored.stored_footage_s / 60:.1f} min, {stored.bytes_per_hour / 1e9:.2f} GB per hour of video",
        soft_wrap=True,
        markup=False,
    )
