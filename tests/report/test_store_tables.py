"""The tables of a store, asked of DuckDB, are what the report's own arithmetic makes of its cages one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
from typer.testing import CliRunner

from benches.store_months import make_cage, pool_of_days
from toolkit.cli import app
from toolkit.errors import InputError
from toolkit.report.animals import Animal
from toolkit.report.clock import lab_clock
from toolkit.report.from_store import record_from_store
from toolkit.report.store_tables import write_store_tables
from toolkit.report.summary import CageSummary, summarise

CAGES, DAYS = 4, 2
HOUR_NS = 3600 * 10**9
CLOCK = lab_clock("+01:00", "07:30", "19:30")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("months") / "store"
    pool = pool_of_days(count=3)
    for cage in range(CAGES):
        make_cage(cage, store=folder, days=DAYS, pool=pool)
    return folder


@pytest.fixture(scope="module")
def summaries(store: Path) -> dict[str, CageSummary]:
    names = [f"cage-{number:03d}" for number in range(CAGES)]
    return {name: summarise(Animal(name, name), record_from_store(store, name), CLOCK, HOUR_NS) for name in names}


def test_budgets_and_transitions_are_the_reports(
    store: Path, summaries: dict[str, CageSummary], tmp_path: Path
) -> None:
    write_store_tables(store, tmp_path, CLOCK, HOUR_NS)
    budget, followed = (pandas.read_csv(tmp_path / f"{name}.csv") for name in ("budget", "transitions"))
    for name, summary in summaries.items():
        mine = budget[budget["cage"] == name]
        total = mine.groupby("behaviour")["seconds"].sum()
        for line in summary.budget.behaviours:
            assert total[line.name] == pytest.approx(line.total_s)
        by_phase = mine.groupby(["phase", "behaviour"])["seconds"].sum()
        assert summary.phases is not None
        for row, phase in enumerate(("light", "dark")):
            expected = summary.phases.total_s[row]
            assert [by_phase[phase, each] for each in summary.ethogram.names] == pytest.approx(expected.tolist())
        counts = followed[followed["cage"] == name].set_index(["behaviour", "next"])["count"]
        names = summary.ethogram.names
        table = [[counts.get((before, after), 0) for after in names] for before in names]
        # The synthetic log has no bout over midnight: what ends there is followed across it only in the joined record.
        assert np.abs(np.array(table) - summary.transitions).sum() <= DAYS - 1
    seen = budget.drop_duplicates(["cage", "start_utc"]).groupby("cage")["observed_s"].sum()
    assert seen.to_dict() == pytest.approx({name: each.budget.observed_s for name, each in summaries.items()})


def test_the_profile_is_over_hours_of_zeitgeber_time(
    store: Path, summaries: dict[str, CageSummary], tmp_path: Path
) -> None:
    write_store_tables(store, tmp_path, CLOCK, HOUR_NS)
    profile = pandas.read_csv(tmp_path / "profile.csv").set_index(["cage", "hour", "behaviour"])["percent"]
    assert sorted(set(profile.index.get_level_values("hour"))) == list(range(24))
    # Rest rules the light phase of the made-up mouse, and not the dark one.
    for name in summaries:
        light = np.mean([profile[name, hour, "rest"] for hour in range(12)])
        dark = np.mean([profile[name, hour, "rest"] for hour in range(12, 24)])
        assert light > dark + 20


def test_groups_are_means_over_cages(store: Path, summaries: dict[str, CageSummary], tmp_path: Path) -> None:
    (tmp_path / "animals.csv").write_text(
        "cage,animal,treatment\n" + "".join(f"{name},{name},{'ab'[i % 2]}\n" for i, name in enumerate(summaries))
    )
    result = CliRunner().invoke(
        app,
        [
            *("logs", "tables", str(store), "--out", str(tmp_path), "--animals", str(tmp_path / "animals.csv")),
            *("--timezone", "+01:00", "--lights-on", "07:30", "--lights-off", "19:30"),
        ],
    )
    assert result.exit_code == 0, result.output
    phases = pandas.read_csv(tmp_path / "phases.csv").set_index(["group", "phase", "behaviour"])["mean_percent"]
    mine = [summary for i, summary in enumerate(summaries.values()) if i % 2 == 0]
    rest = mine[0].ethogram.index("rest")
    shares = [100 * each.phases.total_s[1, rest] / each.phases.observed_s[1] for each in mine if each.phases]
    assert phases["a", "dark", "rest"] == pytest.approx(np.mean(shares))


def test_a_cage_without_a_group_and_an_animal_that_moved_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cage cage-001, cage-002, cage-003: is not in the table"):
        write_store_tables(store, tmp_path, CLOCK, HOUR_NS, [Animal("cage-000", "m1")])
    with pytest.raises(InputError, match="animal m1: moved between cages"):
        write_store_tables(store, tmp_path, CLOCK, HOUR_NS, [Animal("cage-000", "m1", start_ns=5)])
