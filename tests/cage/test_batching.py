"""Cages in one process see what they see alone, and one's fault is not the others'."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cage.conftest import WriteCages
from tests.cage.virtual import assert_covered_once
from toolkit.behaviour_log import BehaviourLog, Reason, read_log
from toolkit.cage.batching import SharedVoice, run_together
from toolkit.cage.config_file import load_cages
from toolkit.cage.crash_loop import Patience
from toolkit.cage.daemon import run
from toolkit.cage.health import STATUS
from toolkit.cage.notify import Notifier
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.engine.openvino import OpenVinoBackend
from toolkit.errors import BundleError, ConfigError, EngineError, VideoError

SHARED = '[defaults.engine]\nbatch_cages = true\nthreads = 1\nkind = "{}"\n'
NAMES = ["a1", "a2", "a3"]
AT_ONCE = Patience(wait_s=0.01, restarts=1)


def logs(folder: Path, names: list[str] = NAMES) -> dict[str, BehaviourLog]:
    return {name: read_log(folder / name) for name in names}


@pytest.mark.parametrize(("engine", "levels"), [("openvino", 0), ("onnxruntime", 1)])
def test_rows_are_those_of_cages_alone(write_cages: WriteCages, engine: str, levels: int) -> None:
    """To the bit where clips run one by one; in a batch, within one of a probability's 255 levels."""
    path = write_cages(NAMES, SHARED.format(engine))
    cages = load_cages(path)
    for config in cages.values():
        run(config, stop=threading.Event())
    alone = logs(path.parent / "logs")
    (path.parent / "logs").rename(path.parent / "alone")
    outcome = run_together(cages, stop=threading.Event())
    together = logs(path.parent / "logs")
    assert outcome.faults == {}
    assert {name: summary.rows for name, summary in outcome.summaries.items()} == dict.fromkeys(NAMES, 60)
    for name in NAMES:
        assert together[name].source_index.tolist() == alone[name].source_index.tolist() == list(range(60))
        assert together[name].label.tolist() == alone[name].label.tolist()
        found, expected = (log[name].probabilities.astype(int) for log in (together, alone))
        assert np.abs(found - expected).max() <= levels
        (session,) = together[name].provenance
        assert session.config == alone[name].provenance[0].config
        assert session.engines == alone[name].provenance[0].engines
    # The cages are told apart: what they see differs, and so does what is logged.
    assert (alone["a1"].probabilities != alone["a3"].probabilities).any()
    assert {stream: clips for stream, (_, clips) in outcome.inferences.items()} == {"rgb": 180, "flow": 180}


def test_a_cage_that_fails_leaves_the_others_alone(write_cages: WriteCages) -> None:
    path = write_cages(NAMES, SHARED.format("onnxruntime"))
    video = path.parent / "a2.mp4"
    damaged = bytearray(video.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 8000] = bytes(8000)
    video.write_bytes(damaged)
    (path.parent / "a3.mp4").unlink()
    outcome = run_together(load_cages(path), stop=threading.Event(), patience=AT_ONCE)
    assert outcome.summaries["a1"].rows == 60
    assert read_log(path.parent / "logs" / "a1").provenance[0].stop_reason == "end-of-source"
    assert {name: type(fault) for name, fault in outcome.faults.items()} == {"a2": VideoError, "a3": VideoError}
    # What the damaged one showed before, at each of its two starts, is in its log.
    half = read_log(path.parent / "logs" / "a2")
    assert len(half.provenance) == 2
    assert all(str(session.stop_reason).startswith("VideoError") for session in half.provenance)
    assert half.source_index.tolist()[:10] == list(range(10))
    assert json.loads((path.parent / "logs" / "a2" / STATUS).read_text())["state"] == "failed"


def test_engines_that_cannot_be_opened_are_every_cage_s_fault_at_once(write_cages: WriteCages) -> None:
    path = write_cages(NAMES[:2], SHARED.format("onnxruntime"))
    text = path.read_text()
    path.write_text(text.replace(text.split('bundle = "')[1].split('"')[0], "absent"))
    outcome = run_together(load_cages(path), stop=threading.Event(), patience=Patience(wait_s=60.0))
    assert {name: type(fault) for name, fault in outcome.faults.items()} == {"a1": BundleError, "a2": BundleError}
    assert outcome.summaries == {}


