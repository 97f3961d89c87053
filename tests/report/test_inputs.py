"""What a user names, right and wrong, through the report's own door."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.report.logs import START_NS, write_log
from tests.report.test_from_labels import write_labels
from toolkit.behaviour_log import Reason
from toolkit.bouts import BoutRules
from toolkit.errors import ConfigError, InputError
from toolkit.ethogram import ethogram_from_names
from toolkit.report.animals import Animal, load_animals
from toolkit.report.clock import LabClock, lab_clock
from toolkit.report.inputs import Faults, Period, read_animals, sources
from toolkit.report.record import CageRecord

S = 1_000_000_000


def read(
    *paths: Path,
    animals: list[Animal] | None = None,
    partial: bool = False,
    pattern: str | None = None,
    period: Period | None = None,
) -> tuple[dict[str, CageRecord], list[str]]:
    """Return records by animal and the faults, raising them as a report does."""
    faults = Faults(partial)
    by_cage = sources(paths, pattern, faults)
    found = read_animals(by_cage, animals or [], BoutRules(), period or Period(), faults)
    records = {animal.name: record for animal, record in found}
    faults.check(bool(records))
    return records, faults.found


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for cage in ("cage-1", "cage-2"):
        write_log(tmp_path / "logs", [0] * 30, cage=cage)
    return tmp_path / "logs"


def test_files_folders_and_folders_of_folders(logs: Path) -> None:
    assert set(read(logs)[0]) == {"cage-1", "cage-2"}
    assert set(read(logs / "cage-1")[0]) == {"cage-1"}
    file = next((logs / "cage-2").glob("*.sqlite"))
    records, _ = read(logs / "cage-1", file, file)
    assert set(records) == {"cage-1", "cage-2"}
    assert records["cage-2"].files == (str(file),)


def test_label_files_and_their_cages(tmp_path: Path) -> None:
    for hour, cage in enumerate(("cage1", "cage1", "cage2")):
        provenance = {"recorded_at": f"2026-03-01T0{hour}:00:00Z"}
        write_labels(tmp_path / f"{cage}_0{hour}.labels.csv", ["rest"] * 10, provenance=provenance)
    assert set(read(tmp_path)[0]) == {"cage1_00", "cage1_01", "cage2_02"}
    records, _ = read(tmp_path, pattern=r"(cage\d)_")
    assert {name: len(record.bouts) for name, record in records.items()} == {"cage1": 2, "cage2": 1}
    with pytest.raises(InputError, match=r"--cage-pattern .* is not in its name"):
        read(tmp_path, pattern=r"(mouse\d)")
    for pattern, words in (("cage(", "not a regular expression"), ("cage", "has no group")):
        with pytest.raises(InputError, match=words):
            read(tmp_path, pattern=pattern)


def spoil(logs: Path, how: str) -> Path:
    """Spoil the log of cage 2; return a path to report on."""
    file = next((logs / "cage-2").glob("*.sqlite"))
    if how == "newer":
        with sqlite3.connect(file) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "foreign":
        file.write_bytes(b"not a database" * 100)
    elif how == "renamed":
        file.rename(file.with_name("cage-9_2025-11-23.sqlite"))
    elif how == "blind":
        shutil.rmtree(logs / "cage-2")
        write_log(logs, [0] * 30, cage="cage-2", gaps=[(0, 30, Reason.DARK)])
    elif how == "no file":
        file.unlink()
        return logs / "cage-2"
    return logs


SPOILT = [
    ("newer", r"schema 99, this toolkit knows schemas up to \d+\. Update"),
    ("empty", r"the file is empty \(0 bytes\)"),
    ("foreign", "cannot be read"),
    ("renamed", "holds the log of cage cage-2, its name says cage-9"),
    ("blind", r"cage cage-2: no frame was classified.*dark 1\.0 s"),
    ("no file", r"holds no \.sqlite file"),
]


@pytest.mark.parametrize(("how", "words"), SPOILT)
def test_a_log_that_cannot_be_used_stops_the_report(logs: Path, how: str, words: str) -> None:
    path = spoil(logs, how)
    with pytest.raises(InputError, match=words) as caught:
        read(logs / "cage-1", path)
    assert "--partial" in str(caught.value)


@pytest.mark.parametrize(("how", "words"), SPOILT)
def test_a_partial_report_goes_on_and_says_so(logs: Path, how: str, words: str) -> None:
    records, missing = read(logs / "cage-1", spoil(logs, how), partial=True)
    assert set(records) == {"cage-1"}
    assert len(missing) == 1
    assert re.search(words, missing[0])


def test_every_fault_is_named_at_once(logs: Path, tmp_path: Path) -> None:
    spoil(logs, "empty")
    with pytest.raises(InputError) as caught:
        read(logs, tmp_path / "absent", tmp_path / "absent.csv")
    for words in ("0 bytes", "absent: no such", "absent.csv: cannot be read", "--partial takes what can be read"):
        assert words in str(caught.value)


def test_nothing_at_all_is_not_a_partial_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such behaviour log") as caught:
        read(tmp_path / "absent", partial=True)
    assert "--partial" not in str(caught.value)


def test_overlapping_logs_of_a_cage(logs: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "copy", [1] * 60, cage="cage-1", start_ns=START_NS + S // 2)
    with pytest.raises(
        InputError, match=r"logs/cage-1/\S+ and \S+/copy/\S+ overlap: the one goes to 2025-11-23 12:13:2"
    ):
        read(logs / "cage-1", tmp_path / "copy")
    records, missing = read(logs / "cage-1", tmp_path / "copy", partial=True)
    assert records["cage-1"].bouts.behaviour.tolist() == [0]
    assert "overlap" in missing[0]
    assert records["cage-1"].remarks == tuple(missing)


def test_logs_of_two_ethograms_in_one_cage(logs: Path, tmp_path: Path) -> None:
    two = ethogram_from_names(["rest", "walk"])
    write_log(tmp_path / "other", [1] * 30, cage="cage-1", ethogram=two, start_ns=START_NS + 60 * S)
    with pytest.raises(InputError, match="hold different behaviours"):
        read(logs / "cage-1", tmp_path / "other")


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "animals.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_animals_take_their_part_of_a_cage(logs: Path, tmp_path: Path) -> None:
    # The log runs from 12:13:20 for one second.
    path = table(
        tmp_path, "cage,animal,treatment,start,end",
        "cage-1,m1,vehicle,,2025-11-23T12:13:20.5Z", "cage-1,m2,drug,2025-11-23T12:13:20.5Z,", "cage-2,m3,drug,,",
    )  # fmt: skip
    animals = load_animals(path, LabClock(), zoned=False)
    records, _ = read(logs, animals=animals)
    lengths = {name: (record.stop_ns - record.start_ns) / S for name, record in records.items()}
    assert lengths == {"m1": 0.5, "m2": pytest.approx(0.5, abs=1e-6), "m3": pytest.approx(1, abs=1e-6)}
    assert animals[1].groups == {"treatment": "drug"}


def test_animals_and_logs_must_meet(logs: Path) -> None:
    with pytest.raises(InputError, match="cage-2 is not in the table"):
        read(logs, animals=[Animal("cage-1", "m1")])
    with pytest.raises(InputError, match="no log or label file of cage cage-3"):
        read(logs / "cage-1", animals=[Animal("cage-1", "m1"), Animal("cage-3", "m3")])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["cage,treatment", "c,a"], "expected the columns cage, animal"),
        (["cage,animal", "c,"], "line 2: animal is empty"),
        (["cage,animal,sex", "c,m1,"], "line 2: sex is empty"),
        (["cage,animal", "c,m1", "c,m2"], "m1 and m2 are in it at once"),
        (["cage,animal,sex", "c,m1,f", "d,m1,m"], "animal m1: is in two groups"),
        (["cage,animal"], "no animal is in it"),
        (["cage,animal,start", "c,m,2026-01-02+01:00"], "line 2, start: expected YYYY-MM-DD"),
        (["cage,animal,start,end", "c,m,2026-01-02T00:00Z,2026-01-01T00:00Z"], "is not after start"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_animals(table(tmp_path, *lines), LabClock(), zoned=False)


def test_local_times_need_a_zone(tmp_path: Path) -> None:
    path = table(tmp_path, "cage,animal,start", "c,m,2026-07-01T08:00")
    with pytest.raises(ConfigError, match=r"line 2, start 2026-07-01T08:00: is a local time"):
        load_animals(path, LabClock(), zoned=False)
    (animal,) = load_animals(path, lab_clock("Europe/Berlin", None, None), zoned=True)
    assert animal.start_ns == 1_782_885_600 * S  # 06:00 UTC


def test_a_period(logs: Path) -> None:
    records, _ = read(logs / "cage-1", period=Period(START_NS + S // 4, START_NS + S // 2))
    assert records["cage-1"].stop_ns - records["cage-1"].start_ns == S // 4
    with pytest.raises(InputError, match="nothing in the time asked for"):
        read(logs / "cage-1", period=Period(START_NS + 10 * S))
