"""Records from a store of Parquet, one cage at a time: a month of it is read in the time of one day's log."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import LoggedSession
from toolkit.behaviour_log.schema import Level
from toolkit.errors import InputError
from toolkit.ethogram import Ethogram
from toolkit.report.from_logs import session_lines
from toolkit.report.record import Bouts, CageRecord, DayConfidence, Gap, join_records
from toolkit.store import open_store

_NS_PER_DAY = 86_400 * 10**9


def record_from_store(store: Path, cage: str) -> CageRecord:
    """Return the record of a cage's whole time in a store.

    Its confidence is that of seconds and not of rows: of each the mean probability of its label, counted for the rows
    that it sums up.

    Raises
    ------
    InputError
        If the store cannot be read, or a cage's days differ in their ethogram.
    MissingDependency
        If DuckDB is not installed.
    """
    with open_store(store, cage=cage) as database:
        sessions = _columns(database, "SELECT * EXCLUDE (start, stop) FROM sessions ORDER BY date, start_ns")
        days = sorted({str(day) for day in sessions["date"]})
        ethograms = {text: Ethogram.model_validate_json(text) for text in sessions["ethogram"]}
        if len({ethogram.names for ethogram in ethograms.values()}) != 1:
            raise InputError(
                f"{store}: the days of cage {cage} hold different behaviours. Expected one ethogram. Export those of "
                "each bundle to a store of their own."
            )
        ethogram = next(iter(ethograms.values()))
        tables = {
            "bouts": _columns(database, _BOUTS.format(names=_listed(ethogram))),
            "observed": _columns(database, "SELECT date, start_ns, stop_ns FROM observed ORDER BY start_ns"),
            "unobserved": _columns(
                database, "SELECT date, start_ns, stop_ns, reason::VARCHAR AS reason FROM unobserved ORDER BY start_ns"
            ),
            "confidence": _columns(database, _CONFIDENCE.format(names=_listed(ethogram))),
            "rows": _columns(
                database,
                "SELECT date, sum(padded_rows) AS padded, sum(unlabelled_rows) AS unlabelled FROM seconds GROUP BY 1",
            ),
        }
    pieces = [_day(store, cage, day, ethogram, sessions, tables) for day in days]
    record = join_records(pieces)
    return replace(record, files=(str(store),))


_BOUTS = "SELECT date, list_position({names}, behaviour::VARCHAR) - 1 AS label, start_ns, stop_ns FROM bouts ORDER BY 3"
_CONFIDENCE = """
SELECT date, list_position({names}, behaviour::VARCHAR) - 1 AS label, probability,
    sum(rows - unlabelled_rows) AS rows
FROM seconds WHERE behaviour IS NOT NULL GROUP BY ALL"""


def _listed(ethogram: Ethogram) -> str:
    # Names are letters, digits, - and _ (`Behaviour.name`), so that none can end the text.
    return "[" + ", ".join(f"'{name}'" for name in ethogram.names) + "]"


def _columns(database: Any, query: str) -> dict[str, NDArray[Any]]:
    table = database.sql(query).to_arrow_table()
    columns = {name: table.column(name).to_numpy() for name in table.column_names if name != "date"}
    # As text, so that days compare with the folders' names.
    return {**columns, "date": np.array([str(day) for day in table.column("date").to_pylist()])}


def _day(
    store: Path,
    cage: str,
    day: str,
    ethogram: Ethogram,
    sessions: dict[str, NDArray[Any]],
    tables: dict[str, dict[str, NDArray[Any]]],
) -> CageRecord:
    here = {
        name: {column: values[table["date"] == day] for column, values in table.items()}
        for name, table in tables.items()
    }
    bouts, observed, gaps = here["bouts"], here["observed"], here["unobserved"]
    at = np.flatnonzero(sessions["date"] == day)
    made_by = [_session({name: values[row] for name, values in sessions.items()}) for row in at.tolist()]
    return CageRecord(
        cage=cage,
        ethogram=ethogram,
        observed=np.column_stack([observed["start_ns"], observed["stop_ns"]]).astype(np.int64),
        unobserved=tuple(
            Gap(int(start), int(stop), str(reason))
            for start, stop, reason in zip(gaps["start_ns"], gaps["stop_ns"], gaps["reason"], strict=True)
        ),
        bouts=Bouts(
            bouts["label"].astype(np.int16), bouts["start_ns"].astype(np.int64), bouts["stop_ns"].astype(np.int64)
        ),
        row_interval_ns=max(session.row_interval_ns for session in made_by),
        confidence=_confidence(day, ethogram, here["confidence"], here["rows"]),
        provenance=tuple(session_lines(session) for session in made_by),
        files=(f"{store}, {cage}, {day}",),
    )


def _confidence(
    day: str, ethogram: Ethogram, table: dict[str, NDArray[Any]], rows: dict[str, NDArray[Any]]
) -> tuple[DayConfidence, ...]:
    if not len(rows["padded"]):
        return ()
    histogram = np.zeros((len(ethogram), 256), np.int64)
    np.add.at(histogram, (table["label"].astype(np.int64), table["probability"]), table["rows"].astype(np.int64))
    midnight_ns = int(np.datetime64(day, "ns").astype(np.int64))
    return (DayConfidence(midnight_ns, histogram, int(rows["padded"][0]), int(rows["unlabelled"][0])),)


def _session(row: dict[str, Any]) -> LoggedSession:
    return LoggedSession(
        uuid=row["uuid"],
        boot_id=row["boot_id"],
        host=row["host"],
        toolkit_version=row["toolkit_version"],
        bundle_name=row["bundle_name"],
        bundle_sha256=row["bundle_sha256"],
        engines=json.loads(row["engines"]),
        config_sha256=row["config_sha256"],
        config=json.loads(row["config"]),
        utc_offset_ns=0,
        row_interval_ns=int(row["row_interval_ns"]),
        start_ns=int(row["start_ns"]),
        stop_ns=None,
        stop_reason=row["stop_reason"],
        level=Level(row["level"]),
    )
