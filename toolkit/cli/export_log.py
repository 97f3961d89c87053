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
