"""Secrets come from files alone: a configuration, and so the log that keeps it, holds the file's name."""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import ConfigError


def read_secret(key: str, path: Path, expected: str, encoding: str = "ascii") -> str:
    """Return the only line of a file that not everybody can read.

    Parameters
    ----------
    key
        Of the configuration, e.g. ``mqtt.password_file``.
    expected
        What the file should hold, for messages.
    encoding
        ASCII where the secret goes into a header.

    Raises
    ------
    ConfigError
        If it cannot be read, every user can read it, or it is not one line of printable text. No message shows it.
    """
    try:
        open_to_all = path.stat().st_mode & 0o007
        secret = path.read_text(encoding=encoding).strip()
    except (OSError, UnicodeDecodeError) as error:
        # The decoder's message would show what it could not decode.
        found = error.strerror if isinstance(error, OSError) else f"not {encoding.upper()}"
        raise ConfigError(
            f"{key}: {path} cannot be read ({found}). Expected {expected}, readable by the daemon's user."
        ) from None
    if open_to_all:
        raise ConfigError(f"{key}: {path} can be used by every user. Close it: chmod 640 {path}.")
    if not secret or not secret.isprintable():
        raise ConfigError(f"{key}: {path} holds no single line of printable text. Expected {expected}.")
    return secret
