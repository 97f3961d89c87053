"""The fault campaign's scenarios, a few times each; those of kills and power loss are in tests/behaviour_log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from benches.faults import __main__ as campaigns
from benches.faults.broker import lose_the_broker
from benches.faults.cameras import lose_a_camera
from benches.faults.clocks import start_in_1970, step_the_clock
from benches.faults.disk import fill_the_disk, protect_the_disk
from benches.faults.engines import fail_engines
from benches.faults.files import ROWS, damage_files
from benches.faults.outcome import NotRun, Outcome
from benches.faults.overload import overload_a_daemon
from benches.faults.recording import fill_the_recording_s_disk
from benches.faults.sources import lose_a_pipeline, lose_an_rtsp_server
from benches.faults.views import spoil_a_view
from tests.cage.test_view import REASONS
from toolkit.behaviour_log import LogWriter
from toolkit.synth import FaultKind
from toolkit.view import View, ViewMonitor


@pytest.mark.parametrize("what", ["fails", "stalls"])
def test_a_camera_that_is_lost(tmp_path: Path, what: str) -> None:
    outcome = lose_a_camera(what, 1, tmp_path)
    assert (outcome.faults, outcome.rows_lost, outcome.frames_lost) == ((), 0, 0)
    assert 0 < outcome.recovery_s < 10


@pytest.mark.parametrize("kind", REASONS)
def test_a_view_that_shows_nothing(tmp_path: Path, kind: FaultKind) -> None:
    outcome = spoil_a_view(kind, tmp_path, ("black",))
    assert (outcome.faults, outcome.rows_lost) == ((), 0)
    assert outcome.recovery_s < 1


def test_what_is_believed_though_nothing_is_seen_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ViewMonitor, "judge", lambda self, image, time_ns: View(None, time_ns))
    outcome = spoil_a_view("dark", tmp_path, ("black",))
    assert "rows of what nobody could see" in " ".join(outcome.faults)
    assert str(outcome).count("broken:") == len(outcome.faults)


def kept(outcome: Outcome | NotRun) -> Outcome:
    """Assert that no guarantee was broken, or skip."""
    if isinstance(outcome, NotRun):
        pytest.skip(str(outcome))
    assert (outcome.faults, outcome.rows_lost) == ((), 0)
    return outcome


def test_networks_that_are_too_slow(tmp_path: Path) -> None:
    outcome = kept(overload_a_daemon("networks", tmp_path))
    assert outcome.frames_lost == 0
    assert 0 < outcome.recovery_s < 15


def test_flow_that_is_too_slow(tmp_path: Path) -> None:
    outcome = kept(overload_a_daemon("flow", tmp_path))
    # At best 30 x 70 ms of work fit into the 33 ms that each of a minute's 1800 frames has.
    assert outcome.frames_lost >= 1800 * (1 - 33 / 70) - 64


@pytest.mark.parametrize("others", [False, True])
def test_engines_that_fail(tmp_path: Path, others: bool) -> None:
    assert kept(fail_engines(others, 3, tmp_path)).frames_lost >= 3 * 8


def test_clocks(tmp_path: Path) -> None:
    assert kept(step_the_clock(20, tmp_path / "steps")).frames_lost == 0
    assert kept(start_in_1970(5, tmp_path / "unset")).frames_lost == 0


def test_damaged_files(tmp_path: Path) -> None:
    assert kept(damage_files(5, tmp_path)).frames_lost == 5 * ROWS


def test_disks(tmp_path: Path) -> None:
    for number, scenario in enumerate((fill_the_disk, protect_the_disk)):
        place = tmp_path / str(number)
        place.mkdir()
        assert kept(scenario(4, place)).frames_lost == 0


@pytest.mark.slow
def test_the_recording_s_disk(tmp_path: Path) -> None:
    assert kept(fill_the_recording_s_disk(tmp_path)).frames_lost == 0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["stopped", "hangs"])
def test_a_broker(tmp_path: Path, what: Literal["stopped", "hangs"]) -> None:
    assert kept(lose_the_broker(what, 1, tmp_path)).frames_lost == 0


@pytest.mark.slow
@pytest.mark.parametrize("lose", [lose_an_rtsp_server, lose_a_pipeline])
@pytest.mark.parametrize("what", ["killed", "suspended"])
def test_sources(tmp_path: Path, lose: Any, what: str) -> None:
    outcome = kept(lose(what, 1, tmp_path))
    assert outcome.frames_lost == 0
    assert outcome.recovery_s > 0


def test_rows_that_are_lost_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = LogWriter.row

    def forgetful(log: LogWriter, source_index: int, *rest: Any, **more: Any) -> None:
        if source_index % 50:
            taken(log, source_index, *rest, **more)

    monkeypatch.setattr(LogWriter, "row", forgetful)
    assert step_the_clock(3, tmp_path / "steps").rows_lost > 0
    assert start_in_1970(1, tmp_path / "unset").rows_lost > 0
    assert damage_files(1, tmp_path / "files").rows_lost > 0
    assert "which is not what the gaps say" in str(fail_engines(False, 1, tmp_path / "engines"))


def test_a_pace_that_never_comes_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.cage.pace.HOLD_S", 1e6)
    assert "not every frame is classified again" in overload_a_daemon("networks", tmp_path).faults


def test_the_command_ends_with_1_where_a_guarantee_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = iter([Outcome("x", 3, 0, 0, 0.1), NotRun("x", "no disk"), Outcome("x", 3, 0, 0, 0.1, ("a hole",))])
    given = []

    def scenario(folder: Path, times: int) -> Outcome | NotRun:
        given.append((folder.is_dir(), times))
        return next(outcomes)

    monkeypatch.setattr(campaigns, "CAMPAIGNS", {"x": campaigns.Campaign("what", {"times": 7}, [scenario])})
    codes = []
    for arguments in (["x"], ["x", "--times", "3"], ["all"]):
        monkeypatch.setattr(sys, "argv", ["faults", *arguments])
        codes.append(campaigns.main())
    assert codes == [0, 0, 1]
    assert given == [(True, 7), (True, 3), (True, 7)]
    assert "broken: a hole" in capsys.readouterr().out
