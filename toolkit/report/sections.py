"""The parts of a page: one cage's pictures and tables, and those of all cages together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.report.bins_picture import draw_bins
from toolkit.report.bout_length_picture import draw_bout_lengths
from toolkit.report.cages_picture import draw_cages
from toolkit.report.circadian import Profile, profile_over_animals
from toolkit.report.circadian_picture import draw_actogram, draw_profile
from toolkit.report.clock import LabClock
from toolkit.report.comparison import (
    AnimalValues,
    Comparison,
    compare,
    group_columns,
    single_columns,
    values_by_animal,
)
from toolkit.report.comparison_picture import draw_animals, draw_effects, draw_groups
from toolkit.report.confidence import Confidence, confidence
from toolkit.report.confidence_picture import draw_confidence
from toolkit.report.ethogram_picture import draw_ethogram
from toolkit.report.gallery import Gallery, Shown
from toolkit.report.record import Bouts, CageRecord
from toolkit.report.summary import CageSummary
from toolkit.report.tables import (
    actogram_rows,
    animal_rows,
    bin_rows,
    bout_length_rows,
    comparison_rows,
    confidence_rows,
    ethogram_rows,
    profile_rows,
    stamp,
    transition_rows,
)
from toolkit.report.transition_picture import draw_transitions

_SHARE = "% of observed time"


@dataclass(frozen=True)
class CageSection:
    """One animal's part of the page."""

    title: str
    summary: CageSummary
    pictures: dict[str, Shown]
    """By name: ethogram, bins, lengths, transitions, actogram, profile, confidence; those that can be made."""
    confidence: Confidence | None


@dataclass(frozen=True)
class GroupSection:
    """One column of the table of animals."""

    column: str
    groups: list[str]
    counts: dict[str, int]
    """Animals by group."""
    picture: Shown
    profile: Shown | None
    effects: list[tuple[Comparison, Shown]]
    """The whole time's comparison of each pair of groups, and the picture of all phases'."""


@dataclass(frozen=True)
class Overview:
    """All animals."""

    animals: list[AnimalValues]
    raster: Shown | None
    shares: Shown
    groups: list[GroupSection] = field(default_factory=list)
    single: list[str] = field(default_factory=list)
    """Columns of groups that are not compared: every group is one animal."""


def cage_section(
    title: str,
    room: str,
    summary: CageSummary,
    record: CageRecord,
    clock: LabClock,
    inactive: Sequence[str],
    gallery: Gallery,
    *,
    truth: Bouts | None = None,
) -> CageSection:
    """Draw what can be drawn of one animal, while its record is at hand; `room` is `Gallery.room`'s for it."""
    ethogram = record.ethogram
    pictures = {
        "ethogram": gallery.add(
            f"{room}/ethogram",
            lambda: draw_ethogram(record, summary.budget, clock, truth=truth),
            ethogram_rows(record),
            raster=True,
        ),
        "lengths": gallery.add(
            f"{room}/bout_lengths", lambda: draw_bout_lengths(record.bouts, ethogram), bout_length_rows(record)
        ),
    }
    if summary.bins.observed_s.size > 1:
        # A thousand steps are smaller as pixels.
        pictures["bins"] = gallery.add(
            f"{room}/time_bins",
            lambda: draw_bins(summary, clock),
            bin_rows(summary),
            raster=summary.bins.observed_s.size > 400,
        )
    else:
        gallery.table(f"{room}/time_bins", bin_rows(summary))
    if summary.transitions.any():
        pictures["transitions"] = gallery.add(
            f"{room}/transitions",
            lambda: draw_transitions(summary.transitions, ethogram),
            transition_rows(summary.transitions, ethogram),
        )
    grid, profile, days = summary.grid, summary.profile, summary.confidence
    quiet = [ethogram.index(name) for name in inactive if name in ethogram.names]
    # Of less than half a day both would be all but empty.
    if grid is not None and profile is not None and record.stop_ns - record.start_ns >= 12 * 3600 * 10**9:
        if quiet:
            pictures["actogram"] = gallery.add(
                f"{room}/actogram",
                lambda: draw_actogram(grid, quiet, clock),
                actogram_rows(grid, quiet, clock),
                raster=True,
            )
        pictures["profile"] = gallery.add(
            f"{room}/circadian_profile",
            lambda: draw_profile([(title, profile)], ethogram, clock),
            profile_rows([(title, profile)], ethogram, clock),
        )
    if len(days) > 1:
        pictures["confidence"] = gallery.add(
            f"{room}/confidence", lambda: draw_confidence(days, ethogram, dated=summary.dated), confidence_rows(summary)
        )
    elif days:
        gallery.table(f"{room}/confidence", confidence_rows(summary))
    return CageSection(title, summary, pictures, confidence(days, ethogram.names))


