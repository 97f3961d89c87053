"""Many cages by real processes: what dies comes back, what cannot live is given up, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cage.conftest import WriteCages
from tests.cage.parts import config
from toolkit.behaviour_log import read_log
from toolkit.cage.child import Limits
from toolkit.cage.config_file import load_cages
from toolkit.cage.costs import Cost, usage_of
from toolkit.cage.crash_loop import CrashLoop, Patience
from toolkit.cage.health import STATUS
from toolkit.cage.supervisor import Supervision, Watched, supervise

ROOT = Path(__file__).parents[2]
ENGINE = '[defaults.engine]\nkind = "onnxruntime"\nthreads = 1\n'


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return what is true in the end."""
    end_s = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end_s
        time.sleep(0.02)
    return found


def process_of(folder: Path, cage: str, *, other_than: int = 0) -> int:
    """Return the process whose daemon has begun to watch a cage."""

    def found() -> int:
        try:
            status = json.loads((folder / "logs" / cage / STATUS).read_text())
        except (OSError, ValueError):
            return 0
        process: int = status["process"]
        return process if status["state"] == "running" and process != other_than else 0

    return int(until(found))


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_one_is_killed_one_is_broken_and_the_rest_goes_on(write_cages: WriteCages) -> None:
    path = write_cages(["a1", "a2", "a3"], ENGINE, frames=120, pace="real-time")
    folder = path.parent
    (folder / "a3.mp4").unlink()
    reports: list[tuple[list[Cost], bool]] = []
    killed: list[int] = []

    def kill() -> None:
        killed.append(process_of(folder, "a2"))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    faults = supervise(
        path,
        load_cages(path),
        stop=threading.Event(),
        on_costs=lambda costs, last: reports.append((costs, last)),
        rules=Supervision(Patience(wait_s=0.05, restarts=2), Limits(), costs_s=1.0),
    )
    killer.join()
    assert faults == {"a3": "exit code 1"}
    first = read_log(folder / "logs" / "a1")
    assert first.source_index.tolist() == list(range(120))
    assert [session.stop_reason for session in first.provenance] == ["end-of-source"]
    second = read_log(folder / "logs" / "a2")
    assert second.source_index.tolist()[-120:] == list(range(120))
    assert [session.stop_reason for session in second.provenance][-1] == "end-of-source"
    assert [last for _, last in reports].count(True) == 1
    costs = {cost.cage: cost for cost in reports[-1][0]}
    assert reports[-1][1]
    assert {name: (cost.state, cost.restarts) for name, cost in costs.items()} == {
        "a1": ("ended", 0),
        "a2": ("ended", 1),
        "a3": ("given up", 2),
    }
    a1 = costs["a1"]
    assert a1.cpu is not None
    assert 0.01 < a1.cpu < 2
    assert a1.resident_bytes is not None
    assert 30e6 < a1.resident_bytes < 3e9
    assert a1.dropped == 0
    # In whole seconds of four: 30 frames a second, and what a second more or less makes of it.
    assert a1.frames_per_s is not None
    assert 20 < a1.frames_per_s < 50


