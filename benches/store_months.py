"""A store of many cages and months, made synthetically, and what the report's questions to it cost.

``python -m benches.store_months make STORE --cages 200 --days 30`` writes it (bouts, a summary of every second, gaps);
``python -m benches.store_months ask STORE --memory-mb 1024`` times every query and states the memory that it took.
The behaviour is made up: a mouse that rests by day and is busy at night.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.store import open_store, stored_days
from toolkit.store.day import following
from toolkit.store.queries import budgets, confidence, observed, transitions, use_windows
from toolkit.store.tables import arrow, schema
from toolkit.store.writer import write_tables

NS = 10**9
DAY_S = 86_400
FIRST_DAY = date(2026, 3, 1)
SHARES = {
    "light": np.array([0.03, 0.06, 0.14, 0.02, 0.16, 0.04, 0.45, 0.10]),
    "dark": np.array([0.08, 0.16, 0.16, 0.06, 0.20, 0.10, 0.06, 0.18]),
}
"""Of the bouts, not of the time. Light from 06:00 to 18:00 UTC."""
MEDIAN_S = np.array([3.0, 5.0, 4.0, 2.0, 1.5, 1.2, 60.0, 1.8])
POOL = 48
"""Distinct days; a cage's day is one of them at another time with other gaps."""


def day_of_bouts(random: np.random.Generator) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return a day's behaviours, and their borders in ns from midnight (one more)."""
    parts = []
    for phase, length_s in (("dark", 21_600), ("light", 43_200), ("dark", 21_600)):
        behaviour = random.choice(8, size=40_000, p=SHARES[phase]).astype(np.int16)
        behaviour = behaviour[np.r_[True, np.diff(behaviour) != 0]]
        length = (random.lognormal(np.log(MEDIAN_S[behaviour]), 0.7) * 30).round().clip(4) / 30
        stop = np.cumsum(length)
        count = int(np.searchsorted(stop, length_s)) + 1
        parts.append((behaviour[:count], np.append(stop[: count - 1], length_s)))
    behaviour = np.concatenate([part[0] for part in parts])
    stops = np.concatenate([parts[0][1], 21_600 + parts[1][1], 64_800 + parts[2][1]])
    return behaviour, np.append(0, np.rint(stops * NS)).astype(np.int64)


