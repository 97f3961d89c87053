"""`toolkit cage`: one headless daemon per cage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from toolkit.cli.options import BundlePath, Overwrite, print_lines
from toolkit.terminal import out, progress_bars

if TYPE_CHECKING:
    from toolkit.cage.status import CageStatus

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
    from toolkit.cage.config_template import write_config

    write_config(config, name=name, bundle=bundle, log_dir=log_dir, video=video, device=device)
    out.print(f"{config} written. Next: toolkit cage check {config}")


def check(config: CageConfig) -> None:
    """Check configuration, bundle, engine, camera and disk, and say each fault.

    Example: [bold]toolkit cage check cage3.toml[/]
    """
    from toolkit.cage.check import check
    from toolkit.cage.config_file import load_config

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
    from toolkit.cage.config_file import load_config
    from toolkit.cage.daemon import run, stop_on_signals
    from toolkit.cage.journal import events_to_stderr

    settings = load_config(config)
    with stop_on_signals() as stop, events_to_stderr(), progress_bars() as advance:
        summary = run(
            settings,
            stop=stop,
            on_progress=lambda p: advance("cage", p.frames, p.total_frames or 0, p.detail),
            on_build=lambda p: advance(p.stage, p.done, p.steps, ""),
        )
    print_lines(summary.lines())


def status(
    cages: Annotated[
        list[Path] | None, typer.Argument(help="Cages' TOML files, log folders, or folders of them. (default: here)")
    ] = None,
) -> None:
    """Tell how cages do, from what their daemons wrote; exit with 1 if any is not well.

    Example: [bold]toolkit cage status cage3.toml[/]
    """
    from toolkit.cage.status import cage_statuses

    statuses = cage_statuses(cages or [Path()])
    out.print(_status_table(statuses))
    for one in statuses:
        for reason in one.ailments:
            out.print(f"{one.cage}: {reason}", soft_wrap=True, markup=False)
    if any(one.ailments for one in statuses):
        raise typer.Exit(1)


def _status_table(statuses: list[CageStatus]) -> Table:
    table = Table(box=None)
    for column in ("cage", "state", "age", "behaviour", "frames", "dropped", "unobserved", "disk free"):
        table.add_column(column, justify="right" if column in ("age", "frames", "dropped", "disk free") else "left")
    for one in statuses:
        values = one.values
        stale = bool(one.ailments) and one.ailments[0].startswith("stale")
        unobserved = values.get("unobserved_s", {}).items()
        cells = (
            one.cage,
            "stale" if stale else values.get("state", "unknown"),
            "-" if one.age_s is None else f"{one.age_s:.0f} s",
            "-" if one.ailments else values.get("behaviour") or "-",
            str(values.get("frames_captured", "-")),
            str(values.get("frames_dropped", "-")),
            ", ".join(f"{reason} {seconds:.0f} s" for reason, seconds in unobserved if seconds > 0) or "-",
            "-" if one.free_bytes is None else f"{one.free_bytes / 1e9:.1f} GB",
        )
        table.add_row(*(Text(cell) for cell in cells), style="red" if one.ailments else "")
    return table


def install(
    config: CageConfig,
    user: Annotated[str, typer.Option(help="User that daemons run as.")] = "toolkit",
    unit_dir: Annotated[Path, typer.Option(help="Folder of systemd's units.")] = Path("/etc/systemd/system"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files and write nothing.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write systemd's units for one cage, and print the commands that start it.

    Example: [bold]toolkit cage install cage3.toml[/]
    """
    from toolkit.cage.config_file import load_config
    from toolkit.cage.unit import commands_to_enable, install_units, unit_files

    settings = load_config(config)
    files = unit_files(settings, config, user=user, folder=unit_dir)
    if dry_run:
        print_lines([f"# {file.path}\n{file.text}" for file in files])
        return
    written = install_units(files, overwrite=overwrite)
    print_lines([f"{file.path} {'written' if file.path in written else 'is as it should be'}" for file in files])
    print_lines(["Next:", *(f"  {line}" for line in commands_to_enable(settings, user=user, folder=unit_dir))])
