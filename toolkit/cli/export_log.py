"""`toolkit logs export`: behaviour logs and labelled recordings in the forms of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import Overwrite, one_of, print_lines
from toolkit.terminal import print_warning

_SHOWN = 6


def export_log(
    logs: Annotated[
        list[Path],
        typer.Argument(help="Logs (a day's file, a cage's folder, a folder of cages), tables of `toolkit label`."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files; for parquet the store.")],
    form: Annotated[str, typer.Option("--format", help="csv, boris, deepethogram, nwb or parquet.")] = "csv",
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out what cannot be exported; PARTIAL.txt says what.")
    ] = False,
    open_day: Annotated[
        bool, typer.Option("--open-day", help="parquet: also the UTC day that is not over. Export it again later.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Export bouts, labels and unobserved time, for BORIS, DeepEthogram, NWB, a spreadsheet or a store of Parquet.

    Example: [bold]toolkit logs export logs/cage3 --format nwb --out nwb[/]

    Many cages, every night: [bold]toolkit logs export logs --format parquet --out store[/]
    """
    from toolkit.export import FORMATS, PARTIAL, ExportOptions, export_logs

    options = ExportOptions(one_of("--format", form, FORMATS), partial, open_day, overwrite)
    done = export_logs(logs, out, options)
    for line in done.missing:
        print_warning(f"left out: {line}")
    for day in done.open_days:
        print_warning(f"{day}: its day is not over, so it is left for later (--open-day takes it now).")
    print_lines([f"written: {path}" for path in done.files[:_SHOWN]])
    if len(done.files) > _SHOWN:
        print_lines([f"... and {len(done.files) - _SHOWN} more, to {done.files[-1]}"])
    if not done.files:
        print_warning("nothing was exported.")
    if done.missing:
        print_warning(f"this export is partial: {out / PARTIAL}")


def store_tables(
    store: Annotated[Path, typer.Argument(help="A store that `toolkit logs export --format parquet` wrote.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the CSV files.")],
    timezone: Annotated[str | None, typer.Option(help="Zone of clock times: Europe/Berlin, UTC, +01:00.")] = None,
    lights_on: Annotated[str | None, typer.Option(help="Clock time, e.g. 07:00: Zeitgeber time 0.")] = None,
    lights_off: Annotated[str | None, typer.Option(help="Clock time, e.g. 19:00.")] = None,
    bin_: Annotated[str, typer.Option("--bin", help="Length of the time bins: 10min, 1h.")] = "1h",
    animals: Annotated[Path | None, typer.Option(help="CSV with the columns cage and animal, and groups.")] = None,
    memory_mb: Annotated[int, typer.Option(min=128, help="What DuckDB may hold, MB; the rest spills to disk.")] = 1024,
) -> None:
    """Write the time budgets, mean days, transitions and confidence of all cages of a store as CSV.

    Example: [bold]toolkit logs tables store --out tables --timezone +01:00 --lights-on 07:00 --lights-off 19:00[/]
    """
    from toolkit.cli.report import bin_s
    from toolkit.report.animals import load_animals
    from toolkit.report.clock import lab_clock
    from toolkit.report.store_tables import write_store_tables

    clock = lab_clock(timezone, lights_on, lights_off)
    known = load_animals(animals, clock, zoned=timezone is not None) if animals else []
    written = write_store_tables(store, folder, clock, bin_s(bin_) * 10**9, known, memory_mb=memory_mb)
    print_lines([f"written: {path}" for path in written])