def tables_of(
    cage: int, day: int, pool: list[tuple[NDArray[np.int16], NDArray[np.int64]]], seed: int = 0
) -> dict[str, Any]:
    """Return the tables of one cage's day."""
    pa = arrow()
    random = np.random.default_rng([seed, cage, day])
    midnight = int(datetime.combine(FIRST_DAY + timedelta(day), datetime.min.time(), timezone.utc).timestamp()) * NS
    behaviour, edges = pool[int(random.integers(len(pool)))]
    gaps = np.sort(random.choice(DAY_S // 600, int(random.integers(0, 4)), replace=False)) * 600 * NS
    gap_spans = np.column_stack([gaps, gaps + random.integers(5, 300, len(gaps)) * NS])
    start, stop, kept = _without(edges, gap_spans)
    second = np.arange(DAY_S, dtype=np.int64)
    middle = second * NS + NS // 2
    hidden = np.zeros(DAY_S, bool)
    for first, last in gap_spans.tolist():
        hidden[first // NS : last // NS] = True
    label = behaviour[np.searchsorted(edges, middle, side="right") - 1]
    second, label = second[~hidden], label[~hidden]
    drift = 60 * day // 30 if cage % 20 == 7 else 0
    own = random.integers(170 - drift, 250 - drift, len(second)).astype(np.uint8)
    rest = ((255 - own) // 7).astype(np.uint8)
    probabilities = np.repeat(rest[:, np.newaxis], 8, axis=1)
    probabilities[np.arange(len(second)), label] = own
    names = pa.array(MOUSE_HOME_CAGE.names)
    moment = pa.timestamp("us", tz="UTC")

    def span(a: NDArray[np.int64], b: NDArray[np.int64]) -> list[Any]:
        return [pa.array((midnight + t) // 1000, moment) for t in (a, b)] + [pa.array(midnight + t) for t in (a, b)]

    def named(values: NDArray[np.int16]) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int16)), names)

    def named_or_none(values: NDArray[np.int64]) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int16), mask=values < 0), names)

    seen = np.concatenate([[0], gap_spans.ravel(), [DAY_S * NS]]).reshape(-1, 2)
    seen = seen[seen[:, 1] > seen[:, 0]]
    zeros = pa.array(np.zeros(len(second), np.int32))
    columns = {
        "bouts": [
            named(behaviour[kept]),
            *span(start, stop),
            pa.array(((stop - start) * 30 // NS).clip(1).astype(np.int32)),
            pa.array(random.uniform(0.6, 0.99, len(start)).astype(np.float32)),
            named_or_none(following(behaviour[kept], start, stop)),
            pa.array(start == 0),
        ],
        "seconds": [
            pa.array((midnight + second * NS) // 1000, moment),
            named(label),
            pa.array(own),
            pa.array(np.full(len(second), NS)),
            pa.array(np.full(len(second), 30, np.int32)),
            zeros,
            zeros,
            pa.ListArray.from_arrays(
                pa.array(np.arange(0, 8 * len(second) + 1, 8, dtype=np.int32)), pa.array(probabilities.ravel())
            ),
        ],
        "observed": span(seen[:, 0], seen[:, 1]),
        "unobserved": [
            *span(gap_spans[:, 0], gap_spans[:, 1]),
            pa.array(["camera-lost"] * len(gap_spans), pa.string())
            .dictionary_encode()
            .cast(pa.dictionary(pa.int16(), pa.string())),
        ],
    }
    tables = {name: pa.Table.from_arrays(columns[name], schema=schema(name)) for name in columns}
    tables["sessions"] = pa.Table.from_pylist([_session(cage, midnight)], schema=schema("sessions"))
    return tables


def _session(cage: int, midnight: int) -> dict[str, Any]:
    return {
        "uuid": f"00000000-0000-4000-8000-{cage:012d}",
        "boot_id": f"boot-{cage}",
        "host": f"nano-{cage:03d}",
        "toolkit_version": "synthetic",
        "bundle_name": "synthetic",
        "bundle_sha256": "0" * 64,
        "engines": "{}",
        "config_sha256": "0" * 64,
        "config": "{}",
        "ethogram": MOUSE_HOME_CAGE.model_dump_json(),
        "level": "bouts",
        "row_interval_ns": NS,
        "start": midnight // 1000,
        "stop": (midnight + DAY_S * NS) // 1000,
        "start_ns": midnight,
        "stop_ns": midnight + DAY_S * NS,
        "stop_reason": "day-end",
        "source": "synthetic",
    }


def _without(
    edges: NDArray[np.int64], gaps: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return starts, stops and numbers of bouts, cut where gaps begin and end."""
    cuts = np.unique(np.concatenate([edges, gaps.ravel()]))
    start, stop = cuts[:-1], cuts[1:]
    inside = np.zeros(len(start), bool)
    for first, last in gaps.tolist():
        inside |= (start >= first) & (start < last)
    kept = np.searchsorted(edges, start, side="right") - 1
    return start[~inside], stop[~inside], kept[~inside]


def pool_of_days(seed: int = 0, count: int = POOL) -> list[tuple[NDArray[np.int16], NDArray[np.int64]]]:
    """Return distinct days."""
    return [day_of_bouts(np.random.default_rng([seed, index])) for index in range(count)]


def make_cage(cage: int, *, store: Path, days: int, pool: list[Any]) -> int:
    """Write a cage's days; return its bouts."""
    bouts = 0
    for day in range(days):
        tables = tables_of(cage, day, pool)
        write_tables(store, f"cage-{cage:03d}", (FIRST_DAY + timedelta(day)).isoformat(), tables)
        bouts += tables["bouts"].num_rows
    return bouts


def make(store: Path, cages: int, days: int) -> None:
    """Write the store and state its size."""
    began = time.perf_counter()
    pool = pool_of_days()
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        bouts = sum(processes.imap_unordered(partial(make_cage, store=store, days=days, pool=pool), range(cages)))
    files = list(store.rglob("*.parquet"))
    print(f"{cages} cages x {days} days in {time.perf_counter() - began:.0f} s: {bouts:,} bouts, {len(files):,} files")
    for table in sorted({path.relative_to(store).parts[0] for path in files}):
        size = sum(path.stat().st_size for path in (store / table).rglob("*.parquet"))
        print(f"  {table:<11} {size / 1e6:10,.1f} MB")


def ask(store: Path, memory_mb: int) -> None:
    """Time each of the report's questions, over all cages and days at once."""
    began = time.perf_counter()
    days = stored_days(store)
    database = open_store(store, memory_mb=memory_mb)
    print(f"{len(days)} days of {len({day.cage for day in days})} cages opened in {time.perf_counter() - began:.1f} s")
    first, last = (date.fromisoformat(pick(day.date for day in days)) for pick in (min, max))
    start_ns = int(datetime.combine(first, datetime.min.time(), timezone.utc).timestamp()) * NS
    stop_ns = start_ns + ((last - first).days + 1) * DAY_S * NS
    hours, tens = (np.arange(start_ns, stop_ns + 1, minutes * 60 * NS) for minutes in (60, 10))
    # Of hours from midnight UTC: the light phase, and the hour of the mean day, follow from the window's number.
    phase = "CASE WHEN number % 24 BETWEEN 6 AND 17 THEN 'light' ELSE 'dark' END"
    questions: list[tuple[str, NDArray[np.int64], Callable[[Any], Any], str]] = [
        ("time budget per hour and cage", hours, budgets, "SELECT * FROM asked"),
        ("observed time per hour and cage", hours, observed, "SELECT * FROM asked"),
        (
            "time budget per group and light phase",
            hours,
            budgets,
            f'SELECT right(cage, 1) AS "group", {phase} AS phase, behaviour, sum(seconds) FROM asked GROUP BY ALL',
        ),
        ("ethogram raster, ten minutes", tens, budgets, "SELECT * FROM asked"),
        (
            "circadian profile, hours",
            hours,
            budgets,
            "SELECT cage, number % 24 AS hour, behaviour, sum(seconds) FROM asked GROUP BY ALL",
        ),
        ("transitions", hours, transitions, "SELECT * FROM asked"),
        ("confidence by day", hours, confidence, "SELECT * FROM asked"),
    ]
    for name, edges, question, shape in questions:
        began = time.perf_counter()
        use_windows(database, edges)
        rows = question(database).query("asked", shape).to_arrow_table().num_rows
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"  {name:<38} {time.perf_counter() - began:6.1f} s {rows:10,} rows; highest memory so far {peak_mb} MiB")


def main() -> None:
    """Make a store, or ask it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("make", "ask"))
    parser.add_argument("store", type=Path)
    parser.add_argument("--cages", type=int, default=200)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--memory-mb", type=int, default=1024)
    asked = parser.parse_args()
    if asked.what == "make":
        make(asked.store, asked.cages, asked.days)
    else:
        ask(asked.store, asked.memory_mb)


if __name__ == "__main__":
    main()
