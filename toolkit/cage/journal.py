"""One line per event for the service's journal: ``cage=a1 event=overloaded dropped=40``.

Values are quoted as JSON where they hold more than a plain word, so that an event never has a second line.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from toolkit.terminal import print_warning

LOGGER = logging.getLogger("toolkit.cage")

BURST = 5
WINDOW_S = 60.0
"""A warning's lines: at most `BURST` in so many seconds; the next one says how many were left out."""

_SYSLOG = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

_PLAIN = re.compile(r"[A-Za-z0-9_.:+/@-]+")


class EventLog:
    """The events of one cage; its warnings cannot flood the journal."""

    def __init__(self, cage: str) -> None:
        self._cage = cage
        # Of each warning: when its window began, its lines since, and those left out.
        self._windows: dict[str, tuple[float, int, int]] = {}

    def info(self, event: str, **fields: object) -> None:
        """Log something that is as it should be."""
        self._log(logging.INFO, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log what needs somebody: why the daemon ends, or the camera was given up."""
        self._log(logging.ERROR, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log something that should not be, or count it where it was said often enough."""
        now_s = time.monotonic()
        begun_s, lines, left_out = self._windows.get(event, (now_s, 0, 0))
        if now_s - begun_s >= WINDOW_S:
            begun_s, lines = now_s, 0
        if lines >= BURST:
            self._windows[event] = (begun_s, lines, left_out + 1)
            return
        self._windows[event] = (begun_s, lines + 1, 0)
        self._log(logging.WARNING, event, {**fields, "suppressed": left_out} if left_out else fields)

    def _log(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        words = {"cage": self._cage, "event": event, **fields}
        LOGGER.log(level, "%s", " ".join(f"{name}={_word(value)}" for name, value in words.items()))


@contextmanager
def events_to_stderr() -> Iterator[None]:
    """Write events to standard error: to the journal with their severity, to a terminal only what is amiss."""
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = _Terminal(logging.WARNING)
    else:
        handler = logging.StreamHandler(sys.stderr)
        if is_journal(sys.stderr, os.environ):
            handler.setFormatter(_Severity())
    before = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.level, LOGGER.propagate = before


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether a stream leads to the journal: systemd names its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Severity(logging.Formatter):
    """Puts the severity before a line, as sd-daemon(3) reads it."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_SYSLOG.get(record.levelno, 5)}>{super().format(record)}"


class _Terminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print_warning(record.getMessage())


def _word(value: object) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
