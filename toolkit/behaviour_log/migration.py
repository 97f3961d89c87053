"""Which files this toolkit can open, and how an older one is brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from toolkit.behaviour_log.schema import APPLICATION_ID, NOTE, PACE, SCHEMA_VERSION, SECOND, UNOBSERVED
from toolkit.errors import LogError


def _admit_reasons(connection: sqlite3.Connection) -> None:
    """Admit every reason for unobserved time. ``blocked``, which version 1 had, is ``obstructed`` since version 2."""
    connection.execute("ALTER TABLE unobserved RENAME TO unobserved_before")
    connection.execute(UNOBSERVED)
    connection.execute(
        "INSERT INTO unobserved SELECT start_ns, stop_ns, replace(reason, 'blocked', 'obstructed') "
        "FROM unobserved_before"
    )
    connection.execute("DROP TABLE unobserved_before")


def _add_seconds(connection: sqlite3.Connection) -> None:
    """Version 3 has summaries of seconds, rows whose interval changes, notes, and more reasons."""
    _admit_reasons(connection)
    connection.execute(PACE)
    connection.execute(SECOND)
    connection.execute(NOTE)
    connection.execute("ALTER TABLE session ADD COLUMN level TEXT NOT NULL DEFAULT 'frames'")


MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _admit_reasons, 2: _add_seconds}
"""Step from the version that is the key to the next one, run inside a transaction. Version 1 is the first."""


def schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's schema version.

    Raises
    ------
    LogError
        If the file is not a behaviour log, or a newer toolkit wrote it.
    """
    try:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise LogError(
            f"{path}: cannot be read as a behaviour log ({error}). Expected a SQLite file written by "
            "`toolkit cage run`. Move the file aside, or restore it from a copy."
        ) from error
    if application_id != APPLICATION_ID or not version:
        raise LogError(
            f"{path}: not a behaviour log (application id {application_id:#x}, schema {version}). Expected a file "
            "written by `toolkit cage run`. Check the path, or move the file out of the log's folder."
        )
    if version > SCHEMA_VERSION:
        raise LogError(
            f"{path}: behaviour log schema {version}, this toolkit knows schemas up to {SCHEMA_VERSION}. "
            "Update the toolkit on this machine."
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file to `SCHEMA_VERSION`, one version at a time, each in a transaction of its own.

    Raises
    ------
    LogError
        As `schema_version`.
    """
    for version in range(schema_version(connection, path), SCHEMA_VERSION):
        connection.execute("BEGIN IMMEDIATE")
        MIGRATIONS[version](connection)
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
