"""Which clips are drawn, and how much time each stands for.

Observed and filmed time is cut into cells of a clip's length, from a random moment on, so that clips never overlap and
every frame has the same chance to be the one that is scored, a cell's centre. Cells are drawn by cage and label: the
least certain of each day in turn, and the others by chance, evenly over time. A least certain cell was sure to be
drawn and stands for itself; one drawn by chance stands for all from which it was drawn (Horvitz and Thompson 1952).
So a kappa of the whole time can be estimated, although uncertain moments and rare behaviours are drawn too often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log.schema import NS_PER_DAY
from toolkit.errors import InputError
from toolkit.frames import MAX_STEP, NS_PER_S
from toolkit.sampling.footage import Pictures, Span
from toolkit.sampling.sources import Rows, Source, rows_of

By = Literal["behaviour", "time"]


@dataclass(frozen=True)
class DrawOptions:
    """What is drawn."""

    clips: int = 100
    """How many."""
    seconds: float = 2.0
    """Length of a clip."""
    by: By = "behaviour"
    """"behaviour": as many of each; "time": in proportion to the time that each takes, at least one."""
    low_share: float = 0.5
    """Share of a behaviour's clips that are its least certain; at least one is drawn by chance."""
    seed: int = 0
    from_ns: int | None = None
    """UTC ns; nothing before is drawn."""
    to_ns: int | None = None


@dataclass(frozen=True)
class Drawn:
    """One clip of a sample."""

    source: Source
    span: Span
    label: int
    """Position in the ethogram, -1 for none: the machine's, at the centre."""
    confidence: float
    stratum: str
    """What it was drawn from: ``CAGE/BEHAVIOUR/low`` or ``CAGE/BEHAVIOUR/chance``."""
    stands_for_s: float
    """Seconds of observed, filmed time."""


@dataclass(frozen=True)
class Seen:
    """How much of a source could be drawn from, seconds."""

    observed_s: float
    """Rows stand for it."""
    filmed_s: float
    """Of it, with pictures."""
    drawable_s: float
    """Of it, in whole cells."""


