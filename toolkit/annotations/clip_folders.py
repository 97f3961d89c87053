"""Clips in folders, ``<behaviour>/<video>_<...>.<ext>``: all frames of a clip show its folder's behaviour.

Every clip is a segment of its own; those cut from one video are held out together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from toolkit.annotations.checks import group_of, opened, videos_in
from toolkit.annotations.contract import AnnotatedVideo, Form, Interval, Reading, Request
from toolkit.annotations.names import in_order, unknown
from toolkit.errors import AnnotationError
from toolkit.ethogram import ethogram_from_names


def whole_clip(path: Path, behaviour: str, group: str, faults: list[str]) -> list[AnnotatedVideo]:
    """Return the clip, all of whose frames show its behaviour, or none and a fault."""
    video = opened(path, group, faults)
    return [replace(video, intervals=(Interval(0, video.frames, behaviour),))] if video else []


def _find(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and videos_in(child))


def _read(request: Request, files: list[Path]) -> Reading:
    # A folder may be the only one of its name: every folder's name counts, however odd beside the others.
    names = request.behaviours or in_order({child.name for child in files})
    try:
        reading = Reading(ethogram_from_names(names))
    except ValueError as error:
        raise AnnotationError(
            f"{request.folder}: expected folders <behaviour>/ named in letters, digits, - and _; found "
            f"{', '.join(map(repr, names))}. Rename them, or name those to use with --behaviours."
        ) from error
    for child in files:
        if child.name not in reading.ethogram.names:
            reading.faults.append(f"folder {child.name}: {unknown(child.name, reading.ethogram)}")
            continue
        for path in videos_in(child):
            group = group_of(path, request, path.stem.split("_")[0])
            reading.videos += whole_clip(path, child.name, group, reading.faults)
    return reading


CLIP_FOLDERS = Form("folders of clips", _find, _read)
