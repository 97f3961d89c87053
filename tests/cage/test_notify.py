"""Readiness and watchdog over a real notify socket, from a daemon in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from toolkit.cage.notify import Notifier

ROOT = Path(__file__).parents[2]

WATCHDOG_S = 3.0


class Manager:
    """What systemd is to a service: the reading end of its notify socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)

    def hear(self, seconds: float, *, until: str | None = None) -> list[str]:
        """Return the variables that came within so many seconds, or up to one of them."""
        heard: list[str] = []
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0 and until not in heard:
            self.socket.settimeout(left_s)
            try:
                heard += self.socket.recv(4096).decode().split("\n")
            except TimeoutError:
                break
        return heard


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    with manager.socket:
        yield manager


@contextmanager
def daemon(
    folder: Path, script: Sequence[tuple[int, float | str]], *, hang_after: int = 0
) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    environment.pop("WATCHDOG_PID", None)
    command = [sys.executable, "-m", "tests.cage.run_service", str(folder), json.dumps(script), str(hang_after)]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ready_with_the_first_row_then_pings_then_stopping(tmp_path: Path, manager: Manager) -> None:
    with daemon(tmp_path, [(100_000, 0.0)]) as process:
        before = manager.hear(30, until="READY=1")
        assert before[-1] == "READY=1"
        heard = manager.hear(1.5 * WATCHDOG_S)
        # Four fit into the watchdog's time.
        assert 4 <= heard.count("WATCHDOG=1") <= 8
        assert any(line.startswith("STATUS=rest, ") for line in heard)
        process.send_signal(signal.SIGTERM)
        assert "STOPPING=1" in manager.hear(10, until="STOPPING=1")
        assert process.wait(10) == 0
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
    events = [line.split()[:2] for line in lines]
    assert events == [["cage=a1", f"event={name}"] for name in ("starting", "camera", "ready", "stopping", "stopped")]


def test_pings_end_when_a_network_hangs(tmp_path: Path, manager: Manager) -> None:
    with daemon(tmp_path, [(100_000, 0.0)], hang_after=30) as process:
        assert manager.hear(30, until="READY=1")[-1] == "READY=1"
        # 30 answers take 1 s; afterwards nothing comes for longer than the watchdog waits.
        manager.hear(2.5)
        assert manager.hear(WATCHDOG_S + 1) == []
        assert process.poll() is None


def test_silence_that_is_recorded_is_progress(tmp_path: Path, manager: Manager) -> None:
    with daemon(tmp_path, [(30, 1000.0), (1, 0.0)]):
        assert manager.hear(30, until="READY=1")[-1] == "READY=1"
        manager.hear(2.5)
        assert manager.hear(1.4 * WATCHDOG_S).count("WATCHDOG=1") >= 3


def test_pings_go_on_while_a_camera_is_opened_again_and_end_when_the_loop_hangs(
    tmp_path: Path, manager: Manager
) -> None:
    """The camera stalls, cannot be opened for longer than the watchdog waits, comes back; then a network hangs."""
    script = [(30, "stalls"), (0, "fails"), (0, "fails"), (100_000, "ends")]
    with daemon(tmp_path, script, hang_after=90) as process:
        assert manager.hear(30, until="READY=1")[-1] == "READY=1"
        told: list[str] = []
        while not any(line.startswith("STATUS=nothing observed: camera-lost") for line in told) or (
            not told[-1].startswith("STATUS=rest")
        ):
            heard = manager.hear(WATCHDOG_S * 2 / 3)
            # Never nearly a watchdog's time without one.
            assert "WATCHDOG=1" in heard
            told += [line for line in heard if line.startswith("STATUS=")]
            assert len(told) < 60
        # 90 answers: 30 of the first opening's, and 2 s of the last one's; then nothing for longer than systemd waits.
        manager.hear(4.0)
        assert manager.hear(WATCHDOG_S + 1) == []
        assert process.poll() is None


def test_a_daemon_without_a_row_is_not_ready(tmp_path: Path, manager: Manager) -> None:
    # The camera delivers, but the network never gives its first answer.
    with daemon(tmp_path, [(100_000, 0.0)], hang_after=1):
        assert "READY=1" not in manager.hear(4)


def test_an_abstract_socket() -> None:
    name = f"@toolkit-test-{os.getpid()}"
    with Manager("\0" + name[1:]).socket as listening:
        notifier = Notifier({"NOTIFY_SOCKET": name})
        assert notifier.send(READY=1, STATUS="two\nlines")
        assert listening.recv(100) == b"READY=1\nSTATUS=two lines"
        notifier.close()


def test_nobody_there(tmp_path: Path) -> None:
    assert Notifier({}).send(READY=1)
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1000000"})
    assert not gone.send(READY=1)
    gone.ping()
    gone.close()


def test_the_watchdog_of_another_process_is_not_ours(tmp_path: Path, manager: Manager) -> None:
    address = str(tmp_path / "notify")
    for pid, pings in (("1", 0), (str(os.getpid()), 1)):
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": pid})
        notifier.ping()
        notifier.ping()
        assert len(manager.hear(0.2)) == pings
        notifier.close()


def test_a_full_socket_does_not_hold_the_daemon(tmp_path: Path, manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    begun_s = time.monotonic()
    assert not all(notifier.send(STATUS="x" * 1000) for _ in range(5000))
    assert time.monotonic() - begun_s < 5
    notifier.close()
