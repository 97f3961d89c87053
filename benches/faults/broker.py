"""A real MQTT broker that is stopped, or hangs: every bout arrives at least once, and the log is untouched.

One that is killed forgets its listeners, so that what they miss says nothing of the daemon: tests/cage/test_mqtt.py.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from benches.faults.outcome import NotRun, Outcome, broken_account, broken_order
from tests.cage.mqtt_broker import PASSWORD, Broker, Listener, wait_for
from tests.cage.run_published import changing_parts, published
from tests.cage.test_mqtt import expected, password, received
from toolkit.behaviour_log import read_log
from toolkit.cage.daemon import run

FPS = 30


def lose_the_broker(what: Literal["stopped", "hangs"], times: int, folder: Path) -> Outcome | NotRun:
    """Let a daemon publish while its broker goes away and comes back, `times` times, two seconds each.

    `recovery_s` is the longest time from the broker's return to a bout that ended after it.
    """
    name = f"broker: {what}"
    if shutil.which("mosquitto") is None or shutil.which("mosquitto_passwd") is None:
        return NotRun(name, "mosquitto is not installed")
    (folder / "broker").mkdir()
    password(folder, PASSWORD)
    broker = Broker(folder / "broker")
    broker.start()
    listener = Listener(broker)
    seconds = 3 + times * 12
    rows: list[int] = []
    stop = threading.Event()
    daemon = threading.Thread(
        target=lambda: run(
            published(folder, broker.port),
            stop=stop,
            on_progress=lambda progress: rows.append(progress.rows),
            parts=changing_parts(seconds * FPS),
        )
    )
    daemon.start()
    recovery_s, faults = 0.0, list[str]()
    try:
        for _ in range(times):
            before = len(listener.bouts())
            listener.wait(lambda before=before: len(listener.bouts()) > before + 3, "bouts while the broker is there")  # type: ignore[misc]
            away, back = (broker.hang, broker.wake) if what == "hangs" else (broker.stop, broker.start)
            away()
            time.sleep(2)
            back_ns = time.time_ns()
            back()
            wait_for(_has_later(listener, back_ns), "a bout that ended after the broker came back")
            recovery_s = max(recovery_s, (time.time_ns() - back_ns) / 1e9)
    except AssertionError as error:
        faults.append(f"waited in vain for {error}")
    finally:
        stop.set()
        daemon.join(60)
    log = read_log(folder / "log")
    wanted = expected(log)
    with suppress(AssertionError):
        wait_for(lambda: len(received(listener.bouts())) >= len(wanted), "every bout")
    if received(listener.bouts()) != wanted:
        faults.append(f"{len(wanted)} bouts are in the log, others were published")
    listener.close()
    broker.stop()
    faults += broken_account(folder / "log" / "a1") + broken_order(log)
    given = int(log.source_index[-1]) + 1
    return Outcome(name, times, given - len(log.time_ns), max(rows) - len(log.time_ns), recovery_s, tuple(faults))


def _has_later(listener: Listener, after_ns: int) -> Callable[[], bool]:
    return lambda: any(bout["stop_ns"] > after_ns for bout in listener.bouts()[-10:])
