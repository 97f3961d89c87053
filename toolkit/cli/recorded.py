"""`toolkit label`: recorded video to a table of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import BundlePath, EngineOption, FlowOption, one_of
from toolkit.terminal import out, print_warning, progress_bars


def label(
    video: Annotated[Path, typer.Argument(help="Recorded video.")],
    bundle: BundlePath,
    csv: Annotated[Path | None, typer.Option("--out", help="CSV to write. (default: VIDEO.labels.csv)")] = None,
    stride: Annotated[int, typer.Option(min=1, help="Classify every n-th frame.")] = 1,
    engine: EngineOption = "auto",
    flow: FlowOption = "auto",
) -> None:
    """Label a recorded video frame by frame: frame, time in seconds, label, probability per behaviour.

    Example: [bold]toolkit label cage3.mp4 --bundle bundle[/]
    """
    from toolkit.bundle import load_bundle
    from toolkit.engine.networks import open_networks
    from toolkit.engine.select import ENGINE_CHOICES
    from toolkit.flow.select import FLOW_CHOICES
    from toolkit.frames import count_frames
    from toolkit.labelling import label_video

    loaded = load_bundle(bundle)
    networks = open_networks(
        loaded,
        engine=one_of("--engine", engine, ENGINE_CHOICES),
        flow=one_of("--flow", flow, FLOW_CHOICES),
        warn=print_warning,
    )
    table = csv or video.with_name(f"{video.stem}.labels.csv")
    total = count_frames(video)
    with progress_bars() as advance:
        summary = label_video(
            video,
            loaded,
            table,
            networks=networks,
            stride=stride,
            on_progress=lambda frames: advance("label", frames, total, "frames"),
        )
    shares = ", ".join(f"{name} {count}" for name, count in summary.counts.items() if count)
    out.print(f"{summary.rows} of {summary.frames} frames labelled ({shares})", soft_wrap=True)
    if "optical flow" in networks.engines:
        out.print(f"flow: {networks.engines['optical flow']}")
    out.print(f"{summary.elapsed_s:.1f} s, {summary.realtime_factor:.2f} times real time; labels: {table}")
