"""The clipped database of Jhuang et al. 2010 as published: one folder of clips whose names say video and behaviour.

A name is ``video5_groom_163.mpg``: the video it was cut from, the behaviour, a number. Its distributions abbreviate
behaviours differently, hence the synonyms in `names`.
"""

from __future__ import annotations

import re
from pathlib import Path

from toolkit.annotations.checks import group_of, videos_in
from toolkit.annotations.clip_folders import whole_clip
from toolkit.annotations.contract import Form, Reading, Request
from toolkit.annotations.names import ethogram_of, our_name, unknown

_NAME = re.compile(r"(?P<video>video\d+)_(?P<behaviour>.+)_(?P<number>\d+)", re.IGNORECASE)


def _find(folder: Path) -> list[Path]:
    return [path for path in videos_in(folder) if _NAME.fullmatch(path.stem)]


def _read(request: Request, files: list[Path]) -> Reading:
    clips = []
    for path in files:
        match = _NAME.fullmatch(path.stem)
        if match:
            # The database's own names are synonyms also where the user orders the ethogram.
            clips.append((path, match["video"].lower(), our_name(match["behaviour"], None)))
    reading = Reading(ethogram_of(request.behaviours, {behaviour for _, _, behaviour in clips}))
    reading.skipped += [
        f"{path.name}: not named like video5_groom_163{path.suffix}"
        for path in videos_in(request.folder)
        if path not in files
    ]
    for path, video, behaviour in clips:
        if behaviour not in reading.ethogram.names:
            reading.faults.append(f"{path.name}: {unknown(behaviour, reading.ethogram)}")
            continue
        group = group_of(path, request, video)
        reading.videos += whole_clip(path, behaviour, group, reading.faults)
    return reading


CLIPPED = Form("the clipped database", _find, _read)
