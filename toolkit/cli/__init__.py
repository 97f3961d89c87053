"""The command line: composes the rooms. Each command imports what it needs when it runs, so that none needs it all."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from toolkit import __version__
from toolkit.cli import (
    agreement,
    bench,
    cage,
    crossval_report,
    data,
    engines,
    export_log,
    flow,
    label,
    machine,
    report,
    sample,
    training,
    weights,
)

# Not the module itself: its name here is that of the __future__ import.
from toolkit.cli.annotations import check, convert
from toolkit.cli.machine import versions
from toolkit.cli.options import print_lines
from toolkit.errors import ToolkitError
from toolkit.terminal import print_error

TRAIN, MACHINE, CAGE, READ = "Train", "The machine", "Cages", "What was seen"
"""Headings of `toolkit --help`."""

app = typer.Typer(
    help="From annotated video of a mouse's home cage to a continuous, trustworthy behaviour log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command(rich_help_panel=TRAIN)(data.synth)
app.command(rich_help_panel=TRAIN)(training.train)
app.command(rich_help_panel=TRAIN)(training.crossval)
app.command("crossval-report", rich_help_panel=TRAIN)(crossval_report.crossval_report)
app.command(rich_help_panel=TRAIN)(training.export)
app.command("build-engine", rich_help_panel=MACHINE)(engines.build_engine)
app.command(rich_help_panel=READ)(label.label)
app.command(rich_help_panel=READ)(sample.sample)
app.command(rich_help_panel=READ)(agreement.agreement)
app.command(rich_help_panel=READ)(report.report)
app.command(rich_help_panel=MACHINE)(machine.doctor)
app.command(rich_help_panel=MACHINE)(bench.bench)
app.command("verify-device", rich_help_panel=MACHINE)(bench.verify_device)

cages = typer.Typer(help="Watch cages: a headless daemon for each that writes its behaviour log.", no_args_is_help=True)
cages.command()(cage.init)
cages.command()(cage.check)
cages.command()(cage.run)
cages.command()(cage.status)
cages.command()(cage.picture)
cages.command()(cage.install)
app.add_typer(cages, name="cage", rich_help_panel=CAGE)

built = typer.Typer(help="Look into a bundle's engines.", no_args_is_help=True)
built.command()(engines.diagnose)
app.add_typer(built, name="engine", rich_help_panel=MACHINE)

labels = typer.Typer(help="Annotations of a data set: check them, convert them.", no_args_is_help=True)
labels.command()(check)
labels.command()(convert)
app.add_typer(labels, name="annotations", rich_help_panel=TRAIN)

logs = typer.Typer(help="Behaviour logs for other programs.", no_args_is_help=True)
logs.command("export")(export_log.export_log)
logs.command("tables")(export_log.store_tables)
app.add_typer(logs, name="logs", rich_help_panel=READ)

published = typer.Typer(help="Published weights to start a training from.", no_args_is_help=True)
published.command("list")(weights.list_weights)
published.command()(weights.get)
published.command()(weights.inspect)
app.add_typer(published, name="weights", rich_help_panel=TRAIN)

flows = typer.Typer(help="Optical flow by itself.", no_args_is_help=True)
flows.command()(flow.show)
flows.command()(flow.extract)
app.add_typer(flows, name="flow", rich_help_panel=MACHINE)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions that matter in a log or a report, and exit.")
    ] = False,
) -> None:
    if version:
        print_lines([f"toolkit {__version__}", *(f"  {name} {found}" for name, found in versions())])
        raise typer.Exit


def main() -> None:
    """Run the command line; a mistake of the user's is one message and a non-zero exit, not a traceback."""
    try:
        app()
    except ToolkitError as error:
        print_error(error)
        sys.exit(error.exit_code)
