"""A configuration file of one cage or of several, read and checked as a whole.

One cage has its tables at the top: ``[cage]``, ``[camera]``, ... A file of several cages has them under
``[cages.NAME.TABLE]``, over what ``[defaults.TABLE]`` says for all of them. Every fault comes with its key, its line
and a suggestion. Whatever a file holds, it ends in a configuration or in a `ConfigError`.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from toolkit.cage.config import CageConfig
from toolkit.cage.sharing import clashes, with_shared_cores
from toolkit.cage.toml_lines import Keys, line_of, lines_of_keys
from toolkit.errors import ConfigError, raise_faults

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

MOST_BYTES = 1 << 18
"""Of a configuration file."""

MOST_CHARACTERS = 2000
"""Of a line: `tomllib` takes a time that grows with the square of a dotted key's length."""

MOST_LEVELS = 16
"""Tables and arrays within each other."""

MOST_FAULTS = 50
"""Said at once."""

_PASSWORD = re.compile(r"//[^/\s@]*:[^/\s]*@")

_WORDS = 80
"""Characters of a key or value that are shown."""


def load_config(path: Path, cage: str | None = None) -> CageConfig:
    """Read and check a file, and return one cage's configuration.

    Parameters
    ----------
    cage
        The cage's name; may be left out where the file holds but one.

    Raises
    ------
    ConfigError
        See `load_cages`; or if it is not said which of several cages is meant, or the file lacks it.
    """
    cages = load_cages(path)
    if cage is None and len(cages) == 1:
        return next(iter(cages.values()))
    known = ", ".join(cages)
    if cage is None:
        raise ConfigError(f"{path} holds {len(cages)} cages: {known}. Say which one: --cage {next(iter(cages))}")
    if cage not in cages:
        close = difflib.get_close_matches(cage, cages, n=1)
        raise ConfigError(f"{path} has no cage {cage}; {f'did you mean {close[0]}?' if close else f'it has {known}.'}")
    return cages[cage]


def load_cages(path: Path) -> dict[str, CageConfig]:
    """Read and check a file, and return its cages' resolved configurations by name, in the file's order.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or with all that is wrong with any of its cages.
    """
    text, content = _read(path)
    file = _File(path, text)
    _bound(path, content)
    if not {"cages", "defaults"} & set(content):
        config, faults = file.validated(content, ())
        _refuse(path, faults)
        return {} if config is None else {config.cage.name: config}
    found, faults = _cages(file, content)
    faults += [file.said(("cages", name), fault) for name, fault in clashes(found)]
    _refuse(path, faults)
    return with_shared_cores(found)


def table_of(location: Keys) -> type[BaseModel] | None:
    """Return the class of a table of a cage's configuration; the empty location is the configuration itself."""
    table: type[BaseModel] = CageConfig
    for part in location:
        field = table.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        table = field.annotation
    return table


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ConfigError(f"{path}: over {MOST_BYTES >> 10} KiB, which no configuration is. Is it another file?")
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}). Expected a TOML file; `toolkit cage init` writes one."
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > MOST_CHARACTERS:
            raise ConfigError(f"{path}:{number}: a line of {len(line)} characters, at most {MOST_CHARACTERS} are read.")
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}. Correct that line; text needs quotes.") from error
    except (ValueError, RecursionError) as error:
        # Of brackets within brackets without end, and of long whole numbers where Python was told to refuse them.
        raise ConfigError(f"{path}: not a configuration: {_short(str(error))}. Is it another file?") from error


def _bound(path: Path, content: dict[str, Any]) -> None:
    """Refuse what no key of ours could mean, before anything recursive sees it."""
    waiting: list[tuple[Keys, Any]] = [((), content)]
    while waiting:
        keys, value = waiting.pop()
        if len(keys) > MOST_LEVELS:
            raise ConfigError(f"{path}: {_short('.'.join(keys))}: tables within tables. Is it another file?")
        if isinstance(value, dict):
            waiting += [((*keys, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*keys, str(index)), inner) for index, inner in enumerate(value)]
        elif isinstance(value, str) and "\0" in value:
            raise ConfigError(f"{path}: {_short('.'.join(keys))}: holds a zero character. Remove it.")
        elif isinstance(value, str) and _PASSWORD.search(value):
            raise ConfigError(
                f"{path}: {_short('.'.join(keys))}: an address with a password in it, which every log would keep. Put "
                "the password into a file of its own (for a network camera: rtsp_secret_file), or give an address "
                "without one."
            )


