"""`toolkit doctor`: what this machine has."""

from __future__ import annotations

import typer

from toolkit.terminal import out


def doctor() -> None:
    """Say what this machine has, and what to do about what is missing.

    Example: [bold]toolkit doctor[/]
    """
    from toolkit.doctor import examine

    colours = {"ok": "green", "absent": "yellow", "broken": "bold red"}
    broken = False
    for finding in examine():
        broken |= finding.status == "broken"
        out.print(
            f"[{colours[finding.status]}]{finding.status:<6}[/] {finding.subject}: {finding.found}", soft_wrap=True
        )
        if finding.advice:
            out.print(f"       {finding.advice}", soft_wrap=True)
    if broken:
        raise typer.Exit(1)
