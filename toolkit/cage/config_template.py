"""Writes a configuration file in which every key is explained, with its default in a comment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from toolkit.cage.config import CageConfig
from toolkit.cage.config_file import load_cages, table_of
from toolkit.errors import ConfigError
from toolkit.files import atomic_write

Given = Mapping[tuple[str, str], str | int]
"""Values by table and key."""

EACH = "{cage}"
"""Stands for the cage's name in the camera of several."""


def write_config(path: Path, *, name: str, bundle: Path, log_dir: Path, **source: Path | str | int | None) -> None:
    """Write one cage's configuration.

    Paths within the file's folder are written relative to it, so that the folder can be moved.

    Parameters
    ----------
    source
        One of `toolkit.cage.camera_table.SOURCES`, under its key; None is as good as absent.

    Raises
    ------
    ConfigError
        If `path` exists or a value is not acceptable.
    """
    folder = path.resolve().parent
    given = {("cage", "name"): name, **_places(bundle, log_dir, folder), **_source(source, folder)}
    _write(path, ["# One cage. Relative paths count from this file's folder.", *_tables(given)])


def write_cages(
    path: Path, *, names: Sequence[str], bundle: Path, log_dir: Path, **source: Path | str | int | None
) -> None:
    """Write the configuration of several cages: defaults, each explained, and a section per cage.

    Parameters
    ----------
    source
        One of `toolkit.cage.camera_table.SOURCES`, under its key, with ``{cage}`` for the cage's name.

    Raises
    ------
    ConfigError
        If `path` exists or a value is not acceptable.
    """
    given = " ".join(str(value) for value in source.values() if value is not None)
    if EACH not in given and len(names) > 1:
        raise ConfigError(
            f"every cage has a camera of its own: expected {EACH} for its name, as in --device /dev/cages/{EACH} or "
            f"--video {EACH}.mp4; found {given}."
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"--cages: expected different names, found {', '.join(names)}.")
    folder = path.resolve().parent
    lines = [
        "# Several cages: what [defaults.TABLE] says holds for all, what [cages.NAME.TABLE] says for one.",
        "# Relative paths count from this file's folder.",
        *_tables(_places(bundle, log_dir, folder), within="defaults."),
        "\n# The cages. Any key above may be set for one alone.",
    ]
    for name in names:
        own = _source({key: _of_cage(value, name) for key, value in source.items()}, folder)
        # What is no name is quoted here, so that it is refused as a name.
        section = name if re.fullmatch("[A-Za-z0-9_-]+", name) else _toml(name)
        lines.append(f"\n[cages.{section}.camera]")
        lines += [f"{key} = {_toml(value)}" for (_, key), value in own.items()]
    _write(path, lines)


def _write(path: Path, lines: Sequence[str]) -> None:
    if path.exists():
        raise ConfigError(f"{path} already exists. Choose another name, or remove it first.")
    with atomic_write(path) as beside:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        try:
            load_cages(beside)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(beside), str(path))) from None


def _places(bundle: Path, log_dir: Path, folder: Path) -> Given:
    return {("cage", "bundle"): _portable(bundle, folder), ("log", "folder"): _portable(log_dir, folder)}


def _of_cage(value: Path | str | int | None, name: str) -> Path | str | int | None:
    if isinstance(value, Path):
        return Path(str(value).replace(EACH, name))
    return value.replace(EACH, name) if isinstance(value, str) else value


def _source(source: Mapping[str, Path | str | int | None], folder: Path) -> Given:
    return {
        ("camera", key): _portable(value, folder) if isinstance(value, Path) else value
        for key, value in source.items()
        if value is not None
    }


def _portable(path: Path, folder: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _tables(given: Given, within: str = "") -> Iterator[str]:
    for name in CageConfig.model_fields:
        table = table_of((name,))
        if table is None:
            continue
        yield f"\n# {table.__doc__}\n[{within}{name}]"
        for key, field in table.model_fields.items():
            if within and (name, key) == ("cage", "name"):
                continue
            yield f"# {field.description}"
            if (name, key) in given:
                yield f"{key} = {_toml(given[name, key])}"
            elif field.default is None:
                yield f"# {key} = {_toml(field.examples[0] if field.examples else '')}"
            else:
                yield f"# {key} = {_toml(field.default)}"


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
