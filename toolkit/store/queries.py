"""The report's questions to a whole store, answered by DuckDB, in no more memory than it was given.

Time is cut at the borders of windows: hours, tens of minutes, light phases, whatever the caller makes of its clock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError
from toolkit.store.tables import arrow

_NS_PER_MINUTE = 60 * 10**9

_CUT = """
WITH cut AS (
    -- A minute knows its window, which a hash table of minutes answers without sorting millions of spans.
    SELECT s.*, a.number AS first, unnest(range(a.number, b.number + 1)) AS number
    FROM {spans} s
    JOIN minutes a ON a.minute = s.start_ns // 60_000_000_000
    JOIN minutes b ON b.minute = (s.stop_ns - 1) // 60_000_000_000
)
"""


def use_windows(database: Any, edges: NDArray[np.int64]) -> None:
    """Give a connection the windows that `budgets` and `observed` cut time at.

    Parameters
    ----------
    edges
        (W + 1,) int64 increasing UTC ns, whole minutes; window i is from edge i to edge i + 1. They must cover the
        store's time: a span that begins before the first edge or ends after the last is left out.

    Raises
    ------
    InputError
        If an edge is not a whole minute.
    """
    if np.any(edges % _NS_PER_MINUTE):
        raise InputError("windows of time: expected borders at whole minutes. Choose a bin of whole minutes.")
    pa = arrow()
    lengths = np.diff(edges // _NS_PER_MINUTE)
    tables = {
        "borders": pa.table({"number": np.arange(len(lengths)), "start_ns": edges[:-1], "stop_ns": edges[1:]}),
        "minutes": pa.table(
            {
                "minute": np.arange(edges[0] // _NS_PER_MINUTE, edges[-1] // _NS_PER_MINUTE),
                "number": np.repeat(np.arange(len(lengths)), lengths),
            }
        ),
    }
    for name, table in tables.items():
        database.register("arrived", table)
        database.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM arrived")
        database.unregister("arrived")


def budgets(database: Any) -> Any:
    """Return a relation (cage, number, behaviour, seconds, bouts): time in each window, and bouts that begin in it."""
    return database.sql(
        _CUT.format(spans="bouts")
        + """
SELECT cut.cage, cut.number, cut.behaviour,
    sum(least(cut.stop_ns, w.stop_ns) - greatest(cut.start_ns, w.start_ns)) / 1e9 AS seconds,
    count(*) FILTER (WHERE cut.number = cut.first AND NOT cut.continued) AS bouts
FROM cut JOIN borders w USING (number) GROUP BY ALL"""
    )


def observed(database: Any) -> Any:
    """Return a relation (cage, number, seconds): what budgets divide by."""
    return database.sql(
        _CUT.format(spans="observed")
        + """
SELECT cut.cage, cut.number, sum(least(cut.stop_ns, w.stop_ns) - greatest(cut.start_ns, w.start_ns)) / 1e9 AS seconds
FROM cut JOIN borders w USING (number) GROUP BY ALL"""
    )


def transitions(database: Any) -> Any:
    """Return a relation (cage, behaviour, next, count): bouts that follow each other without a break.

    A bout that midnight cut counts once, with what follows its second part; one that ends just there counts not.
    """
    return database.sql(
        "SELECT cage, behaviour, next, count(*) AS count FROM bouts WHERE next IS NOT NULL GROUP BY ALL"
    )


def confidence(database: Any) -> Any:
    """Return a relation (cage, date, behaviour, seconds, mean, unsure): how sure the networks were, day by day.

    Of seconds by their label: the mean probability, and the share of them under one half; both 0 to 1.
    """
    return database.sql(
        """
SELECT cage, date, behaviour, count(*) AS seconds, avg(probability) / 255 AS mean,
    count(*) FILTER (WHERE probability < 128) / count(*) AS unsure
FROM seconds WHERE behaviour IS NOT NULL GROUP BY ALL"""
    )
