"""The clipped database of Jhuang et al. 2010 as published: one folder of clips whose names say video and behaviour.

A name is ``video5_groom_163.mpg``: the video it was cut from, the behaviour, a number. Its distributions abbreviate
behaviours differently, hence the synonyms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"(?P<video>video\d+)_(?P<behaviour>.+)_(?P<number>\d+)", re.IGNORECASE)

SYNONYMS = {
    "dr": "drink",
    "dri": "drink",
    "drinking": "drink",
    "eating": "eat",
    "gr": "groom",
    "grooming": "groom",
    "hanging": "hang",
    "head": "micro-movement",
    "micro": "micro-movement",
    "micromove": "micro-movement",
    "micromovement": "micro-movement",
    "mm": "micro-movement",
    "mmove": "micro-movement",
    "rearing": "rear",
    "resting": "rest",
    "walking": "walk",
}
"""Names in the database, without signs between words, and ours."""


@dataclass(frozen=True, slots=True)
class NamedClip:
    """What a clip's name says."""

    path: Path
    video: str
    """The video that it was cut from: held out together."""
    behaviour: str
    """Our name where the name is a synonym, else as found."""


def named_clips(paths: Iterable[Path]) -> tuple[list[NamedClip], list[str]]:
    """Return the clips with names like the database's, and why each other file was skipped."""
    clips, skipped = [], []
    for path in paths:
        match = _NAME.fullmatch(path.stem)
        if match is None:
            skipped.append(f"{path.name}: not named like video5_groom_163{path.suffix}")
            continue
        found = match["behaviour"].lower()
        clips.append(NamedClip(path, match["video"].lower(), SYNONYMS.get(re.sub(r"[-_ ]", "", found), found)))
    return clips, skipped
