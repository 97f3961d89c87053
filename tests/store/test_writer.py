"""What DuckDB finds in a store of real logs; days are put in whole, and again."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet
import pytest

from tests.behaviour_log.sessions import add_rows, session, steps
from tests.export.parts import at, gapped_log
from tests.report.logs import INTERVAL_NS
from toolkit.behaviour_log import LogWriter, read_log
from toolkit.errors import InputError
from toolkit.store import TABLES, open_store, stored_days, write_day
from toolkit.store.tables import VERSION_KEY, part, schema


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_day(tmp_path / "store", read_log(gapped_log(tmp_path / "logs")))
    return tmp_path / "store"


def ten_rows(folder: Path, cage: str) -> Path:
    with LogWriter(folder, cage, session()) as log:
        add_rows(log, steps(0, 10))
        log.close("stopped")
    return folder / cage


def test_another_program_finds_cages_and_dates_by_the_folders(store: Path) -> None:
    # DuckDB as a lab would call it, without this toolkit.
    found = duckdb.sql(
        f"SELECT cage, date, behaviour::VARCHAR, start_ns, stop_ns - start_ns, rows, next::VARCHAR "
        f"FROM read_parquet('{store}/bouts/*/*/*.parquet', hive_partitioning = true) ORDER BY start_ns"
    ).fetchall()
    assert [(str(row[0]), str(row[1])) for row in found] == [("cage-07", "2025-11-23")] * 4
    assert [(row[2], row[3], row[6]) for row in found] == [
        ("rest", at(0), "walk"),
        ("walk", at(60), None),
        ("drink", at(150), None),
        ("rest", at(210), None),
    ]
    assert [row[4] for row in found] == [60 * INTERVAL_NS, 30 * INTERVAL_NS, 30 * INTERVAL_NS, 90 * INTERVAL_NS]


def test_times_and_types_are_what_spark_takes(store: Path) -> None:
    for table in TABLES:
        found = pyarrow.parquet.ParquetFile(part(store, table, "cage-07", "2025-11-23"))
        assert found.schema_arrow.equals(schema(table))
        assert found.metadata.metadata[VERSION_KEY] == b"1"
        assert not any("Nanosecond" in str(found.schema.column(i).logical_type) for i in range(len(found.schema)))
        compressions = {found.metadata.row_group(0).column(i).compression for i in range(len(found.schema))}
        assert compressions == {"ZSTD"}


def test_seconds_sum_up_the_rows_and_cover_what_was_observed(store: Path) -> None:
    rows = (
        open_store(store)
        .sql(
            "SELECT behaviour::VARCHAR, probability, observed_ns, rows, unlabelled_rows, probabilities "
            "FROM seconds ORDER BY time"
        )
        .fetchall()
    )
    # 30 intervals are 10 ns short of a second: the first has 31 rows, the next 30, and the last of them is walk's.
    assert [row[0] for row in rows[:3]] == ["rest", "rest", "walk"]
    assert [row[3] for row in rows[:3]] == [31, 30, 29]
    assert rows[0][1] == 255
    assert rows[1][1] == pytest.approx(255 * 29 / 30, abs=0.5)
    assert rows[1][5][7] == pytest.approx(255 / 30, abs=0.5)
    assert sum(row[3] for row in rows) == 240
    assert sum(row[4] for row in rows) == 30
    assert sum(row[2] for row in rows) == 240 * INTERVAL_NS
    assert all(len(row[5]) == 8 for row in rows)
    assert rows[0][5] == [0, 0, 0, 0, 0, 0, 255, 0]


def test_observed_and_unobserved_time_cover_the_log_once(store: Path) -> None:
    spans = (
        open_store(store)
        .sql(
            "SELECT start_ns, stop_ns, '' FROM observed UNION ALL "
            "SELECT start_ns, stop_ns, reason::VARCHAR FROM unobserved ORDER BY 1"
        )
        .fetchall()
    )
    assert [row[2] for row in spans] == ["", "camera-lost", ""]
    assert [row[0] for row in spans] == [at(0), at(90), at(150)]
    assert [row[1] for row in spans] == [at(90), at(150), at(300)]


def test_a_day_that_is_put_in_again_is_there_once(store: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in store.rglob("*.parquet")}
    write_day(store, read_log(tmp_path / "logs" / "cage-07"))
    assert {path: path.read_bytes() for path in store.rglob("*.parquet")} == before
    assert open_store(store).sql("SELECT count(*) FROM bouts").fetchall() == [(4,)]


def test_a_cage_called_by_a_number_keeps_its_name(tmp_path: Path) -> None:
    write_day(tmp_path / "store", read_log(ten_rows(tmp_path, "007")))
    assert open_store(tmp_path / "store").sql("SELECT DISTINCT cage FROM bouts").fetchall() == [("007",)]


def test_a_day_whose_writing_was_cut_off_is_not_taken_for_a_whole_one(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def fail_at_the_third(table: object, path: Path, **options: object) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError("No space left on device")
        real(table, path, **options)

    real = pyarrow.parquet.write_table
    monkeypatch.setattr(pyarrow.parquet, "write_table", fail_at_the_third)
    with pytest.raises(OSError, match="No space"):
        write_day(store, read_log(tmp_path / "logs" / "cage-07"))
    write_day(store, read_log(ten_rows(tmp_path, "other")))
    assert [day.cage for day in stored_days(store)] == ["other"]
    with pytest.raises(InputError, match="cage-07, 2025-11-23: its export was cut off"):
        open_store(store)
    assert not [path for path in store.rglob(".*") if path.is_file()]
    write_day(store, read_log(tmp_path / "logs" / "cage-07"))
    assert open_store(store).sql("SELECT count(DISTINCT cage) FROM bouts").fetchall() == [(2,)]


def test_a_newer_store_and_no_store_are_refused(store: Path, tmp_path: Path) -> None:
    path = part(store, "sessions", "cage-07", "2025-11-23")
    table = pyarrow.parquet.read_table(path, partitioning=None)
    pyarrow.parquet.write_table(table.replace_schema_metadata({VERSION_KEY: b"9"}), path)
    with pytest.raises(InputError, match=r"written by a newer toolkit \(version 9"):
        open_store(store)
    with pytest.raises(InputError, match="is not a store"):
        open_store(tmp_path / "logs")