def _refuse(path: Path, faults: Sequence[str]) -> None:
    said = [*faults[:MOST_FAULTS], "and more"] if len(faults) > MOST_FAULTS else faults
    raise_faults(ConfigError, f"{path} cannot be used", said)


class _File:
    """Checks cages of one file and says where in it a fault is."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = lines_of_keys(text)

    def validated(self, values: object, section: Keys) -> tuple[CageConfig | None, list[str]]:
        """Return a cage's configuration, or None and its faults; `section` is its place in the file."""
        try:
            return CageConfig.model_validate(values, context={"folder": self._path.resolve().parent}), []
        except ValidationError as error:
            faults = [(tuple(map(str, fault["loc"])), fault) for fault in error.errors()[: MOST_FAULTS + 1]]
            return None, [self.said(self._origin(section, at), _explain(at, dict(fault))) for at, fault in faults]

    def said(self, keys: Keys, fault: str) -> str:
        """Return a fault with its key, and its line where the file has one."""
        _, line = line_of(keys, self._lines)
        place = f"{self._path}:{line}" if line else f"{self._path}"
        return f"{place}: {'.'.join(map(_short, keys))}: {fault}"

    def _origin(self, section: Keys, at: Keys) -> Keys:
        """Return the key that gave a value of a cage: its own, or the defaults' where only those have it."""
        if not section or at == ("cage", "name"):
            return (*section, *at)
        own, default = (*section, *at), ("defaults", *at)
        has_own = line_of(own, self._lines)[0] - len(section)
        return default if line_of(default, self._lines)[0] - 1 > max(has_own, 0) else own


def _cages(file: _File, content: Mapping[str, Any]) -> tuple[dict[str, CageConfig], list[str]]:
    defaults, cages = content.get("defaults", {}), content.get("cages", {})
    faults = [
        file.said(
            (key,), "a file has one cage ([cage], [camera], ...) or several ([defaults.TABLE], [cages.NAME.TABLE])"
        )
        for key in content
        if key not in ("defaults", "cages")
    ]
    if not isinstance(defaults, dict):
        faults.append(file.said(("defaults",), "expected tables: [defaults.camera], [defaults.log], ..."))
        defaults = {}
    if not isinstance(cages, dict) or not cages:
        return {}, [*faults, file.said(("cages",), "expected a section per cage: [cages.a1.camera], ...")]
    faults += list(_names_given(file, defaults, ("defaults",)))
    found: dict[str, CageConfig] = {}
    for name, own in cages.items():
        if not isinstance(own, dict):
            faults.append(file.said(("cages", name), f"expected tables: [cages.{_short(name)}.camera], ..."))
            continue
        faults += list(_names_given(file, own, ("cages", name)))
        values = _merged(defaults, own)
        table = values.setdefault("cage", {})
        if isinstance(table, dict):
            values["cage"] = {**table, "name": name}
        config, wrong = file.validated(values, ("cages", name))
        faults += wrong
        if config is not None:
            found[name] = config
    # What is wrong with a default is wrong with every cage.
    return found, list(dict.fromkeys(faults))


def _names_given(file: _File, tables: Mapping[str, Any], section: Keys) -> Iterator[str]:
    cage = tables.get("cage")
    if isinstance(cage, dict) and "name" in cage:
        yield file.said((*section, "cage", "name"), "a cage's name is its section's, [cages.NAME]. Remove this key")


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables of `over` laid over those of `under`, key by key."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _explain(location: Keys, fault: dict[str, Any]) -> str:
    if fault["type"] == "missing":
        return "is missing"
    if fault["type"] == "model_type":
        return f"expected a table, found {_short(repr(fault['input']))}"
    if fault["type"] == "extra_forbidden":
        table = table_of(location[:-1])
        known = [] if table is None else list(table.model_fields)
        close = difflib.get_close_matches(location[-1], known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        return f"unknown {'table' if len(location) == 1 else 'key'}; {advice}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message if fault["type"] == "value_error" else f"{message}, found {_short(repr(fault['input']))}"


def _short(text: str) -> str:
    # One line, whatever was in the file.
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..."