def dying(monkeypatch: pytest.MonkeyPatch, backend: type, answers: list[int]) -> list[int]:
    """Let a kind of engine die, each pair that is opened after so many inferences; return the openings."""
    opened: list[int] = []
    enter, infer = backend.__enter__, backend.infer
    left: dict[int, int] = {}

    def entering(self: Any) -> Any:
        left[id(self)] = answers[min(len(opened) // 2, len(answers) - 1)]
        opened.append(id(self))
        return enter(self)

    def inferring(self: Any, clips: Any) -> Any:
        left[id(self)] -= 1
        if left[id(self)] < 0:
            raise RuntimeError("CUDA error 719")
        return infer(self, clips)

    monkeypatch.setattr(backend, "__enter__", entering)
    monkeypatch.setattr(backend, "infer", inferring)
    return opened


def assert_lost_in_its_gaps(log: BehaviourLog) -> None:
    assert_covered_once(log)
    assert (np.diff(log.source_index) > 0).all()
    assert log.source_index[-1] == 59
    missing = 60 - len(log.time_ns)
    assert 0 < missing <= 20
    assert round(log.unobserved_s()[Reason.ENGINE_FAILED] * 30) == missing


def test_engines_that_fail_are_opened_again_once_for_all(
    write_cages: WriteCages, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = dying(monkeypatch, OnnxRuntimeBackend, [25, 10_000])
    path = write_cages(NAMES, SHARED.format("onnxruntime"))
    outcome = run_together(load_cages(path), stop=threading.Event(), patience=AT_ONCE)
    assert outcome.faults == {}
    # RGB and flow, twice.
    assert len(opened) == 4
    for name, log in logs(path.parent / "logs").items():
        assert_lost_in_its_gaps(log)
        assert len(log.provenance) == 1
        status = json.loads((path.parent / "logs" / name / STATUS).read_text())
        assert (status["engine_failures"], status["engine_fallen_back"]) == (1, False)


def test_engines_that_keep_failing_are_replaced_once_for_all(
    write_cages: WriteCages, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = dying(monkeypatch, OpenVinoBackend, [60, 25, 0])
    path = write_cages(NAMES, SHARED.format("openvino"))
    outcome = run_together(load_cages(path), stop=threading.Event(), patience=AT_ONCE)
    assert outcome.faults == {}
    assert len(opened) == 4
    for name, log in logs(path.parent / "logs").items():
        assert_lost_in_its_gaps(log)
        first, second = (session.engines["rgb"] for session in log.provenance)
        assert first.startswith("openvino")
        assert second.startswith("onnxruntime")
        status = json.loads((path.parent / "logs" / name / STATUS).read_text())
        assert (status["engine_failures"], status["engine_fallen_back"]) == (2, True)


def test_engines_are_not_replaced_where_that_is_not_wanted(
    write_cages: WriteCages, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying(monkeypatch, OpenVinoBackend, [20, 0])
    path = write_cages(NAMES[:2], SHARED.format("openvino") + 'on_failure = "stop"\n')
    outcome = run_together(load_cages(path), stop=threading.Event(), patience=AT_ONCE)
    assert {name: type(fault) for name, fault in outcome.faults.items()} == dict.fromkeys(NAMES[:2], EngineError)
    for log in logs(path.parent / "logs", NAMES[:2]).values():
        assert all(session.engines["rgb"].startswith("openvino") for session in log.provenance)


def test_all_stop_at_once(write_cages: WriteCages) -> None:
    path = write_cages(NAMES[:2], SHARED.format("onnxruntime"), pace="real-time")
    stop = threading.Event()
    rows: dict[str, int] = {}

    def told(name: str, progress: object) -> None:
        rows[name] = getattr(progress, "rows", 0)
        if len(rows) == 2 and all(rows.values()):
            stop.set()

    outcome = run_together(load_cages(path), stop=stop, on_progress=told)
    assert outcome.faults == {}
    assert {log.provenance[0].stop_reason for log in logs(path.parent / "logs", NAMES[:2]).values()} == {"stopped"}


def test_cages_that_cannot_share(write_cages: WriteCages) -> None:
    path = write_cages(NAMES, SHARED.format("onnxruntime") + "[cages.a2.engine]\nthreads = 2\n")
    with pytest.raises(ConfigError, match="cannot share a process"):
        run_together(load_cages(path), stop=threading.Event())


def test_one_voice_for_all(tmp_path: Path) -> None:
    """Ready when both are; alive only while both are; a cage that is closed is not waited for."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    server.bind(str(tmp_path / "notify"))
    # A watchdog of 4 microseconds: every ping that is due is sent.
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4", "WATCHDOG_PID": str(os.getpid())}

    def heard() -> list[str]:
        messages = []
        while True:
            try:
                messages.append(server.recv(4096).decode())
            except BlockingIOError:
                return messages

    shared = SharedVoice(Notifier(environment))
    one, other = shared.member("a1"), shared.member("a2")
    assert one.send(READY=1)
    one.ping()
    assert heard() == ["WATCHDOG=1"]
    other.send(READY=1)
    assert heard() == ["READY=1"]
    one.ping()
    one.ping()
    assert heard() == []
    other.ping()
    assert heard() == ["WATCHDOG=1"]
    one.send(STATUS="rest")
    assert heard() == ["STATUS=a1: rest; a2: starting"]
    other.close()
    one.ping()
    assert heard() == ["WATCHDOG=1"]
    # It comes back, and is not held against the others before its first row.
    again = shared.member("a2")
    one.ping()
    assert heard() == ["WATCHDOG=1"]
    again.send(READY=1)
    one.ping()
    assert heard() == []
    shared.close()
    server.close()


def test_a_cage_that_waits_asks_for_more_time_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(Notifier, "send", lambda self, **variables: said.append(variables) or True)
    voice = SharedVoice(Notifier({}))
    voice.member("a1").send(EXTEND_TIMEOUT_USEC=7, STATUS="waiting for the camera")
    assert {"EXTEND_TIMEOUT_USEC": 7} in said
    assert {"STATUS": "a1: waiting for the camera"} in said
