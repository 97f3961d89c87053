"""What the command line draws: progress bars, tables, and an error without a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from toolkit.errors import ToolkitError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Advance = Callable[[str, int, int, str], None]
"""``advance(task, done, total, detail)``; a total of 0 is unknown, a task not named before begins a bar."""


@contextmanager
def progress_bars() -> Iterator[Advance]:
    """Draw a bar for every task that is advanced; where there is no terminal, print a line as each one ends."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
        console=err,
        disable=not err.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}
        ended: set[str] = set()

        def advance(task: str, done: int, total: int, detail: str = "") -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(escape(task), total=total or None, detail=detail)
            bars.update(tasks[task], completed=done, total=total or None, detail=escape(detail))
            if not err.is_terminal and done == total and task not in ended:
                ended.add(task)
                count = f": {done} of {total}" if total else " ..."
                err.print(f"{task}{count} {detail}".rstrip(), markup=False, soft_wrap=True)

        yield advance


def print_error(error: ToolkitError) -> None:
    """Print an error to standard error as ``error: message``."""
    err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)


def print_warning(line: str) -> None:
    """Print a line to standard error as ``warning: line``."""
    err.print(f"[bold yellow]warning:[/] {escape(line)}", soft_wrap=True)
