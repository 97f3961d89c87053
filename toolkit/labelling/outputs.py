"""Which videos are meant, and where each one's labels go, so that no two videos share a file."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.annotations import VIDEO_SUFFIXES
from toolkit.errors import InputError, raise_faults
from toolkit.labelling.options import LabelOptions

OVERLAY_ENDING = ".overlay.mp4"
_TABLES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of one video."""

    labels: Path
    bouts: Path
    provenance: Path
    """Written last: what it names is complete."""
    overlay: Path | None

    @property
    def data(self) -> tuple[Path, ...]:
        """All but the provenance."""
        return (self.labels, self.bouts, *((self.overlay,) if self.overlay else ()))


@dataclass(frozen=True, slots=True)
class _Found:
    video: Path
    root: Path
    """Folder that the user named, or the part of a pattern before its first wildcard."""


def plan_outputs(sources: Sequence[Path], out: Path | None, options: LabelOptions) -> list[tuple[Path, Outputs]]:
    """Return every video that is meant, once, with its files.

    Parameters
    ----------
    sources
        Videos, folders (with all below them), or patterns such as ``data/*/cage?.mp4`` and ``data/**/*.mp4``. Our own
        overlays are none.
    out
        A folder, in which folders that were named are mirrored, or for a single video its table; None: beside each
        video. Where two videos would share a file, all are placed as they lie below their common folder, and those
        whose names differ in the suffix alone keep it.

    Raises
    ------
    InputError
        If a source is not there or holds no video, or `out` is a table and there are several videos.
    """
    found = _found(sources)
    if out is not None and out.suffix.lower() in _TABLES and not out.is_dir():
        return [(_single(found, out), _outputs_of_table(out, options))]
    stems = [_stem(one, out) for one in found]
    if len(set(stems)) < len(stems) and out is not None:
        common = Path(os.path.commonpath([one.video.resolve().parent for one in found]))
        stems = [_stem(_Found(one.video.resolve(), common), out) for one in found]
    often = Counter(stems)
    return [
        (one.video, _outputs(stem if often[stem] == 1 else stem.with_name(one.video.name), options))
        for one, stem in zip(found, stems, strict=True)
    ]


def _found(sources: Sequence[Path]) -> list[_Found]:
    found: dict[Path, _Found] = {}
    faults = []
    for source in sources:
        below = _below(source)
        if not below:
            faults.append(_not_found(source))
        for one in below:
            found.setdefault(one.video.resolve(), one)
    raise_faults(InputError, "there is nothing to label", faults)
    return list(found.values())


def _below(source: Path) -> list[_Found]:
    if source.is_file():
        return [_Found(source, source.parent)]
    if source.is_dir():
        return [_Found(path, source) for path in sorted(source.rglob("*")) if _is_video(path, source)]
    if not glob.has_magic(str(source)):
        return []
    fixed = Path(*_until_wildcard(source.parts))
    # A pattern that names its suffix means it, whatever it is.
    named = bool(source.suffix) and not glob.has_magic(source.suffix)
    paths = [Path(match) for match in sorted(glob.glob(str(source), recursive=True))]  # noqa: PTH207
    return [
        _Found(path, fixed)
        for path in paths
        if (path.is_file() and not path.name.endswith(OVERLAY_ENDING) if named else _is_video(path, fixed))
    ]


def _until_wildcard(parts: Sequence[str]) -> list[str]:
    fixed: list[str] = []
    for part in parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return fixed


def _is_video(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    ours = path.name.endswith(OVERLAY_ENDING)
    return path.suffix.lower() in VIDEO_SUFFIXES and not hidden and not ours and path.is_file()


def _not_found(source: Path) -> str:
    if source.is_dir():
        return f"{source}: holds no video ({', '.join(VIDEO_SUFFIXES)})"
    if glob.has_magic(str(source)):
        return f"{source}: matches no video"
    return f"{source}: no such video or folder"


def _single(found: list[_Found], out: Path) -> Path:
    if len(found) != 1:
        raise InputError(f"--out {out}: is one table, for {len(found)} videos. Name a folder.")
    return found[0].video


def _stem(one: _Found, out: Path | None) -> Path:
    if out is None:
        return one.video.with_suffix("")
    relative = Path(os.path.relpath(one.video.parent, one.root))
    return out / relative / one.video.stem


def _outputs(stem: Path, options: LabelOptions) -> Outputs:
    return Outputs(
        labels=stem.with_name(f"{stem.name}.labels.{options.format}"),
        bouts=stem.with_name(f"{stem.name}.bouts.csv"),
        provenance=stem.with_name(f"{stem.name}.labels.json"),
        overlay=stem.with_name(f"{stem.name}{OVERLAY_ENDING}") if options.overlay else None,
    )


def _outputs_of_table(table: Path, options: LabelOptions) -> Outputs:
    if table.suffix.lower() != f".{options.format}":
        raise InputError(f"--out {table}: the table is written as {options.format}. Name it so, or pass --format.")
    stem = table.with_name(table.stem.removesuffix(".labels"))
    beside = _outputs(stem, options)
    return Outputs(table, beside.bouts, beside.provenance, beside.overlay)
