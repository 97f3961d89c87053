"""`toolkit cage`: one headless daemon per cage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import BundlePath, print_lines
from toolkit.terminal import out, progress_bars

CageConfig = Annotated[Path, typer.Argument(help="The cage's TOML file; `toolkit cage init` writes one.")]


def init(
    config: Annotated[Path, typer.Argument(help="TOML file to write; must not exist.")],
    bundle: BundlePath,
    name: Annotated[str, typer.Option(help="The cage's name, as in its log's folder.")],
    log_dir: Annotated[Path, typer.Option(help="Folder of behaviour logs.")],
    video: Annotated[Path | None, typer.Option(help="Video file that stands in for a camera.")] = None,
    device: Annotated[str | None, typer.Option(help="Camera, e.g. /dev/v4l/by-id/...")] = None,
) -> None:
    """Write a commented configuration for one cage.

    Example: [bold]toolkit cage init cage3.toml --name cage3 --bundle bundle --log-dir logs --video cage3.mp4[/]
    """
    from toolkit.cage.config import write_config

    write_config(config, name=name, bundle=bundle, log_dir=log_dir, video=video, device=device)
    out.print(f"{config} written. Next: toolkit cage check {config}")


def check(config: CageConfig) -> None:
    """Check configuration, bundle, engine, camera and disk, and say each fault.

    Example: [bold]toolkit cage check cage3.toml[/]
    """
    from toolkit.cage.check import check
    from toolkit.cage.config import load_config

    findings = check(load_config(config))
    for finding in findings:
        mark = "[green]ok[/]    " if finding.ok else "[bold red]fault[/] "
        out.print(f"{mark} {finding.subject}: {finding.text}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def run(config: CageConfig) -> None:
    """Run the daemon until it is stopped (SIGTERM, SIGINT) or its video ends.

    Example: [bold]toolkit cage run cage3.toml[/]
    """
    from toolkit.cage.config import load_config
    from toolkit.cage.daemon import run, stop_on_signals

    settings = load_config(config)
    with stop_on_signals() as stop, progress_bars() as advance:
        summary = run(
            settings,
            stop=stop,
            on_progress=lambda p: advance("cage", p.frames, p.total_frames or 0, p.detail),
            on_build=lambda p: advance(p.stage, p.done, p.steps, ""),
        )
    print_lines(summary.lines())