class Running:
    """``toolkit cage run FILE --all`` under a service manager that the test plays."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path.parent / "notify"))
        self.socket.settimeout(60)
        self.errors = (path.parent / "errors").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "toolkit.cli", "cage", "run", str(path), "--all"],
            cwd=ROOT,
            env={**os.environ, "NOTIFY_SOCKET": str(path.parent / "notify")},
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def hear(self, variable: str) -> list[str]:
        """Return what was said up to a variable."""
        heard: list[str] = []
        while variable not in heard:
            heard += self.socket.recv(4096).decode().split("\n")
        return heard

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()
        self.socket.close()


@pytest.mark.parametrize("batch", [False, True], ids=["a process each", "one process"])
def test_a_service_of_cages_stops_as_one(write_cages: WriteCages, batch: bool) -> None:
    more = ENGINE + f"batch_cages = {str(batch).lower()}\n"
    path = write_cages(["a1", "a2"], more, frames=60, pace="real-time", loop=True)
    with Running(path) as running:
        assert "READY=1" not in running.hear("READY=1")[:-1]
        processes = {process_of(path.parent, cage) for cage in ("a1", "a2")}
        assert len(processes) == 2 - batch
        running.process.send_signal(signal.SIGTERM)
        told, _ = running.process.communicate(timeout=60)
        assert running.process.returncode == 0
        assert "what each cage costs" in told
        assert all(is_gone(process) for process in processes)
    for cage in ("a1", "a2"):
        assert read_log(path.parent / "logs" / cage).provenance[-1].stop_reason == "stopped"


def test_no_process_outlives_a_supervisor_that_is_killed(write_cages: WriteCages) -> None:
    path = write_cages(["a1", "a2"], ENGINE, pace="real-time", loop=True)
    with Running(path) as running:
        running.hear("READY=1")
        processes = [process_of(path.parent, cage) for cage in ("a1", "a2")]
        running.process.kill()
        running.process.wait()
        assert until(lambda: all(is_gone(process) for process in processes))


def watched(folder: Path, script: str, **limits: float) -> Watched:
    """Return a watched process that is a shell's script, not a daemon."""
    rules = Supervision(Patience(wait_s=0.01, restarts=1), Limits(**limits))
    return Watched(["/bin/sh", "-c", script], {"a1": config(folder)}, folder / "notify", rules)


@pytest.mark.parametrize("limits", [{"start_s": 0.3}, {"watchdog_s": 0.3}])
def test_a_process_without_a_sign_of_life_is_killed(tmp_path: Path, limits: dict[str, float]) -> None:
    ready = "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
    ready += "s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])"
    say_ready = f'{sys.executable} -c "{ready}"; ' if "watchdog_s" in limits else ""
    one = watched(tmp_path, f"cd {tmp_path}; echo $$ >> pids; {say_ready}exec sleep 60", **limits)
    try:
        until(lambda: one.look() is not None and one.is_over, 30)
        expected = "its first row" if "start_s" in limits else "progress"
        assert (one.state, one.fault) == ("given up", f"no sign of {expected} in time; killed")
        processes = {int(line) for line in (tmp_path / "pids").read_text().split()}
        assert len(processes) == 2
        assert all(is_gone(process) for process in processes)
    finally:
        one.close()


def test_a_process_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 1; done"
    monkeypatch.setattr("toolkit.cage.supervisor.command_of", lambda _path, _cages: ["/bin/sh", "-c", script])
    stop = threading.Event()

    def end() -> None:
        until((tmp_path / "pid").exists)
        stop.set()

    thread = threading.Thread(target=end)
    thread.start()
    rules = Supervision(limits=Limits(stop_s=0.5))
    assert supervise(tmp_path / "none.toml", {"a1": config(tmp_path)}, stop=stop, rules=rules) == {}
    thread.join()
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_patience() -> None:
    """Five restarts in ten minutes, the wait doubling from one second, each cut by up to a half; then no more."""
    loop = CrashLoop(Patience())
    waits = [loop.wait_s(10.0 * n) for n in range(6)]
    assert waits[5] is None
    for n, wait_s in enumerate(waits[:5]):
        assert wait_s is not None
        assert 2**n / 2 <= wait_s <= 2**n
    # The window is over: from the beginning.
    later_s = loop.wait_s(10_000.0)
    assert later_s is not None
    assert later_s <= 1.0
    assert loop.restarts == 6


def test_what_a_process_uses() -> None:
    """Against what the kernel tells a process of itself."""
    import resource

    before = usage_of(os.getpid())
    end_s = time.process_time() + 0.3
    while time.process_time() < end_s:
        pass
    after = usage_of(os.getpid())
    assert before is not None
    assert after is not None
    assert after.cpu_s - before.cpu_s == pytest.approx(0.3, abs=0.1)
    assert after.resident_bytes <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * 1.05
    assert usage_of(2**22 + 1) is None