@dataclass(frozen=True, eq=False)
class Draw:
    """A sample: its clips in the order in which they are to be scored, and what they were drawn from."""

    options: DrawOptions
    clips: tuple[Drawn, ...]
    sources: tuple[Source, ...]
    seen: tuple[Seen, ...]
    """Of each source."""


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cells of one source, C of them."""

    frame: NDArray[np.int64]
    """(C, 3) of start, centre and stop."""
    time_ns: NDArray[np.int64]
    """(C, 3)."""
    label: NDArray[np.int16]
    confidence: NDArray[np.float32]
    length_s: float
    """Of one."""


def draw(
    sources: Sequence[Source], options: DrawOptions, on_part: Callable[[int, int], None] = lambda _done, _total: None
) -> Draw:
    """Draw a sample.

    Parameters
    ----------
    on_part
        Told how many days of how many were read.

    Raises
    ------
    InputError
        If the sources' behaviours differ or two are called the same, nothing can be drawn, or there are fewer clips
        than cages and labels to represent.
    """
    _check(sources)
    random = np.random.default_rng(options.seed)
    total, done = sum(len(source.parts) for source in sources), 0
    cells: list[_Cells] = []
    seen: list[Seen] = []
    for source in sources:
        days, accounts = [], []
        for rows in rows_of(source, options.from_ns, options.to_ns):
            day, account = _cells(rows, source.pictures, options.seconds, random)
            days.append(day)
            accounts.append(account)
            done += 1
            on_part(done, total)
        cells.append(_joined(days))
        seen.append(Seen(*(sum(values) for values in zip(*accounts, strict=True))))
    groups = [
        (position, label, np.flatnonzero(one.label == label))
        for position, one in enumerate(cells)
        for label in np.unique(one.label).tolist()
    ]
    sizes = np.array([len(members) for _, _, members in groups], dtype=np.int64)
    counts = _allocated(sizes, options, sources, seen)
    drawn: list[Drawn] = []
    for (position, label, members), count in zip(groups, counts.tolist(), strict=True):
        drawn += _drawn(sources[position], cells[position], label, members, count, options.low_share, random)
    order = random.permutation(len(drawn))
    return Draw(options, tuple(drawn[place] for place in order.tolist()), tuple(sources), tuple(seen))


def _check(sources: Sequence[Source]) -> None:
    names = [source.cage for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"two sources are both called {twice[0]}. Expected each cage, or video, once.")
    for source in sources[1:]:
        if source.ethogram.names != sources[0].ethogram.names:
            raise InputError(
                f"{sources[0].path} knows {', '.join(sources[0].ethogram.names)}; {source.path} knows "
                f"{', '.join(source.ethogram.names)}. Expected one set of behaviours; sample them one by one."
            )


def _cells(
    rows: Rows, pictures: Pictures, seconds: float, random: np.random.Generator
) -> tuple[_Cells, tuple[float, float, float]]:
    """Cut a day into cells, each run of consecutive pictures from a random row on."""
    steps_ns = np.diff(rows.time_ns)
    # Where a faster video is decimated steps of one and two frames alternate; gaps are rarer than one row in five.
    interval_ns = float(np.percentile(steps_ns, 80)) if len(steps_ns) else seconds * NS_PER_S
    run = pictures.runs(rows.frame, rows.time_ns)
    broken = (steps_ns > MAX_STEP * interval_ns) | (run[1:] != run[:-1]) | (np.diff(rows.frame) <= 0)
    edges = [0, *(np.flatnonzero(broken) + 1).tolist(), len(run)]
    length = max(1, round(seconds * NS_PER_S / interval_ns))
    starts: list[int] = []
    for first, stop in pairwise(edges):
        if stop > first and run[first] >= 0:
            # A cell ends where the row after it begins, so that a run's last row ends one and is in none.
            starts += range(first + int(random.integers(length)), stop - length, length)
    begin = np.array(starts, dtype=np.int64)
    bounds = np.stack([begin, begin + length // 2, begin + length], axis=1)
    interval_s = interval_ns / NS_PER_S
    account = (len(run) * interval_s, float((run >= 0).sum()) * interval_s, len(begin) * length * interval_s)
    cells = _Cells(
        frame=rows.frame[bounds],
        time_ns=rows.time_ns[bounds],
        label=rows.label[bounds[:, 1]],
        confidence=rows.confidence[bounds[:, 1]],
        length_s=length * interval_s,
    )
    return cells, account


def _joined(days: Sequence[_Cells]) -> _Cells:
    return _Cells(
        frame=np.concatenate([day.frame for day in days]),
        time_ns=np.concatenate([day.time_ns for day in days]),
        label=np.concatenate([day.label for day in days]),
        confidence=np.concatenate([day.confidence for day in days]),
        length_s=float(np.median([day.length_s for day in days])),
    )


def _allocated(
    sizes: NDArray[np.int64], options: DrawOptions, sources: Sequence[Source], seen: Sequence[Seen]
) -> NDArray[np.int64]:
    """Return how many clips each group gives: first one each, then always to the one that has the least of its due."""
    if not len(sizes):
        said = "; ".join(
            f"{source.cage}: {account.observed_s:.1f} s observed, {account.filmed_s:.1f} s of it filmed"
            for source, account in zip(sources, seen, strict=True)
        )
        raise InputError(
            f"no clip of {options.seconds:g} s can be drawn ({said}). Expected labelled time with pictures; try "
            "shorter --seconds."
        )
    if options.clips < len(sizes):
        raise InputError(
            f"--clips {options.clips}: expected at least {len(sizes)}, one of each label of each cage, since a label "
            "without a clip could not be judged."
        )
    due = np.ones(len(sizes)) if options.by == "behaviour" else sizes.astype(np.float64)
    counts = np.ones(len(sizes), dtype=np.int64)
    for _ in range(min(options.clips, int(sizes.sum())) - len(sizes)):
        counts[np.argmax(np.where(counts < sizes, due / (counts + 0.5), -1.0))] += 1
    return counts


def _drawn(
    source: Source,
    cells: _Cells,
    label: int,
    members: NDArray[np.int64],
    count: int,
    low_share: float,
    random: np.random.Generator,
) -> list[Drawn]:
    low = np.empty(0, dtype=np.int64)
    if count < len(members):
        low = _least_certain(cells, members, min(int(low_share * count), count - 1))
    others = np.setdiff1d(members, low)
    others = others[np.argsort(cells.time_ns[others, 1], kind="stable")]
    # Evenly over time from a random start: each has the same chance, and no day is left out by chance.
    every = len(others) / (count - len(low))
    places = np.floor((random.random() + np.arange(count - len(low))) * every).astype(np.int64)
    behaviour = source.ethogram.names[label] if label >= 0 else "no-label"
    return [
        Drawn(
            source=source,
            span=Span(*cells.frame[cell].tolist(), *cells.time_ns[cell].tolist()),
            label=label,
            confidence=float(cells.confidence[cell]),
            stratum=f"{source.cage}/{behaviour}/{part}",
            stands_for_s=stands_for * cells.length_s,
        )
        for part, chosen, stands_for in (("low", low, 1.0), ("chance", others[places], every))
        for cell in chosen.tolist()
    ]


def _least_certain(cells: _Cells, members: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the least certain cells, of each day in turn."""
    by_confidence = members[np.argsort(cells.confidence[members], kind="stable")]
    day = cells.time_ns[by_confidence, 1] // NS_PER_DAY
    turn = np.zeros(len(members), dtype=np.int64)
    for one in np.unique(day).tolist():
        mine = day == one
        turn[mine] = np.arange(mine.sum())
    # Stable: within a turn the least certain first.
    return by_confidence[np.argsort(turn, kind="stable")][:count]
