"""How a scorer and the machine agree: of the clips as they are, and of the whole time that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.sampling.scored import Scored, ScoredClip
from toolkit.scoring import RESAMPLES, accuracy, bootstrap_intervals, cohen_kappa
from toolkit.scoring.frames import ratio

Per = Literal["day", "week"]

ALL = "all"
UNDATED = "undated"

FEWEST_CLIPS = 10
"""With fewer clips that were drawn by chance no interval is given."""


@dataclass(frozen=True, eq=False)
class Part:
    """Agreement in one cage, or all, in one day or week, or all. K behaviours."""

    cage: str
    period: str
    confusion: NDArray[np.int64]
    """(K, K) clips, rows are the scorer's."""
    seconds: NDArray[np.float64]
    """(K, K) seconds that the clips stand for."""
    kappa_interval: tuple[float, float] | None
    """95 % of `kappa`; None of too few clips."""

    @property
    def clips(self) -> int:
        """Clips that both name."""
        return int(self.confusion.sum())

    @property
    def kappa(self) -> float:
        """Cohen's kappa of the time that the clips stand for; NaN where undefined."""
        return cohen_kappa(self.seconds)

    @property
    def same(self) -> float:
        """Share of that time with the same behaviour."""
        total = float(self.seconds.sum())
        return float(np.trace(self.seconds)) / total if total else float("nan")

    @property
    def clips_kappa(self) -> float:
        """Cohen's kappa of the clips as they are: lower, the more uncertain ones were drawn."""
        return cohen_kappa(self.confusion)

    @property
    def clips_same(self) -> float:
        """Share of clips with the same behaviour."""
        return accuracy(self.confusion)

    @property
    def precision(self) -> NDArray[np.float64]:
        """(K,) of the time that the machine calls so, the share that the scorer does too."""
        return ratio(np.diag(self.seconds), self.seconds.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """(K,) of the time that the scorer calls so, the share that the machine does too."""
        return ratio(np.diag(self.seconds), self.seconds.sum(axis=1))


@dataclass(frozen=True, eq=False)
class SampleAgreement:
    """What a scored sample says."""

    scored: Scored
    per: Per
    compared: int
    """Clips that both name."""
    cannot_say: int
    unscored: int
    no_label: int
    """Scored clips to which the machine gave no label."""
    whole: Part
    cages: tuple[Part, ...]
    """In the order of their names; of one cage only `whole` again."""
    periods: tuple[Part, ...]
    """By cage, then time."""
    left_out_s: float
    """Time of which no clip was looked at: the estimate is not of it."""


def sample_agreement(scored: Scored, per: Per = "week") -> SampleAgreement:
    """Compare the scorer's behaviour of each clip's scored frame with the machine's.

    A clip that was not looked at gives its time to those of its stratum that were; one of which the scorer cannot say
    takes its own time out of the comparison.
    """
    names = scored.ethogram.names
    seconds, left_out_s = _seconds(scored.clips)
    compared = [clip for clip in scored.clips if clip.scored is not None and clip.machine]

    def part(cage: str, period: str, clips: Iterable[ScoredClip]) -> Part:
        mine = list(clips)
        cell = np.array(
            [names.index(c.scored or "") * len(names) + names.index(c.machine) for c in mine], dtype=np.int64
        )
        weight = np.array([seconds[c.name] for c in mine])
        by_chance = np.array([not c.stratum.endswith("/low") for c in mine], dtype=np.bool_)
        return Part(
            cage,
            period,
            _table(cell, np.ones(len(mine)), len(names)).astype(np.int64),
            _table(cell, weight, len(names)),
            _interval(cell, weight, by_chance, len(names)),
        )

    cages = sorted({clip.cage for clip in scored.clips})
    periods = sorted({(clip.cage, _period(clip, per)) for clip in compared})
    return SampleAgreement(
        scored=scored,
        per=per,
        compared=len(compared),
        cannot_say=sum(clip.cannot_say for clip in scored.clips),
        unscored=sum(not _looked_at(clip) for clip in scored.clips),
        no_label=sum(clip.scored is not None and not clip.machine for clip in scored.clips),
        whole=part(ALL, ALL, compared),
        cages=tuple(part(cage, ALL, (c for c in compared if c.cage == cage)) for cage in cages),
        periods=tuple(
            part(cage, period, (c for c in compared if (c.cage, _period(c, per)) == (cage, period)))
            for cage, period in periods
        ),
        left_out_s=left_out_s,
    )


def _looked_at(clip: ScoredClip) -> bool:
    return clip.scored is not None or clip.cannot_say


def _seconds(clips: Sequence[ScoredClip]) -> tuple[dict[str, float], float]:
    """Return the time that each clip that was looked at stands for, and the time of which none was."""
    strata: dict[str, list[ScoredClip]] = {}
    for clip in clips:
        strata.setdefault(clip.stratum, []).append(clip)
    seconds: dict[str, float] = {}
    left_out_s = 0.0
    for members in strata.values():
        looked_at = [clip for clip in members if _looked_at(clip)]
        if not looked_at:
            left_out_s += sum(clip.stands_for_s for clip in members)
        for clip in looked_at:
            seconds[clip.name] = clip.stands_for_s * len(members) / len(looked_at)
    return seconds, left_out_s


def _period(clip: ScoredClip, per: Per) -> str:
    if clip.at is None:
        return UNDATED
    if per == "day":
        return f"{clip.at:%Y-%m-%d}"
    year, week, _ = clip.at.isocalendar()
    return f"{year}-W{week:02d}"


def _table(cell: NDArray[np.int64], weight: NDArray[np.float64], behaviours: int) -> NDArray[np.float64]:
    return np.bincount(cell, weight, behaviours**2).astype(np.float64).reshape(behaviours, behaviours)


def _interval(
    cell: NDArray[np.int64], weight: NDArray[np.float64], by_chance: NDArray[np.bool_], behaviours: int
) -> tuple[float, float] | None:
    """Return the interval of kappa: clips drawn by chance are drawn again, those sure to be drawn stay.

    Strata are left aside, since one with a single clip would seem to be known without error.
    """
    chance = np.flatnonzero(by_chance)
    if len(chance) < FEWEST_CLIPS:
        return None
    fixed = _table(cell[~by_chance], weight[~by_chance], behaviours)

    def kappa(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        again = chance[drawn]
        return np.array([cohen_kappa(fixed + _table(cell[again], weight[again], behaviours))])

    found = bootstrap_intervals(kappa, len(chance), resamples=RESAMPLES)
    return None if found is None or np.isnan(found).any() else (float(found[0, 0]), float(found[0, 1]))
