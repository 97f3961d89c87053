"""The line of every table and key of a TOML text, which `tomllib` does not tell: for messages."""

from __future__ import annotations

import re

Keys = tuple[str, ...]
"""Where a value is, e.g. ``("cages", "a1", "camera", "device")``."""

_PART = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_PATH = rf"({_PART}(?:[ \t]*\.[ \t]*{_PART})*)"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*{_PATH}[ \t]*\]")
_KEY = re.compile(rf"[ \t]*{_PATH}[ \t]*=")


def lines_of_keys(text: str) -> dict[Keys, int]:
    """Return the first line of every table and key, and of the tables around them. Inline tables count as their key."""
    lines: dict[Keys, int] = {}
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            table = keys = _parts(header[1])
        elif key := _KEY.match(line):
            keys = (*table, *_parts(key[1]))
        else:
            continue
        for length in range(1, len(keys) + 1):
            lines.setdefault(keys[:length], number)
    return lines


def line_of(keys: Keys, lines: dict[Keys, int]) -> tuple[int, int]:
    """Return how many of the keys the text has, from the first on, and the line of the last of those; 0, 0 for none."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in lines:
            return length, lines[keys[:length]]
    return 0, 0


def _parts(path: str) -> Keys:
    return tuple(part.strip("\"'") for part in re.findall(_PART, path))
