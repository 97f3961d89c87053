"""`toolkit crossval-report`: what cross-validations come to, from their stored predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import print_lines
from toolkit.terminal import out


def crossval_report(
    crossvals: Annotated[list[Path], typer.Argument(metavar="CV...", help="Folders of `toolkit crossval`.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the report.")],
    partial: Annotated[bool, typer.Option("--partial", help="Report unfinished cross-validations too.")] = False,
) -> None:
    """Report cross-validations from their stored predictions: nothing is trained again, and torch is not needed.

    Several must be of the same data set and folds; they are compared, and their networks fused.

    Example: [bold]toolkit crossval-report cv-i3d cv-r2plus1d --out report[/]
    """
    from toolkit.train.crossval_report import report_crossvals

    written = report_crossvals(crossvals, folder, partial=partial)
    print_lines(written.lines())
    out.print(f"report: {written.page}", soft_wrap=True, markup=False)
