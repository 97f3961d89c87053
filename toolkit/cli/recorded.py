"""`toolkit report`: logs to tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.terminal import out


def report(
    log: Annotated[Path, typer.Argument(help="A cage's folder of logs, or one log file.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the report.")],
    truth: Annotated[
        Path | None,
        typer.Option(help="Data set folder of the video that stood in for the camera, to compare the log with."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The bundle that made the log: its cross-validated scores go in.")
    ] = None,
) -> None:
    """Print a log's time budget, and write an ethogram picture and a one-page HTML report.

    Example: [bold]toolkit report logs/cage3 --out report[/]
    """
    from toolkit.report import time_budget_table, write_report

    written = write_report(log, folder, truth=truth, bundle=bundle)
    out.print(time_budget_table(written.budget))
    for path in written.logs:
        out.print(f"log: {path}", soft_wrap=True)
    out.print(f"ethogram: {written.ethogram}", soft_wrap=True)
    out.print(f"report: {written.page}", soft_wrap=True)
