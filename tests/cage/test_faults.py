"""The fault campaign's scenarios of a whole daemon, once each; the log's own are in tests/behaviour_log."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches.faults.cameras import lose_a_camera
from benches.faults.views import spoil_a_view
from tests.cage.test_view import REASONS
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
