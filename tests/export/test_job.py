"""`toolkit logs export`: what is written of which inputs, and what is said of those that cannot be."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pandas
import pytest
from typer.testing import CliRunner

from tests.behaviour_log.sessions import NOON_DAY, NOON_NS, NS, add_rows, session, steps
from tests.conftest import WriteVideo
from tests.export.parts import gapped_log, labelled_video
from toolkit.behaviour_log import LogWriter
from toolkit.behaviour_log.retention import is_exported
from toolkit.cli import app
from toolkit.errors import InputError
from toolkit.ethogram import ethogram_from_names
from toolkit.export import PARTIAL, Exported, ExportOptions, export_logs
from toolkit.store import stored_days, writer


def log(folder: Path, cage: str = "a1", *, second: int = 0, names: tuple[str, ...] = ("rest", "walk", "rear")) -> Path:
    """Write one second of a cage's log from noon plus `second` on; return its day's file."""
    start_ns = NOON_NS + second * NS
    made = session(second + 1, start_ns=start_ns, offset_ns=start_ns, ethogram=ethogram_from_names(names))
    with LogWriter(folder, cage, made) as opened:
        add_rows(opened, steps(0, 100))
        opened.close("stopped")
    (file,) = (folder / cage).glob("*.sqlite")
    return file


def export(*paths: Path, out: Path, form: str = "csv", **options: bool) -> Exported:
    return export_logs(paths, out, ExportOptions(form, **options))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_cages_and_labelled_videos_are_exported_together(write_video: WriteVideo, tmp_path: Path) -> None:
    log(tmp_path / "logs", "a1")
    log(tmp_path / "logs", "a2")
    _, table = labelled_video(write_video, tmp_path / "labels")
    for form, endings in (
        ("csv", [".bouts.csv", ".unobserved.csv"]),
        ("boris", [".boris.csv", ".boris.xlsx"]),
        ("deepethogram", ["_labels.csv"]),
    ):
        done = export(tmp_path / "logs", table.parent, table, out=tmp_path / form, form=form)
        expected = [f"{name}{end}" for name in (f"a1_{NOON_DAY}", f"a2_{NOON_DAY}", "cage") for end in endings]
        assert names(tmp_path / form) == expected
        assert sorted(path.name for path in done.files) == expected
        assert done.missing == []


def test_nwb_is_a_file_per_cage(tmp_path: Path) -> None:
    log(tmp_path / "logs", "a1")
    log(tmp_path / "logs", "a2")
    export(tmp_path / "logs", out=tmp_path / "nwb", form="nwb")
    assert names(tmp_path / "nwb") == ["a1.nwb", "a2.nwb"]


def test_logs_that_overlap_are_refused_or_left_out(tmp_path: Path) -> None:
    first, again = log(tmp_path / "one"), log(tmp_path / "two")
    with pytest.raises(InputError, match=r"one/a1/.* and .*two/a1/.*: overlap in time") as refused:
        export(first, again, out=tmp_path / "out")
    assert "--partial leaves them out" in str(refused.value)
    export(first, again, out=tmp_path / "partial", partial=True)
    assert names(tmp_path / "partial") == [PARTIAL, f"a1_{NOON_DAY}.bouts.csv", f"a1_{NOON_DAY}.unobserved.csv"]
    assert "overlap in time" in (tmp_path / "partial" / PARTIAL).read_text()
    # Whole at last, it is partial no more.
    export(first, out=tmp_path / "partial", overwrite=True)
    assert PARTIAL not in names(tmp_path / "partial")


def test_a_cages_ethogram_is_one(tmp_path: Path) -> None:
    first = log(tmp_path / "one")
    other = log(tmp_path / "two", second=10, names=("rest", "run", "rear"))
    with pytest.raises(InputError, match=r"hold different behaviours of cage a1 \(rest, walk, rear; rest, run, rear"):
        export(first, other, out=tmp_path / "out", form="nwb")


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    good, newer = log(tmp_path / "one"), log(tmp_path / "two", "a2")
    (empty := tmp_path / "a3_2027-01-15.sqlite").touch()
    with closing(sqlite3.connect(newer)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError) as refused:
        export(good, newer, empty, tmp_path / "none.sqlite", out=tmp_path / "out")
    said = str(refused.value)
    assert "the file is empty (0 bytes)" in said
    assert "99" in said
    assert "none.sqlite: no such log" in said


def test_an_export_of_nothing_is_refused_even_in_part(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    with pytest.raises(InputError, match=r"holds no \.sqlite file and no labels"):
        export(tmp_path / "logs", out=tmp_path / "out", partial=True)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_replaced_on_demand_alone(tmp_path: Path) -> None:
    file = log(tmp_path / "logs")
    export(file, out=tmp_path / "out")
    with pytest.raises(InputError, match="already exists"):
        export(file, out=tmp_path / "out")
    export(file, out=tmp_path / "out", overwrite=True)


def test_a_stored_day_counts_as_exported_until_it_is_written_to(tmp_path: Path) -> None:
    cage = gapped_log(tmp_path / "logs")
    (file,) = cage.glob("*.sqlite")
    export(file, out=tmp_path / "csv")
    assert not is_exported(file)
    export(cage, out=tmp_path / "store", form="parquet")
    assert is_exported(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute("INSERT INTO meta VALUES ('touched', '1')")
        database.commit()
    assert not is_exported(file)


def test_a_day_that_is_not_over_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = log(tmp_path / "logs")
    monkeypatch.setattr("toolkit.export.job.is_closed", lambda day: False)
    done = export(file, out=tmp_path / "store", form="parquet")
    assert (done.files, done.open_days) == ([], [file])
    done = export(file, out=tmp_path / "store", form="parquet", open_day=True)
    assert [day.date for day in stored_days(tmp_path / "store")] == [NOON_DAY]


def test_a_day_is_over_at_midnight_utc() -> None:
    assert writer.is_closed("2025-11-23")
    assert not writer.is_closed("2100-01-01")


def test_a_store_is_made_of_logs(write_video: WriteVideo, tmp_path: Path) -> None:
    _, table = labelled_video(write_video, tmp_path / "labels")
    with pytest.raises(InputError, match="a store is made of behaviour logs"):
        export(table, out=tmp_path / "store", form="parquet")


def test_labels_without_their_provenance_are_refused(write_video: WriteVideo, tmp_path: Path) -> None:
    _, table = labelled_video(write_video, tmp_path / "labels")
    table.with_name("cage.labels.json").unlink()
    with pytest.raises(InputError, match=r"its cage\.labels\.json is not beside it"):
        export(table, out=tmp_path / "out")


def test_the_command_says_what_it_wrote_and_left(tmp_path: Path) -> None:
    log(tmp_path / "logs")
    (tmp_path / "logs" / "a1" / "a1_2027-01-16.sqlite").touch()
    out = tmp_path / "out"
    command = ["logs", "export", str(tmp_path / "logs"), "--out", str(out)]
    assert isinstance(CliRunner().invoke(app, command).exception, InputError)
    result = CliRunner().invoke(app, [*command, "--partial", "--overwrite"])
    assert result.exit_code == 0, result.output
    said = result.output.replace("\n", "")
    assert f"written: {out}/a1_{NOON_DAY}.bouts.csv" in said
    assert "left out:" in said
    assert len(pandas.read_csv(out / f"a1_{NOON_DAY}.bouts.csv")) == 1
    result = CliRunner().invoke(app, [*command, "--format", "xml"])
    assert "expected csv, boris, deepethogram, nwb, parquet; found 'xml'" in str(result.exception)


def test_rows_that_wait_for_their_date_are_not_exported(tmp_path: Path) -> None:
    file = log(tmp_path / "logs")
    (file.parent / "pending-boot.sqlite").write_bytes(file.read_bytes())
    done = export(file.parent, out=tmp_path / "out")
    assert len(done.files) == 2