def overview(summaries: Sequence[CageSummary], clock: LabClock, gallery: Gallery) -> Overview:
    """Draw what is of all animals together."""
    ethogram = summaries[0].ethogram
    animals = values_by_animal(summaries)
    one_axis = len({summary.dated for summary in summaries}) == 1
    raster = (
        gallery.add("ethogram_by_cage", lambda: draw_cages(summaries, clock), _seen_rows(summaries), raster=True)
        if one_axis
        else None
    )
    shares = gallery.add("animals", lambda: draw_animals(animals, ethogram), animal_rows(animals, ethogram))
    comparisons = compare(animals, ethogram.names)
    if comparisons:
        gallery.table("comparison", comparison_rows(comparisons))
    groups = [
        _group_section(column, names, animals, comparisons, summaries, clock, gallery)
        for column, names in group_columns(animals).items()
    ]
    return Overview(animals, raster, shares, groups, single_columns(animals))


def _group_section(
    column: str,
    groups: list[str],
    animals: Sequence[AnimalValues],
    comparisons: Sequence[Comparison],
    summaries: Sequence[CageSummary],
    clock: LabClock,
    gallery: Gallery,
) -> GroupSection:
    ethogram = summaries[0].ethogram
    name = gallery.room(f"by_{column}")
    profiles = _group_profiles(column, groups, summaries)
    effects = []
    of_column = [each for each in comparisons if each.column == column and each.measure == _SHARE]
    for number, whole in enumerate([each for each in of_column if each.phase == "all"], start=1):
        phases = [each for each in of_column if (each.a, each.b) == (whole.a, whole.b)]
        effects.append((whole, _draw_effects(f"{name}_effects_{number}", phases, summaries[0], gallery)))
    return GroupSection(
        column=column,
        groups=groups,
        counts={group: sum(animal.groups.get(column) == group for animal in animals) for group in groups},
        picture=gallery.add(
            name, lambda: draw_groups(animals, column, groups, ethogram), animal_rows(animals, ethogram)
        ),
        profile=gallery.add(
            f"{name}_profile",
            lambda: draw_profile(profiles, ethogram, clock, spread="SD over animals"),
            profile_rows(profiles, ethogram, clock),
        )
        if profiles
        else None,
        effects=effects,
    )


def _draw_effects(name: str, phases: list[Comparison], summary: CageSummary, gallery: Gallery) -> Shown:
    return gallery.add(name, lambda: draw_effects(phases, summary.ethogram), comparison_rows(phases))


def _group_profiles(column: str, groups: Sequence[str], summaries: Sequence[CageSummary]) -> list[tuple[str, Profile]]:
    """Return each group's mean day over its animals; none where a record has no dates."""
    found = []
    for group in groups:
        by_animal: dict[str, list[Profile]] = {}
        for summary in summaries:
            if summary.animal.groups.get(column) == group and summary.profile is not None:
                by_animal.setdefault(summary.name, []).append(summary.profile)
        if not by_animal:
            return []
        own = [stays[0] if len(stays) == 1 else profile_over_animals(stays) for stays in by_animal.values()]
        found.append((f"{group} ({len(own)})", profile_over_animals(own)))
    return found


def _seen_rows(summaries: Sequence[CageSummary]) -> list[tuple[str | float | int, ...]]:
    """Return the raster's data: each column of each animal, shares of its observed time."""
    names = summaries[0].ethogram.names
    rows: list[tuple[str | float | int, ...]] = [("animal", "from", "observed_percent", *names)]
    for summary in summaries:
        columns = summary.seen.size
        width_ns = (summary.budget.stop_ns - summary.budget.start_ns) / columns
        for at in range(columns):
            seen = int(summary.seen[at])
            start_ns = summary.budget.start_ns + round(at * width_ns)
            shares = [100 * float(row) / seen if seen else math.nan for row in summary.shares[:, at].tolist()]
            rows.append((summary.name, stamp(start_ns, dated=summary.dated), 100 * seen / 255, *shares))
    return rows
