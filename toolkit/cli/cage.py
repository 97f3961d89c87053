"""`toolkit cage`: one headless daemon per cage, and many of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from toolkit.cli.options import BundlePath, Overwrite, print_lines
from toolkit.errors import ConfigError, InputError, ToolkitError, raise_faults
from toolkit.terminal import out, progress_bars

if TYPE_CHECKING:
    from toolkit.cage.config import CageConfig as Config
    from toolkit.cage.costs import Cost
    from toolkit.cage.status import CageStatus

CageConfig = Annotated[Path, typer.Argument(help="The cages' TOML file; `toolkit cage init` writes one.")]
CageNames = Annotated[list[str] | None, typer.Option(help="A cage of the file; may be repeated. (default: all)")]


def init(
    config: Annotated[Path, typer.Argument(help="TOML file to write; must not exist.")],
    bundle: BundlePath,
    log_dir: Annotated[Path, typer.Option(help="Folder of behaviour logs.")],
    name: Annotated[str | None, typer.Option(help="The cage's name, as in its log's folder.")] = None,
    cages: Annotated[str | None, typer.Option(help="Names of several cages, with commas between them.")] = None,
    video: Annotated[Path | None, typer.Option(help="Video file that stands in for a camera.")] = None,
    segments: Annotated[Path | None, typer.Option(help="Folder or pattern of recorded files, dated by name.")] = None,
    device: Annotated[str | None, typer.Option(help="V4L2 camera, e.g. /dev/v4l/by-id/...")] = None,
    csi: Annotated[int | None, typer.Option(help="CSI camera of a Jetson: its sensor number.")] = None,
    rtsp: Annotated[str | None, typer.Option(help="Network camera, e.g. rtsp://10.0.0.5/stream1")] = None,
    pipeline: Annotated[str | None, typer.Option(help="GStreamer pipeline, e.g. 'v4l2src ! jpegdec'.")] = None,
) -> None:
    """Write a commented configuration for one cage, or for several, with one source of frames.

    In the camera of several, {cage} stands for the cage's name.

    Example: [bold]toolkit cage init cage3.toml --name cage3 --bundle bundle --log-dir logs --video cage3.mp4[/]
    """
    from toolkit.cage.config_template import write_cages, write_config

    if (name is None) == (cages is None):
        raise ConfigError("expected either --name for one cage or --cages a1,a2,... for several.")
    sources = {
        "video": video,
        "segments": segments,
        "device": device,
        "csi": csi,
        "rtsp": rtsp,
        "pipeline": pipeline,
    }
    if name is not None:
        write_config(config, name=name, bundle=bundle, log_dir=log_dir, **sources)
    else:
        names = [word.strip() for word in str(cages).split(",")]
        write_cages(config, names=names, bundle=bundle, log_dir=log_dir, **sources)
    out.print(f"{config} written. Next: toolkit cage check {config}")


def check(config: CageConfig, cage: CageNames = None) -> None:
    """Check configuration, bundle, engine, camera and disk of every cage, and say each fault.

    Example: [bold]toolkit cage check cage3.toml[/]
    """
    from toolkit.cage.check import check

    ok = True
    chosen = _chosen(config, cage)
    for name, settings in chosen.items():
        for finding in check(settings):
            ok &= finding.ok
            mark = "[green]ok[/]    " if finding.ok else "[bold red]fault[/] "
            whose = f"{escape(name)} " if len(chosen) > 1 else ""
            out.print(f"{mark} {whose}{finding.subject}: {escape(finding.text)}", soft_wrap=True)
    if not ok:
        raise typer.Exit(1)


def run(
    config: CageConfig,
    cage: CageNames = None,
    all_: Annotated[bool, typer.Option("--all", help="Watch every cage of the file, by a process each.")] = False,
) -> None:
    """Run the daemon until it is stopped (SIGTERM, SIGINT) or its video ends.

    --all starts a process per cage, or one for those with batch_cages, restarts what fails, and says what each costs.

    Example: [bold]toolkit cage run cage3.toml[/]
    """
    from toolkit.cage.journal import events_to_stderr

    if all_ and cage:
        raise ConfigError("expected --all or --cage, found both.")
    if all_:
        _run_all(config)
        return
    chosen = _chosen(config, cage)
    if len(chosen) > 1 and not cage:
        raise ConfigError(f"{config} holds {len(chosen)} cages: expected --all, or --cage {next(iter(chosen))}.")
    with events_to_stderr():
        if len(chosen) == 1:
            _run_one(next(iter(chosen.values())))
        else:
            _run_together(chosen)


def _run_one(settings: Config) -> None:
    from toolkit.cage.daemon import run, stop_on_signals

    with stop_on_signals() as stop, progress_bars() as advance:
        summary = run(
            settings,
            stop=stop,
            on_progress=lambda p: advance(settings.cage.name, p.frames, p.total_frames or 0, p.detail),
            on_build=lambda p: advance(p.stage, p.done, p.steps, ""),
        )
    print_lines(summary.lines())


def _run_together(chosen: dict[str, Config]) -> None:
    from toolkit.cage.batching import run_together
    from toolkit.cage.daemon import stop_on_signals

    with stop_on_signals() as stop, progress_bars() as advance:
        outcome = run_together(
            chosen,
            stop=stop,
            on_progress=lambda name, p: advance(name, p.frames, p.total_frames or 0, p.detail),
            on_build=lambda p: advance(p.stage, p.done, p.steps, ""),
        )
    for summary in outcome.summaries.values():
        print_lines(summary.lines())
    print_lines(outcome.lines())
    _raise_given_up({name: str(error) for name, error in outcome.faults.items()})


def _run_all(config: Path) -> None:
    from toolkit.cage.config_file import load_cages
    from toolkit.cage.daemon import stop_on_signals
    from toolkit.cage.journal import EventLog, events_to_stderr
    from toolkit.cage.supervisor import supervise

    def tell(costs: list[Cost], last: bool) -> None:
        if last or out.is_terminal:
            out.print(_cost_table(costs))
            return
        for cost in costs:
            EventLog(cost.cage).info("costs", **cost.words())

    with stop_on_signals() as stop, events_to_stderr():
        _raise_given_up(supervise(config, load_cages(config), stop=stop, on_costs=tell))


def _raise_given_up(faults: dict[str, str]) -> None:
    raise_faults(ToolkitError, "cages were given up", [f"{name}: {fault}" for name, fault in faults.items()])


def _chosen(config: Path, names: list[str] | None) -> dict[str, Config]:
    from toolkit.cage.config_file import load_cages, load_config

    cages = load_cages(config)
    return {name: load_config(config, name) for name in names} if names else cages


def _cost_table(costs: list[Cost]) -> Table:
    table = Table(box=None, title="what each cage costs", title_justify="left")
    columns = list(costs[0].words()) if costs else []
    table.add_column("cage")
    for column in columns:
        table.add_column(
            column.replace("_per_", "/").replace("_", " "), justify="left" if column == "state" else "right"
        )
    for cost in costs:
        table.add_row(cost.cage, *(str(value) for value in cost.words().values()))
    return table


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
            "-" if one.ailments else values.get("behaviour") or _unobserved(values),
            str(values.get("frames_captured", "-")),
            str(values.get("frames_dropped", "-")),
            ", ".join(f"{reason} {seconds:.0f} s" for reason, seconds in unobserved if seconds > 0) or "-",
            "-" if one.free_bytes is None else f"{one.free_bytes / 1e9:.1f} GB",
        )
        table.add_row(*(Text(cell) for cell in cells), style="red" if one.ailments else "")
    return table


def _unobserved(values: dict[str, Any]) -> str:
    reason = values.get("unobserved_now")
    return f"({reason})" if reason else "-"


def picture(
    config: CageConfig,
    at: Annotated[str, typer.Option(help="UTC, e.g. 2026-11-26T08:00:00.5")],
    png: Annotated[Path, typer.Option(help="PNG file to write; replaced if it exists.")],
) -> None:
    """Save what the camera saw at a time, from the cage's recordings.

    Example: [bold]toolkit cage picture cage3.toml --at 2026-11-26T08:00:00.5 --png seen.png[/]
    """
    from toolkit.cage.config_file import load_config
    from toolkit.cage.recording import picture_at, time_ns_of

    settings = load_config(config)
    if settings.recording.folder is None:
        raise InputError(f"{config}: has no [recording] folder. Expected the folder of the cage's recordings.")
    folder = settings.recording.folder / settings.cage.name
    found = picture_at(folder, time_ns_of(at))
    if found is None:
        raise InputError(
            f"{folder}: nothing was recorded at {at}, nor in the second before. Try another time; "
            "each file's name tells when it begins."
        )
    found.save(png)
    out.print(f"{png} written: {found.utc}, from {found.path}", soft_wrap=True)


def install(
    config: CageConfig,
    user: Annotated[str, typer.Option(help="User that daemons run as.")] = "toolkit",
    unit_dir: Annotated[Path, typer.Option(help="Folder of systemd's units.")] = Path("/etc/systemd/system"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files and write nothing.")] = False,
    overwrite: Overwrite = False,
    together: Annotated[
        bool, typer.Option("--all", help="One service for all cages of the file, which runs `cage run --all`.")
    ] = False,
) -> None:
    """Write systemd's units for the file's cages, and print the commands that start them.

    Each cage is a service of its own, unless --all.

    Example: [bold]toolkit cage install cage3.toml[/]
    """
    from toolkit.cage.unit import commands_to_enable, install_units, unit_files, unit_files_together

    cages = list(_chosen(config, None).values())
    if together:
        files = unit_files_together(cages, config, user=user, folder=unit_dir)
    else:
        # The template is the same for all of them.
        every = [file for settings in cages for file in unit_files(settings, config, user=user, folder=unit_dir)]
        files = list(dict.fromkeys(every))
    if dry_run:
        print_lines([f"# {file.path}\n{file.text}" for file in files])
        return
    written = install_units(files, overwrite=overwrite)
    print_lines([f"{file.path} {'written' if file.path in written else 'is as it should be'}" for file in files])
    commands = commands_to_enable(cages, user=user, folder=unit_dir, together=together)
    print_lines(["Next:", *(f"  {line}" for line in commands)])
