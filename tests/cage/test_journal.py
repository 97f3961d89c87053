"""One line per event, with a severity where it leads to the journal, and no flood."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.cage import journal
from toolkit.cage.journal import BURST, WINDOW_S, EventLog

SCRIPT = """
from toolkit.cage.journal import EventLog, events_to_stderr
with events_to_stderr():
    events = EventLog("a1")
    events.info("ready", rows=3, seconds=1.50)
    events.warning("overloaded", text='two\\nlines "quoted"')
    events.error("failed", error="camera x: unplugged")
"""

LINES = [
    "cage=a1 event=ready rows=3 seconds=1.5",
    r'cage=a1 event=overloaded text="two\nlines \"quoted\""',
    'cage=a1 event=failed error="camera x: unplugged"',
]


def stderr_of_script(folder: Path, *, journal_stream: bool) -> list[str]:
    path = folder / "stderr"
    with path.open("w") as stderr:
        status = os.fstat(stderr.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + (not journal_stream)}"}
        subprocess.run([sys.executable, "-c", SCRIPT], stderr=stderr, env=environment, check=True, timeout=60)
    return path.read_text().splitlines()


def test_under_systemd_each_line_has_its_severity(tmp_path: Path) -> None:
    # sd-daemon(3): 6 is informational, 4 a warning, 3 an error.
    expected = [f"<{severity}>{line}" for severity, line in zip((6, 4, 3), LINES, strict=True)]
    assert stderr_of_script(tmp_path, journal_stream=True) == expected


def test_elsewhere_it_has_none(tmp_path: Path) -> None:
    assert stderr_of_script(tmp_path, journal_stream=False) == LINES


def test_warnings_do_not_flood(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now_s = [0.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now_s[0])
    events = EventLog("a1")
    with caplog.at_level(logging.INFO, logger="toolkit.cage"):
        for _ in range(1000):
            events.warning("overloaded")
        events.warning("other")
        for _ in range(20):
            events.info("ready")
        now_s[0] = WINDOW_S
        events.warning("overloaded", dropped=7)
        events.warning("overloaded", dropped=8)
    messages = caplog.messages
    assert messages[:BURST] == ["cage=a1 event=overloaded"] * BURST
    assert messages[BURST] == "cage=a1 event=other"
    assert messages.count("cage=a1 event=ready") == 20
    assert messages[-2:] == [
        f"cage=a1 event=overloaded dropped=7 suppressed={1000 - BURST}",
        "cage=a1 event=overloaded dropped=8",
    ]
