"""The store as DuckDB sees it: a view per table, complete days only, and no more memory than was said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import InputError, MissingDependency, raise_faults
from toolkit.store.tables import PART, SCHEMA_VERSION, TABLES, VERSION_KEY

_HIVE = "hive_partitioning = true, hive_types = {'cage': VARCHAR, 'date': DATE}"
"""Types are said, or a cage called 07 would be the number 7."""
DEFAULT_MEMORY_MB = 1024


@dataclass(frozen=True, slots=True, order=True)
class StoredDay:
    """A complete day of one cage."""

    cage: str
    date: str
    """UTC, ``YYYY-MM-DD``."""


def is_store(path: Path) -> bool:
    """Say whether a folder is a store, by its tables' folders."""
    return all((path / table).is_dir() for table in TABLES)


def stored_days(store: Path) -> list[StoredDay]:
    """Return the complete days, sorted.

    Raises
    ------
    InputError
        If the folder is no store or holds no day.
    """
    if not is_store(store):
        raise InputError(
            f"{store}: is not a store. Expected a folder that `toolkit logs export --format parquet` wrote, with "
            f"{', '.join(TABLES)} in it."
        )
    days = [
        StoredDay(cage.name.removeprefix("cage="), day.name.removeprefix("date="))
        for cage in sorted((store / TABLES[-1]).glob("cage=*"))
        for day in sorted(cage.glob("date=*"))
        if (day / PART).is_file()
    ]
    if not days:
        raise InputError(f"{store}: holds no complete day. Export a log into it first.")
    return days


def open_store(
    store: Path, *, cage: str | None = None, memory_mb: int = DEFAULT_MEMORY_MB, spill: Path | None = None
) -> Any:
    """Return a DuckDB connection with a view of each table; with the partitions' columns ``cage`` and ``date``.

    Parameters
    ----------
    cage
        Limits the views to one cage, whose folders alone are then looked through.
    memory_mb
        What DuckDB may hold, MB; beyond it spills to disk.
    spill
        Folder for that; None: DuckDB's own choice, ``.tmp`` here.

    Raises
    ------
    InputError
        If the folder is no store, a day is incomplete, or a file is newer than this toolkit.
    MissingDependency
        If DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingDependency(
            "a store is read by DuckDB, which is not installed here. Install it: pip install 'toolkit[store]'"
        ) from error
    _check_complete(store, stored_days(store), cage)
    settings: dict[str, Any] = {"memory_limit": f"{memory_mb}MB", "preserve_insertion_order": False}
    if spill is not None:
        settings["temp_directory"] = str(spill)
    database = duckdb.connect(config=settings)
    database.execute("SET enable_progress_bar = false")
    for table in TABLES:
        place = str(store / table / f"cage={'*' if cage is None else cage}" / "date=*" / PART).replace("'", "''")
        database.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{place}', {_HIVE})")
        if table == TABLES[-1]:
            _check_version(database, store, place)
    return database


def _check_complete(store: Path, days: list[StoredDay], cage: str | None) -> None:
    """Raise for days whose writing was cut off: their times would be missing or old without a word."""
    complete = {(day.cage, day.date) for day in days}
    faults = []
    for folder in sorted((store / TABLES[0]).glob(f"cage={'*' if cage is None else cage}")):
        for day in sorted(path.name for path in folder.iterdir()):
            key = (folder.name.removeprefix("cage="), day.removeprefix("date="))
            if key not in complete and (folder / day / PART).is_file():
                faults.append(f"{key[0]}, {key[1]}: its export was cut off; export that day again")
    raise_faults(InputError, f"{store} cannot be used", faults)


def _check_version(database: Any, store: Path, place: str) -> None:
    found = database.execute(
        f"SELECT DISTINCT decode(value) FROM parquet_kv_metadata('{place}') WHERE decode(key) = ?",
        [VERSION_KEY.decode()],
    ).fetchall()
    versions = sorted(int(row[0]) for row in found)
    if not versions:
        raise InputError(f"{store}: its files do not say which version they are. Expected what toolkit wrote.")
    if versions[-1] > SCHEMA_VERSION:
        raise InputError(
            f"{store}: was written by a newer toolkit (version {versions[-1]} of its tables, this one reads up to "
            f"{SCHEMA_VERSION}). Update toolkit here."
        )
