"""A whole store's numbers as CSV, asked of DuckDB at once: for cages too many to make a report of each."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.files import atomic_write
from toolkit.report.animals import Animal
from toolkit.report.clock import LabClock
from toolkit.store import open_store
from toolkit.store.queries import budgets, confidence, observed, transitions, use_windows

_TABLES = {
    # A behaviour that a window lacks has no row of its own: its cage's observed time says that it was looked for.
    "budget": """
SELECT o.cage, w.start_utc, w.phase, b.behaviour, b.seconds, b.bouts, o.seconds AS observed_s
FROM seen o JOIN windows w USING (number) LEFT JOIN spent b ON b.cage = o.cage AND b.number = o.number
ORDER BY o.cage, o.number, b.behaviour""",
    "phases": """
WITH time AS (SELECT cage, phase, sum(seconds) AS observed_s FROM seen JOIN windows USING (number) GROUP BY ALL),
of AS (SELECT cage, phase, behaviour, sum(seconds) AS seconds, sum(bouts) AS bouts
    FROM spent JOIN windows USING (number) GROUP BY ALL)
SELECT "group", phase, behaviour, count(DISTINCT cage) AS cages,
    sum(100 * seconds / observed_s) / any_value(animals) AS mean_percent,
    sum(seconds) AS seconds, sum(bouts) AS bouts
FROM of JOIN time USING (cage, phase) JOIN grouped USING (cage) GROUP BY ALL ORDER BY ALL""",
    "profile": """
WITH time AS (SELECT cage, hour, sum(seconds) AS observed_s FROM seen JOIN windows USING (number) GROUP BY ALL)
SELECT cage, hour, behaviour, 100 * sum(seconds) / any_value(observed_s) AS percent
FROM spent JOIN windows USING (number) JOIN time USING (cage, hour) GROUP BY ALL ORDER BY ALL""",
}


def write_store_tables(
    store: Path, out: Path, clock: LabClock, bin_ns: int, animals: Sequence[Animal] = (), *, memory_mb: int = 1024
) -> list[Path]:
    """Write a store's time budgets, mean days, transitions and confidence, and return the files.

    ``budget.csv`` has a row for each cage, bin and behaviour; bins begin anew with every day, and end where the lights
    go on or off. ``phases.csv`` has the mean over a group's cages of the per cent of observed time, by light phase.
    ``profile.csv`` has the hours of the day (of Zeitgeber time, where there are lights). ``transitions.csv`` and
    ``confidence.csv`` are as `transitions` and `confidence` say.

    Parameters
    ----------
    bin_ns
        Whole minutes, at most a day.
    animals
        Whose groups are compared; a cage is of one animal all the time. Without any, all cages are one group.
    memory_mb
        What DuckDB may hold, MB.

    Raises
    ------
    InputError
        If the store cannot be read, a bin is not of whole minutes, or an animal moved.
    MissingDependency
        If DuckDB or pyarrow is not installed.
    """
    if moved := [animal.name for animal in animals if animal != Animal(animal.cage, animal.name, animal.groups)]:
        raise InputError(
            f"animal {', '.join(moved)}: moved between cages, and tables of a store are by cage. Leave start and end "
            "out, or make a report, which knows stays: toolkit report STORE --animals ..."
        )
    with (
        tempfile.TemporaryDirectory(prefix="toolkit-store-") as spill,
        open_store(store, memory_mb=memory_mb, spill=Path(spill)) as database,
    ):
        start_ns, stop_ns = database.execute("SELECT min(start_ns), max(stop_ns) FROM observed").fetchall()[0]
        if start_ns is None:
            raise InputError(f"{store}: nothing was observed. Let the daemons run longer.")
        edges = _edges(clock, start_ns, stop_ns, bin_ns)
        use_windows(database, edges)
        _describe(database, clock, edges)
        _group(database, animals)
        for name, relation in (("seen", observed(database)), ("spent", budgets(database))):
            relation.create(name)
        asked = {name: database.sql(query) for name, query in _TABLES.items()}
        for name, relation in (("transitions", transitions(database)), ("confidence", confidence(database))):
            asked[name] = relation.query("asked", "SELECT * FROM asked ORDER BY ALL")
        return [_written(relation, out / f"{name}.csv") for name, relation in asked.items()]


def _edges(clock: LabClock, start_ns: int, stop_ns: int, bin_ns: int) -> NDArray[np.int64]:
    days = clock.day_starts(start_ns, stop_ns)
    bins = [np.arange(first, after, bin_ns) for first, after in pairwise(days.tolist())]
    return np.unique(np.concatenate([*bins, days[-1:], clock.dark_spans(int(days[0]), int(days[-1])).ravel()]))


def _describe(database: Any, clock: LabClock, edges: NDArray[np.int64]) -> None:
    """Give the windows' dates, phases and hours to the connection."""
    middle = (edges[:-1] + edges[1:]) // 2
    dark = np.zeros(len(middle), bool)
    for start_ns, stop_ns in clock.dark_spans(int(edges[0]), int(edges[-1])).tolist():
        dark |= (middle >= start_ns) & (middle < stop_ns)
    lit = np.where(dark, "dark", "light") if clock.lights else np.full(len(middle), "all")
    hours = clock.day_hours(edges[:-1]).astype(np.int64)
    database.execute("CREATE TEMP TABLE windows (number BIGINT, start_utc TIMESTAMP, phase VARCHAR, hour BIGINT)")
    starts = edges[:-1].astype("datetime64[ns]").astype("datetime64[us]").tolist()
    rows = list(zip(range(len(middle)), starts, lit.tolist(), hours.tolist(), strict=True))
    database.executemany("INSERT INTO windows VALUES (?, ?, ?, ?)", rows)


def _group(database: Any, animals: Sequence[Animal]) -> None:
    database.execute('CREATE TEMP TABLE named (cage VARCHAR, "group" VARCHAR)')
    for animal in animals:
        group = ", ".join(animal.groups.values()) or "all"
        database.execute("INSERT INTO named VALUES (?, ?)", [animal.cage, group])
    if not animals:
        database.execute("INSERT INTO named SELECT DISTINCT cage, 'all' FROM sessions")
    missing = database.execute("SELECT DISTINCT cage FROM sessions ANTI JOIN named USING (cage) ORDER BY 1").fetchall()
    if missing:
        raise InputError(f"cage {', '.join(row[0] for row in missing)}: is not in the table of animals. Add it.")
    # Per cent are means over the group's cages, those included that never show the behaviour.
    database.execute(
        'CREATE TEMP TABLE grouped AS SELECT *, count(*) OVER (PARTITION BY "group") AS animals FROM named '
        "SEMI JOIN sessions USING (cage)"
    )


def _written(relation: Any, path: Path) -> Path:
    with atomic_write(path) as beside:
        relation.write_csv(str(beside))
    return path
