"""Names of behaviours: what annotators write, what we call it, and a guess where neither is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from toolkit.errors import AnnotationError
from toolkit.ethogram import MOUSE_HOME_CAGE, Ethogram, ethogram_from_names

SYNONYMS = {
    "dr": "drink",
    "dri": "drink",
    "drinking": "drink",
    "eating": "eat",
    "feeding": "eat",
    "gr": "groom",
    "grooming": "groom",
    "selfgrooming": "groom",
    "hanging": "hang",
    "head": "micro-movement",
    "micro": "micro-movement",
    "micromove": "micro-movement",
    "micromovement": "micro-movement",
    "micromovements": "micro-movement",
    "mm": "micro-movement",
    "mmove": "micro-movement",
    "rearing": "rear",
    "resting": "rest",
    "walking": "walk",
}
"""Names of the clipped database (Jhuang et al. 2010) and of annotators, lower case without signs, and ours."""


def our_name(found: str, behaviours: Sequence[str] | None) -> str:
    """Return what we call a behaviour that a file calls `found`.

    Signs that no ethogram's name may have become ``-``. Where the user gives no `behaviours`, a name or synonym of
    the home cage's eight, in whatever case, becomes that name.

    Examples
    --------
    >>> our_name("Micro movement", None), our_name("Micro movement", ["Micro-movement"])
    ('micro-movement', 'Micro-movement')
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", found.strip()).strip("-")
    if behaviours:
        return plain
    key = re.sub(r"[-_]", "", plain.lower())
    return SYNONYMS.get(key, key if key in MOUSE_HOME_CAGE.names else plain)


def ethogram_of(behaviours: Sequence[str] | None, found: Iterable[str]) -> Ethogram:
    """Return the ethogram that the user gives, else the one of the names found.

    Of the names found, those of the home cage's eight count where there is one: a name that is none of them is then
    more likely misspelt than a ninth.

    Raises
    ------
    AnnotationError
        If a name is not letters, digits, - and _, or the names are not distinct.
    """
    present = set(found)
    names = behaviours or in_order(present & set(MOUSE_HOME_CAGE.names) or present)
    try:
        return ethogram_from_names(names)
    except ValueError as error:
        raise AnnotationError(
            f"expected distinct names of behaviours in letters, digits, - and _, 40 at most in length; found "
            f"{', '.join(map(repr, names)) or 'none'}. Rename them, or name those to use with --behaviours."
        ) from error


def in_order(names: set[str]) -> list[str]:
    """Return the names in the home cage's order where it has all of them, else sorted."""
    if names <= set(MOUSE_HOME_CAGE.names):
        return [name for name in MOUSE_HOME_CAGE.names if name in names]
    return sorted(names)


def unknown(name: str, ethogram: Ethogram) -> str:
    """Return the fault of a name that the ethogram does not have, with a guess where one is close."""
    candidates = set(ethogram.names)
    if candidates <= set(MOUSE_HOME_CAGE.names):
        # What was found may lack the very behaviour that is misspelt.
        candidates |= set(MOUSE_HOME_CAGE.names)
    close = get_close_matches(name, candidates - {name}, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else f"; expected one of {', '.join(ethogram.names)}"
    return f"unknown behaviour {name!r}{hint}"
