"""The health page: a small HTTP server that can be slow, or attacked, without the daemon noticing.

It answers from what the daemon's loop left in `Health`; it never asks the loop, nor the log. Everything that a client
decides is bounded: a request's size and headers, the time for it and for taking the answer, and connections at once.
"""

from __future__ import annotations

import hmac
import io
import ipaddress
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from types import TracebackType
from typing import Any

from typing_extensions import Self

from toolkit.cage.config import HealthTable
from toolkit.cage.health import Health, ailments
from toolkit.cage.journal import LOGGER
from toolkit.cage.metrics import CONTENT_TYPE, metrics
from toolkit.cage.secret import read_secret
from toolkit.engine.board import temperatures_c
from toolkit.errors import ConfigError

MOST_CONNECTIONS = 8
MOST_REQUEST_BYTES = 8192
REQUEST_S = 5.0
"""Time for a whole request, and again for taking the whole answer."""

LEAST_TOKEN = 16
"""Characters of a token."""


class HealthPage:
    """Serves ``/healthz``, ``/metrics`` and ``/state`` in threads of its own; a context manager.

    Parameters
    ----------
    address
        IP address and port; port 0 takes a free one.
    health
        What the daemon's loop keeps up to date.
    folder
        The cage's log folder, whose disk's free space is told.
    token
        What a client must show; None: nothing.

    Raises
    ------
    ConfigError
        On entering: if the address cannot be listened on.
    """

    def __init__(self, address: tuple[str, int], health: Health, folder: Path, token: str | None = None) -> None:
        self._wanted = address
        self._health = health
        self._folder = folder
        self._token = token

    def __enter__(self) -> Self:
        try:
            self._server = _Server(self._wanted, self.answer)
        except OSError as error:
            raise ConfigError(
                f"health.listen: {self._wanted[0]}:{self._wanted[1]} cannot be listened on ({error}). Expected a free "
                "port of this machine. Give every cage a port of its own."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="health page", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def answer(self, path: str, authorisation: str) -> tuple[int, str, str]:
        """Return (HTTP status, content type, body) of a request."""
        if self._token is not None and not _is_bearer(authorisation, self._token):
            return 401, "text/plain", "a token is needed: Authorization: Bearer ...\n"
        status = self._health.status(self._folder)
        reasons = ailments(status, self._health.age_s)
        if path == "/healthz":
            return (503, "text/plain", "; ".join(reasons) + "\n") if reasons else (200, "text/plain", _well(status))
        if path == "/metrics":
            return 200, CONTENT_TYPE, metrics(status, well=not reasons, temperatures_c=temperatures_c())
        if path == "/state":
            state = {"well": not reasons, "reasons": reasons, **status, "last_bouts": self._health.newest_bouts()}
            return 200, "application/json", json.dumps(state, indent=2) + "\n"
        return 404, "text/plain", "known: /healthz /metrics /state\n"


def _well(status: Mapping[str, Any]) -> str:
    reason = status["unobserved_now"]
    return f"ok, but nothing is observed now: {reason}\n" if reason else "ok\n"


def open_page(table: HealthTable, health: Health, folder: Path) -> HealthPage | None:
    """Return the page that a configuration wants, not entered yet, or None.

    Raises
    ------
    ConfigError
        If the token's file cannot be used.
    """
    if table.address is None:
        return None
    token = None if table.token_file is None else _read_token(table.token_file)
    return HealthPage(table.address, health, folder, token)


def _read_token(path: Path) -> str:
    token = read_secret("health.token_file", path, "one line, e.g. of `openssl rand -hex 32`")
    if len(token) < LEAST_TOKEN or " " in token:
        raise ConfigError(
            f"health.token_file: {path} holds no token. Expected one line of at least {LEAST_TOKEN} characters without "
            "spaces; `openssl rand -hex 32` makes one."
        )
    return token


def _is_bearer(authorisation: str, token: str) -> bool:
    # Of bytes, because text beyond ASCII is refused with an exception.
    return hmac.compare_digest(authorisation.encode(), f"Bearer {token}".encode())


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 2 * MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], answer: Callable[[str, str], tuple[int, str, str]]) -> None:
        self.address_family = socket.AF_INET6 if ipaddress.ip_address(address[0]).version == 6 else socket.AF_INET
        self.answer = answer
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Say what is our fault; what a client does to its own connection is not worth a line of the journal."""
        if not isinstance(sys.exc_info()[1], OSError):
            LOGGER.exception("health page")


class _Handler(BaseHTTPRequestHandler):
    """Reads a request's head as a whole, within its bounds, before anything looks at it; answers once and closes."""

    server: _Server
    wfile: io.BytesIO
    # Of version 0.9 an answer would have neither status nor headers.
    default_request_version = "HTTP/1.0"

    def setup(self) -> None:
        self.connection = self.request
        self._head = _read_head(self.connection)
        self.rfile = io.BytesIO(self._head)
        self.wfile = io.BytesIO()

    def handle(self) -> None:
        if len(self._head) > MOST_REQUEST_BYTES:
            self.requestline, self.request_version, self.command = "", "HTTP/1.0", ""
            self.send_error(431)
        elif self._head:
            self.handle_one_request()

    def finish(self) -> None:
        # The time is for the whole answer, however the client dribbles.
        self.connection.settimeout(REQUEST_S)
        self.connection.sendall(self.wfile.getvalue())

    def do_GET(self) -> None:
        self._send(*self.server.answer(self.path, self.headers.get("Authorization", "")))

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer with the code alone, and nothing of what was asked."""
        code = 405 if code == 501 else code
        self._send(code, "text/plain", f"{code} {self.responses[code][0]}\n")

    def version_string(self) -> str:
        return "toolkit"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: a request may hold a secret."""

    def _send(self, code: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if code == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if code == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _read_head(connection: socket.socket) -> bytes:
    """Return a request up to its empty line, or more than may be where it is longer, or nothing where it is late."""
    deadline_s = time.monotonic() + REQUEST_S
    head = b""
    while len(head) <= MOST_REQUEST_BYTES and b"\r\n\r\n" not in head:
        wait_s = deadline_s - time.monotonic()
        if wait_s <= 0:
            return b""
        connection.settimeout(wait_s)
        try:
            received = connection.recv(MOST_REQUEST_BYTES + 1 - len(head))
        except OSError:
            return b""
        if not received:
            return b""
        head += received
    return head
