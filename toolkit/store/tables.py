"""What the store's tables are: their columns, their place, and their version, for the writer and the reader alike.

``STORE/TABLE/cage=CAGE/date=YYYY-MM-DD/part.parquet``: the partitions that DuckDB, Spark and others find by themselves.
A moment is there twice. The ``timestamp`` is to the microsecond, because Spark refuses Parquet's nanoseconds
(SPARK-40819); the ``_ns`` column is exact. Every table's times are UTC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.errors import MissingDependency

SCHEMA_VERSION = 1
"""Written to every file's metadata under `VERSION_KEY`."""
VERSION_KEY = b"toolkit.store.version"

TABLES = ("bouts", "seconds", "observed", "unobserved", "sessions")
"""In the order of writing: a day with `sessions` is complete."""
PART = "part.parquet"


def arrow() -> Any:
    """Return pyarrow with its Parquet module.

    Raises
    ------
    MissingDependency
        If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependency(
            "a store of Parquet needs pyarrow, which is not installed here. Install it: pip install 'toolkit[store]'"
        ) from error
    return pyarrow


def part(store: Path, table: str, cage: str, date: str) -> Path:
    """Return the file of one table of a cage's UTC day, ``YYYY-MM-DD``."""
    return store / table / f"cage={cage}" / f"date={date}" / PART


def schema(table: str) -> Any:
    """Return a table's Arrow schema, its version in the metadata."""
    pa = arrow()
    moment, name = pa.timestamp("us", tz="UTC"), pa.dictionary(pa.int16(), pa.string())
    span = [("start", moment), ("stop", moment), ("start_ns", pa.int64()), ("stop_ns", pa.int64())]
    columns: dict[str, list[tuple[str, Any]]] = {
        # `next`: the behaviour that follows without a break, so that transitions are counted without sorting; null
        # where a gap or the day's end follows. `continued`: began the day before, at whose end the log cut it.
        "bouts": [
            ("behaviour", name),
            *span,
            ("rows", pa.int32()),
            ("mean_probability", pa.float32()),
            ("next", name),
            ("continued", pa.bool_()),
        ],
        # One row per UTC second with rows; `probability` is that of `behaviour`, out of `probabilities`, which has
        # 255 times the mean of each of the ethogram's behaviours: most questions need one byte of them.
        "seconds": [
            ("time", moment),
            ("behaviour", name),
            ("probability", pa.uint8()),
            ("observed_ns", pa.int64()),
            ("rows", pa.int32()),
            ("unlabelled_rows", pa.int32()),
            ("padded_rows", pa.int32()),
            ("probabilities", pa.list_(pa.uint8())),
        ],
        "observed": span,
        "unobserved": [*span, ("reason", name)],
        "sessions": [
            ("uuid", pa.string()),
            ("boot_id", pa.string()),
            ("host", pa.string()),
            ("toolkit_version", pa.string()),
            ("bundle_name", pa.string()),
            ("bundle_sha256", pa.string()),
            ("engines", pa.string()),
            ("config_sha256", pa.string()),
            ("config", pa.string()),
            ("ethogram", pa.string()),
            ("level", pa.string()),
            ("row_interval_ns", pa.int64()),
            *span,
            ("stop_reason", pa.string()),
            ("source", pa.string()),
        ],
    }
    return pa.schema(columns[table], metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()})
