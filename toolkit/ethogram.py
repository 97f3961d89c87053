"""A set of behaviours: their names, order and colours. The order is the order of a network's logits."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from toolkit.errors import AnnotationError


class Behaviour(BaseModel):
    """One behaviour of an ethogram."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)
    """Letters, digits, - and _, as in annotation files and logs."""
    colour: str = Field(pattern=r"^#[0-9a-f]{6}$")
    """Colour in pictures, ``#rrggbb``."""
    definition: str = ""
    """What an observer scores, in one sentence."""


class Ethogram(BaseModel):
    """An ordered, non-empty set of behaviours with distinct names.

    Examples
    --------
    >>> MOUSE_HOME_CAGE.names
    ('drink', 'eat', 'groom', 'hang', 'micro-movement', 'rear', 'rest', 'walk')
    >>> MOUSE_HOME_CAGE.index("rear")
    5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    behaviours: tuple[Behaviour, ...] = Field(min_length=1, max_length=64)
    """In the order of the network's logits."""

    @model_validator(mode="after")
    def _names_differ(self) -> Ethogram:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"behaviour names must differ, found {list(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The behaviours' names in order."""
        return tuple(behaviour.name for behaviour in self.behaviours)

    @property
    def colours(self) -> tuple[str, ...]:
        """The behaviours' colours in order."""
        return tuple(behaviour.colour for behaviour in self.behaviours)

    def __len__(self) -> int:
        return len(self.behaviours)

    def index(self, name: str) -> int:
        """Return the position of `name`.

        Raises
        ------
        AnnotationError
            If the ethogram has no such behaviour.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise AnnotationError(f"unknown behaviour {name!r}: this ethogram has {', '.join(self.names)}.") from None


# Okabe and Ito's colour-blind-safe palette, then lighter and darker steps of it for larger ethograms.
_PALETTE = (
    "#0072b2",
    "#e69f00",
    "#cc79a7",
    "#56b4e9",
    "#f0e442",
    "#d55e00",
    "#999999",
    "#009e73",
    "#004166",
    "#8a5f00",
    "#7a4864",
    "#a9d8f3",
    "#8f8729",
    "#803800",
    "#4d4d4d",
    "#005f45",
)

MOUSE_HOME_CAGE = Ethogram(
    behaviours=(
        Behaviour(name="drink", colour="#0072b2", definition="mouth at the drinking spout"),
        Behaviour(name="eat", colour="#e69f00", definition="reaching for or holding food, chewing"),
        Behaviour(name="groom", colour="#cc79a7", definition="forelimbs sweep across the face or body"),
        Behaviour(name="hang", colour="#56b4e9", definition="hanging from the cage's lid"),
        Behaviour(name="micro-movement", colour="#f0e442", definition="small movements of head or limbs"),
        Behaviour(name="rear", colour="#d55e00", definition="upright posture, forelimbs off the ground"),
        Behaviour(name="rest", colour="#999999", definition="inactive or nearly motionless"),
        Behaviour(name="walk", colour="#009e73", definition="ambulation"),
    )
)
"""The eight behaviours of Jhuang et al. 2010 in the order of Nguyen et al. 2019."""


def ethogram_from_names(names: Sequence[str]) -> Ethogram:
    """Return an ethogram of `names` in the given order, with the home cage's colours where a name is known."""
    known = {behaviour.name: behaviour for behaviour in MOUSE_HOME_CAGE.behaviours}
    spare = [colour for colour in _PALETTE if colour not in {known[n].colour for n in names if n in known}]
    behaviours = []
    for position, name in enumerate(names):
        colour = spare[position % len(spare)]
        behaviours.append(known.get(name) or Behaviour(name=name, colour=colour))
    return Ethogram(behaviours=tuple(behaviours))
