"""The report's questions to a small synthetic store, against plain Python over its files."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from benches.store_months import DAY_S, FIRST_DAY, NS, make_cage, pool_of_days
from toolkit.errors import InputError
from toolkit.store import open_store, stored_days
from toolkit.store.queries import budgets, confidence, observed, transitions, use_windows

CAGES, DAYS = 6, 3
START_NS = int(datetime.combine(FIRST_DAY, datetime.min.time(), timezone.utc).timestamp()) * NS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("months") / "store"
    pool = pool_of_days(count=3)
    for cage in range(CAGES):
        make_cage(cage, store=folder, days=DAYS, pool=pool)
    return folder


def rows_of(store: Path, table: str, cage: int) -> list[dict[str, Any]]:
    """Return a cage's rows, read by pyarrow and not by DuckDB."""
    paths = sorted((store / table / f"cage=cage-{cage:03d}").glob("*/part.parquet"))
    return [row for path in paths for row in pyarrow.parquet.read_table(path, partitioning=None).to_pylist()]


def cut(spans: list[tuple[int, int, str]], edges: np.ndarray) -> Counter[tuple[int, str]]:
    """Return ns of each name in each window, span by span."""
    total: Counter[tuple[int, str]] = Counter()
    for start_ns, stop_ns, name in spans:
        for number in range(len(edges) - 1):
            inside = min(stop_ns, int(edges[number + 1])) - max(start_ns, int(edges[number]))
            if inside > 0:
                total[number, name] += inside
    return total


def test_all_days_are_there_in_bounded_memory(store: Path) -> None:
    assert len(stored_days(store)) == CAGES * DAYS
    database = open_store(store, memory_mb=200)
    assert database.sql("SELECT count(DISTINCT cage), count(DISTINCT date) FROM sessions").fetchall() == [(6, 3)]
    assert database.execute("SELECT current_setting('memory_limit')").fetchall() == [("190.7 MiB",)]


def test_budgets_and_observed_time_are_cut_at_windows_of_any_length(store: Path) -> None:
    # A light phase that begins at 06:30, and a last window that is longer than a day.
    minutes = [0, 390, 391, 1110, 1440, DAYS * 1440]
    edges = np.array([START_NS + minute * 60 * NS for minute in minutes])
    database = open_store(store)
    use_windows(database, edges)
    found = {row[:3]: row[3:] for row in budgets(database).fetchall()}
    seen = {row[:2]: row[2] for row in observed(database).fetchall()}
    for cage in (0, 5):
        name = f"cage-{cage:03d}"
        bouts = rows_of(store, "bouts", cage)
        expected = cut([(b["start_ns"], b["stop_ns"], b["behaviour"]) for b in bouts], edges)
        assert {key[1:] for key in found if key[0] == name} == set(expected)
        for (number, behaviour), inside_ns in expected.items():
            assert found[name, number, behaviour][0] == pytest.approx(inside_ns / NS)
        begun = sum(count for (cage_name, _, _), (_, count) in found.items() if cage_name == name)
        assert begun == sum(not bout["continued"] for bout in bouts)
        spans = [(s["start_ns"], s["stop_ns"], "") for s in rows_of(store, "observed", cage)]
        for (number, _), inside_ns in cut(spans, edges).items():
            assert seen[name, number] == pytest.approx(inside_ns / NS)
        # Bouts tile the observed time of this synthetic store.
        assert sum(expected.values()) == sum(cut(spans, edges).values())


def test_a_cage_alone_is_looked_at_alone(store: Path) -> None:
    database = open_store(store, cage="cage-002")
    assert database.sql("SELECT DISTINCT cage FROM bouts").fetchall() == [("cage-002",)]


def test_transitions_are_the_pairs_that_touch(store: Path) -> None:
    found = {row[1:3]: row[3] for row in transitions(open_store(store, cage="cage-003")).fetchall()}
    expected: Counter[tuple[str, str]] = Counter()
    bouts = rows_of(store, "bouts", 3)
    for before, after in pairwise(bouts):
        midnight = after["start_ns"] % (DAY_S * NS) == 0
        if before["stop_ns"] == after["start_ns"] and not midnight:
            expected[before["behaviour"], after["behaviour"]] += 1
    assert found == dict(expected)


def test_confidence_is_that_of_the_seconds(store: Path) -> None:
    rows = confidence(open_store(store)).fetchall()
    summed = rows_of(store, "seconds", 4)
    mine = [row for row in rows if row[0] == "cage-004"]
    assert sum(row[3] for row in mine) == len(summed)
    mean = sum(row[3] * row[4] for row in mine) / len(summed)
    assert mean == pytest.approx(np.mean([row["probability"] for row in summed]) / 255)
    unsure = sum(row[3] * row[5] for row in mine)
    assert unsure == pytest.approx(sum(row["probability"] < 128 for row in summed))


def test_windows_are_whole_minutes(store: Path) -> None:
    with pytest.raises(InputError, match="whole minutes"):
        use_windows(open_store(store), np.array([START_NS, START_NS + NS]))
