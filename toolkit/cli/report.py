"""`toolkit report`: logs and label files to tables, pictures and one page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from toolkit.bouts import BoutRules
from toolkit.errors import ConfigError
from toolkit.terminal import out, print_warning

_UNITS_S = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400}
_SHORTEST_BIN_S = 60


def report(
    logs: Annotated[
        list[Path],
        typer.Argument(help="Logs (a day's file, a cage's folder, a folder of cages) or label files, one or many."),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the report.")],
    animals: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns cage and animal, groups such as treatment; start and end if it moved."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of clock times: Europe/Berlin, UTC, +01:00. (default: UTC)")
    ] = None,
    lights_on: Annotated[str | None, typer.Option(help="Clock time, e.g. 07:00: Zeitgeber time 0.")] = None,
    lights_off: Annotated[str | None, typer.Option(help="Clock time, e.g. 19:00.")] = None,
    lights_follow_dst: Annotated[
        bool, typer.Option(help="The timer is set with the clocks. (default: it keeps standard time all year)")
    ] = False,
    bin_: Annotated[str, typer.Option("--bin", help="Length of the time bins: 10min, 1h.")] = "1h",
    from_: Annotated[
        str | None, typer.Option("--from", help="Leave out what was before: 2026-03-01T07:00, with an offset or Z.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Leave out what was after.")] = None,
    min_bout: Annotated[
        list[str] | None,
        typer.Option(help="Drop shorter bouts, seconds: 0.5, or NAME:SECONDS (repeat it for several behaviours)."),
    ] = None,
    stitch: Annotated[float, typer.Option(min=0, help="Join bouts over interruptions of up to so many seconds.")] = 0.0,
    inactive: Annotated[
        list[str] | None, typer.Option(help="Behaviour that is not activity, for the actogram. (default: rest)")
    ] = None,
    cage_pattern: Annotated[
        str | None, typer.Option(help="Where a label file's name has its cage: a regular expression, '(cage[0-9]+)_'.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Report on what can be read; the page says so.")] = False,
    truth: Annotated[
        Path | None,
        typer.Option(help="Data set folder of the video that stood in for the camera, to compare the log with."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The bundle that made the log: its cross-validated scores go in.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Animals drawn at once, each in a process.")] = 1,
) -> None:
    """Print time budgets, and write a one-page HTML report with its pictures (PNG, SVG) and their data (CSV).

    Example: [bold]toolkit report logs/cage3 --out report[/]

    Groups, on Zeitgeber time: [bold]toolkit report logs --out report --animals animals.csv --timezone Europe/Berlin
    --lights-on 07:00 --lights-off 19:00[/]
    """
    from toolkit.report import ReportOptions, shares_table, time_budget_table, write_report
    from toolkit.report.clock import instant, lab_clock
    from toolkit.report.inputs import Period

    clock = lab_clock(timezone, lights_on, lights_off, follow_dst=lights_follow_dst)
    zoned = timezone is not None
    whole = Period()
    period = Period(
        instant("--from", from_, clock, zoned=zoned) if from_ else whole.start_ns,
        instant("--to", to, clock, zoned=zoned) if to else whole.stop_ns,
    )
    if period.stop_ns <= period.start_ns:
        raise ConfigError(f"--to {to} is not after --from {from_}.")
    options = ReportOptions(
        clock=clock,
        zoned=zoned,
        bin_ns=bin_s(bin_) * 10**9,
        rules=_rules(min_bout or [], stitch),
        period=period,
        animals=animals,
        cage_pattern=cage_pattern,
        inactive=tuple(inactive) if inactive else ReportOptions().inactive,
        partial=partial,
    )
    written = write_report(logs, folder, options, truth=truth, bundle=bundle, jobs=jobs)
    for line in written.missing:
        print_warning(f"partial report: {line}")
    budgets = written.budgets
    out.print(time_budget_table(budgets[0]) if len(budgets) == 1 else shares_table(budgets))
    if len(written.sources) <= 3:
        for name in written.sources:
            out.print(f"read: {name}", soft_wrap=True, markup=False)
    else:
        out.print(f"read: {len(written.sources)} files, {written.sources[0]} to {written.sources[-1]}", soft_wrap=True)
    out.print(f"pictures: {written.figures}", soft_wrap=True, markup=False)
    out.print(f"data: {written.data}", soft_wrap=True, markup=False)
    out.print(f"report: {written.page}", soft_wrap=True, markup=False)


def bin_s(text: str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d)\s*", text)
    length_s = round(float(found[1]) * _UNITS_S[found[2]]) if found else 0
    if not _SHORTEST_BIN_S <= length_s <= 86_400:
        raise ConfigError(f"--bin: expected a length from 1min to 1d such as 10min or 1h, found {text!r}.")
    return length_s


def _rules(min_bout: list[str], stitch: float) -> BoutRules:
    if not min_bout:
        return BoutRules(stitch_gap_s=stitch)
    try:
        if len(min_bout) == 1 and ":" not in min_bout[0]:
            return BoutRules(min_bout_s=float(min_bout[0]), stitch_gap_s=stitch)
        by_name = {name: float(length) for name, _, length in (each.partition(":") for each in min_bout)}
        return BoutRules(min_bout_s=by_name, stitch_gap_s=stitch)
    except ValueError:
        raise ConfigError(
            f"--min-bout: expected seconds, or NAME:SECONDS for each behaviour; found {', '.join(min_bout)}."
        ) from None
