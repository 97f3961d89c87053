"""Many cages and months as one folder of Parquet: written a cage's day at a time, queried by DuckDB."""

from toolkit.store.reader import StoredDay, is_store, open_store, stored_days
from toolkit.store.tables import SCHEMA_VERSION, TABLES
from toolkit.store.writer import is_closed, write_day

__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "StoredDay",
    "is_closed",
    "is_store",
    "open_store",
    "stored_days",
    "write_day",
]
