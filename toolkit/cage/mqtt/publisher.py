"""Sends a cage's bouts to a broker, in the log's order, at least once, from a thread that the loop never waits for.

A bout is sent once it has ended and is committed, and done with once the broker has acknowledged it. At most `FLIGHT`
are on the way; all others wait in the log (see `toolkit.cage.mqtt.position`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from toolkit.behaviour_log.bout_feed import count_bouts, read_bouts
from toolkit.cage.mqtt.client import failure, new_client, refusal
from toolkit.cage.mqtt.message import bout_message, state_message, topic
from toolkit.cage.mqtt.position import Position, read_position, write_position
from toolkit.cage.mqtt.table import MqttTable
from toolkit.errors import LogError
from toolkit.frames import NS_PER_S

if TYPE_CHECKING:
    from paho.mqtt.client import Client

FLIGHT = 20
"""Bouts on the way to the broker at once."""

TICK_S = 0.5
STATE_S = 10.0
COUNT_S = 10.0
"""From one count of what waits to the next."""

KEEP_ALIVE_S = 15
"""Without a sign of life for one and a half of it the broker sends the last will (MQTT 3.1.1, 3.1.2.10)."""

RETRY_MAX_S = 30
"""Longest wait between two attempts to connect; the first is 1 s, and it doubles."""

CLOSE_S = 3.0
"""What the end of a daemon may take to send what waits."""


@dataclass
class PublisherState:
    """How a publisher does; its threads replace what they change, others may read at any time."""

    broker: str
    connected: bool = False
    fault: str | None = None
    """Why there is no connection, or the log cannot be read."""
    down_since_s: float | None = None
    """Monotonic time since which there is none."""
    queued: int = 0
    """Bouts that wait, as of the last count."""
    sent: int = 0
    """Bouts acknowledged since this log was first sent."""
    dropped: int = 0
    """Bouts that grew too old before a broker took them."""
    connections: int = 0

    def values(self) -> dict[str, Any]:
        """Return it as JSON values."""
        values = asdict(self)
        since_s = values.pop("down_since_s")
        return values | {"down_s": 0.0 if since_s is None else round(time.monotonic() - since_s, 1)}


class Publisher:
    """Publishes one session; a context manager.

    Parameters
    ----------
    table
        Its configuration, with a host.
    cage
        The cage's name.
    folder
        The cage's log folder.
    begin_ns
        UTC ns at which the session begins. All bouts before it have ended; where nothing was ever sent, they are left.
    status
        Gives the daemon's status as JSON values, and why it is not well.
    synchronised
        Tells whether the system's clock is.
    warn
        Told what somebody should know; called in other threads.

    Raises
    ------
    ConfigError, MissingDependency, LogError
        On entering: if the password's or the certificates' file cannot be used, paho-mqtt is not installed, or the
        position cannot be read. A broker that cannot be reached is no error.
    """

    def __init__(
        self,
        table: MqttTable,
        cage: str,
        folder: Path,
        begin_ns: int,
        *,
        status: Callable[[], tuple[dict[str, Any], Sequence[str]]],
        synchronised: Callable[[], bool | None],
        warn: Callable[[str], None],
    ) -> None:
        self._table, self._cage, self._folder = table, cage, folder
        self._status, self._synchronised, self._warn = status, synchronised, warn
        self._final_ns = begin_ns - 1
        self.state = PublisherState(table.broker, down_since_s=time.monotonic())
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="mqtt publisher", daemon=True)
        # Beginnings and message numbers of what is on the way, and the numbers that were acknowledged.
        self._flight: deque[tuple[int, int]] = deque()
        self._acknowledged: set[int] = set()
        self._told: tuple[float, tuple[str, ...]] = (0.0, ())
        self._counted_s = 0.0

    def __enter__(self) -> Self:
        found = read_position(self._folder)
        self._position = found or Position(self._final_ns)
        if found is None:
            # A kill before the first acknowledgement must not make the next start begin anew.
            write_position(self._folder, self._position)
        self.state.sent, self.state.dropped = self._position.sent, self._position.dropped
        self._sent_ns = self._position.until_ns
        self._client = self._new_client()
        self._client.connect_async(str(self._table.host), self._table.port, keepalive=KEEP_ALIVE_S)
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._wake.set()
        self._thread.join(timeout=CLOSE_S + 2.0)
        if self.state.connected:
            last = self._client.publish(self._topic("availability"), "offline", qos=1, retain=True)
            with suppress(ValueError, RuntimeError):
                last.wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def committed(self, start_ns: int) -> None:
        """Take note that bouts which begin up to `start_ns` have ended and are committed; never waits."""
        if start_ns > self._final_ns:
            self._final_ns = start_ns
            self._wake.set()

    def _topic(self, last: str) -> str:
        return topic(self._table.topic_prefix, self._cage, last)

    def _new_client(self) -> Client:
        client = new_client(self._table, f"{self._table.topic_prefix}/{self._cage}", self._warn)
        client.will_set(self._topic("availability"), "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, RETRY_MAX_S)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        fault = refusal(self._table, reason)
        if fault is not None:
            self._down(fault)
            return
        client.publish(self._topic("availability"), "online", qos=1, retain=True)
        self.state.connections += 1
        self.state.connected, self.state.fault, self.state.down_since_s = True, None, None
        self._told = (0.0, ())
        self._wake.set()

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        self._down(failure(self._table))

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not self._ending and self.state.connected:
            self._down(f"{self.state.broker} has gone: {reason}")
        self.state.connected = False

    def _on_publish(self, _client: Client, _data: Any, number: int, _reason: Any, _properties: Any) -> None:
        self._acknowledged.add(number)
        self._wake.set()

    def _down(self, fault: str) -> None:
        if fault != self.state.fault:
            self._warn(f"mqtt: {fault}")
        if self.state.down_since_s is None:
            self.state.down_since_s = time.monotonic()
        self.state.connected, self.state.fault = False, fault

    def _run(self) -> None:
        end_s: float | None = None
        while True:
            self._wake.wait(TICK_S)
            self._wake.clear()
            # An end that comes while a step is under way has a step of its own: the last state is still to be told.
            ending = self._ending
            try:
                self._step()
                if self.state.connected:
                    self.state.fault = None
            except (LogError, OSError) as error:
                if str(error) != self.state.fault:
                    self._warn(f"mqtt: {error}")
                self.state.fault = str(error)
            if not ending:
                continue
            end_s = end_s or time.monotonic() + CLOSE_S
            done = not self._flight and self._sent_ns >= self._final_ns
            if done or not self.state.connected or time.monotonic() > end_s:
                return

    def _step(self) -> None:
        self._settle()
        if self.state.connected:
            self._tell_state()
            self._send()
        now_s = time.monotonic()
        if now_s - self._counted_s >= COUNT_S or self._ending:
            self._counted_s = now_s
            self._drop_old()
            self.state.queued = count_bouts(self._folder, self._cage, self._position.until_ns, self._final_ns)

    def _settle(self) -> None:
        """Move the position up to what was acknowledged without a hole."""
        before = self._position
        while self._flight and self._flight[0][1] in self._acknowledged:
            start_ns, number = self._flight.popleft()
            self._acknowledged.discard(number)
            self._position = replace(self._position, until_ns=start_ns, sent=self._position.sent + 1)
        if self._position != before:
            write_position(self._folder, self._position)
            self.state.sent = self._position.sent

    def _send(self) -> None:
        final_ns = self._final_ns
        room = FLIGHT - len(self._flight)
        if not room or self._sent_ns >= final_ns:
            return
        bouts = read_bouts(self._folder, self._cage, self._sent_ns, final_ns, room)
        for logged in bouts:
            message = self._client.publish(self._topic("bout"), bout_message(self._cage, logged), qos=1)
            self._flight.append((logged.bout.start_ns, message.mid))
            self._sent_ns = logged.bout.start_ns
        if len(bouts) < room:
            self._sent_ns = final_ns

    def _drop_old(self) -> None:
        """Give up what no broker took in `keep_days`, if the clock can be believed."""
        oldest_ns = time.time_ns() - round(self._table.keep_days * 86_400 * NS_PER_S)
        if self._flight or self._sent_ns >= oldest_ns or not self._synchronised():
            return
        old = count_bouts(self._folder, self._cage, self._sent_ns, oldest_ns)
        self._sent_ns = oldest_ns
        if old:
            self._position = replace(self._position, until_ns=oldest_ns, dropped=self._position.dropped + old)
            write_position(self._folder, self._position)
            self._warn(f"mqtt: {old} bouts are older than keep_days = {self._table.keep_days:g} and are not sent")
        self.state.dropped = self._position.dropped

    def _tell_state(self) -> None:
        status, reasons = self._status()
        told_s, told = self._told
        news = (str(status["state"]), *reasons)
        if news != told or time.monotonic() - told_s >= STATE_S:
            self._client.publish(self._topic("state"), state_message(status, reasons), qos=0, retain=True)
            self._told = (time.monotonic(), news)
