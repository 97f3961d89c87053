"""How two labellings of a video agree: frames, bouts, boundaries, time budgets, and where they do not.

Only frames that both label are compared. Neither side is the truth: F1 is the same with the sides exchanged, and
differences are B's minus A's. Only the collar is of one side: around the boundaries of A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.agreement.labelled import Labelled
from toolkit.agreement.names import Names
from toolkit.agreement.sources import same_rate
from toolkit.bouts import NO_LABEL, Bout, BoutRules, bouts_from_labels
from toolkit.errors import InputError
from toolkit.frames import NS_PER_S
from toolkit.scoring import (
    IOU_THRESHOLDS,
    BoutScores,
    accuracy,
    bout_scores,
    cohen_kappa,
    confusion_matrix,
    matched_bouts,
)
from toolkit.scoring.frames import ratio


@dataclass(frozen=True, eq=False)
class FrameAgreement:
    """What the frames say. K behaviours."""

    confusion: NDArray[np.int64]
    """(K, K) frames, rows are A."""

    @property
    def frames(self) -> int:
        """Frames compared."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Fraction of frames with the same label; NaN without any."""
        return accuracy(self.confusion)

    @property
    def kappa(self) -> float:
        """Cohen's kappa; NaN if both use one same behaviour throughout."""
        return cohen_kappa(self.confusion)

    @property
    def f1(self) -> NDArray[np.float64]:
        """(K,) 2 |A and B| / (|A| + |B|); NaN where neither has the behaviour."""
        return ratio(2 * np.diag(self.confusion), self.confusion.sum(axis=0) + self.confusion.sum(axis=1))


@dataclass(frozen=True)
class BoundaryErrors:
    """When B's bouts start or stop against the bouts of A that they match, ms; over 0: B is later."""

    errors_ms: tuple[float, ...]

    @property
    def mean_ms(self) -> float:
        """NaN without any."""
        return float(np.mean(self.errors_ms)) if self.errors_ms else float("nan")

    @property
    def median_ms(self) -> float:
        """NaN without any."""
        return float(np.median(self.errors_ms)) if self.errors_ms else float("nan")

    @property
    def sd_ms(self) -> float:
        """Of the sample; NaN of fewer than two."""
        return float(np.std(self.errors_ms, ddof=1)) if len(self.errors_ms) > 1 else float("nan")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Successive frames that both label, A always the same and B always the same other behaviour; half-open."""

    start_frame: int
    stop_frame: int
    a: str
    b: str


@dataclass(frozen=True, eq=False)
class Agreement:
    """How A and B agree. K behaviours."""

    a: Labelled
    b: Labelled
    behaviours: tuple[str, ...]
    fps: float
    frames: int
    """Frames of the video, or of what both cover where a difference was tolerated."""
    only_a: int
    """Frames that A alone labels."""
    only_b: int
    neither: int
    whole: FrameAgreement
    collar_s: float
    collared: FrameAgreement | None
    """Without the frames around the boundaries of A; None without a collar."""
    bouts: BoutScores
    """Bouts of A as truth, those of B as prediction."""
    boundary_iou: float
    """Overlap from which on bouts are a pair whose boundaries are compared."""
    onsets: dict[str, BoundaryErrors]
    offsets: dict[str, BoundaryErrors]
    disagreements: tuple[Disagreement, ...]
    """Longest first."""
    notes: tuple[str, ...]

    @property
    def bout_f1(self) -> NDArray[np.float64]:
        """(J, K) F1 of bouts by overlap; NaN where neither has a bout."""
        return ratio(2 * self.bouts.matched, self.bouts.truth + self.bouts.predicted)

    @property
    def budgets_s(self) -> NDArray[np.float64]:
        """(2, K) seconds of each behaviour, A's and B's, in the frames compared."""
        return np.stack([self.whole.confusion.sum(axis=1), self.whole.confusion.sum(axis=0)]) / self.fps


def compare(
    a: Labelled,
    b: Labelled,
    *,
    names: Names | None = None,
    tolerance_frames: int = 0,
    collar_s: float = 0.0,
    thresholds: Sequence[float] = IOU_THRESHOLDS,
    boundary_iou: float = 0.5,
) -> Agreement:
    """Compare two labellings of one video.

    Parameters
    ----------
    tolerance_frames
        Frames by which their lengths may differ; the last ones of the longer are then left out.
    collar_s
        Frames that begin or end less than this many seconds from a change of A's label are left out of `collared`.
    thresholds
        Intersections over union at which bouts are scored.
    boundary_iou
        Intersection over union from which on two bouts' boundaries are compared. A boundary that lies where what both
        label begins or ends is none.

    Raises
    ------
    InputError
        If the frame counts or rates differ, no frame is labelled by both, or a threshold is out of its range.
    AnnotationError
        If a side names a behaviour that the other cannot know.
    """
    said = names or Names()
    notes = [*a.notes, *b.notes, *_check_lengths(a, b, tolerance_frames)]
    behaviours = said.common(a, b)
    frames = min(len(a.labels), len(b.labels))
    first, second = (said.labels(side, behaviours)[:frames] for side in (a, b))
    both = (first >= 0) & (second >= 0)
    if not both.any():
        raise InputError(
            f"{a.source} and {b.source} label no frame in common ({np.count_nonzero(first >= 0)} and "
            f"{np.count_nonzero(second >= 0)} of {frames} frames). Expected labels of the same part of the video."
        )
    if not 0 < boundary_iou <= 1:
        raise InputError(f"an overlap must be over 0 and at most 1, found {boundary_iou:g}.")
    shared = [np.where(both, labels, NO_LABEL).astype(np.int16) for labels in (first, second)]
    mine, theirs = (_bouts(labels, a.fps) for labels in shared)
    onsets, offsets = _boundary_errors(mine, theirs, both, a.fps, behaviours, boundary_iou)
    collared = None
    if collar_s > 0:
        far = ~_near_change(first, round(collar_s * a.fps))
        collared = FrameAgreement(confusion_matrix(shared[0][far], shared[1][far], len(behaviours)))
    return Agreement(
        a=a,
        b=b,
        behaviours=behaviours,
        fps=a.fps,
        frames=frames,
        only_a=int(np.count_nonzero((first >= 0) & ~both)),
        only_b=int(np.count_nonzero((second >= 0) & ~both)),
        neither=int(np.count_nonzero((first < 0) & (second < 0))),
        whole=FrameAgreement(confusion_matrix(shared[0], shared[1], len(behaviours))),
        collar_s=collar_s,
        collared=collared,
        bouts=bout_scores(mine, theirs, len(behaviours), thresholds),
        boundary_iou=boundary_iou,
        onsets=onsets,
        offsets=offsets,
        disagreements=tuple(_disagreements(shared[0], shared[1], behaviours)),
        notes=tuple(notes),
    )


def _check_lengths(a: Labelled, b: Labelled, tolerance_frames: int) -> list[str]:
    """Return what is to be said of a difference that is tolerated."""
    if not same_rate(a.fps, b.fps):
        raise InputError(
            f"{a.source} is at {a.fps:g} frames per second, {b.source} at {b.fps:g}. Expected two labellings of the "
            "very same video."
        )
    difference = abs(len(a.labels) - len(b.labels))
    if difference > tolerance_frames:
        raise InputError(
            f"{a.source} is of {len(a.labels)} frames, {b.source} of {len(b.labels)}. Expected two labellings of the "
            f"very same video. If their first frame is the same: --tolerance-frames {difference}."
        )
    if not difference:
        return []
    return [f"{a.source} is of {len(a.labels)} frames, {b.source} of {len(b.labels)}: the last {difference} left out"]


def _bouts(labels: NDArray[np.int16], fps: float) -> list[Bout]:
    time_ns = np.round(np.arange(len(labels)) * (NS_PER_S / fps)).astype(np.int64)
    return bouts_from_labels(time_ns, labels, np.ones(len(labels)), BoutRules(), round(NS_PER_S / fps))


def _boundary_errors(
    mine: list[Bout],
    theirs: list[Bout],
    both: NDArray[np.bool_],
    fps: float,
    behaviours: Sequence[str],
    iou: float,
) -> tuple[dict[str, BoundaryErrors], dict[str, BoundaryErrors]]:
    # Frame t begins at t / fps; a boundary before frame t is one if both label frames t - 1 and t.
    inside = np.zeros(len(both) + 1, dtype=np.bool_)
    inside[1:-1] = both[1:] & both[:-1]
    onsets: dict[str, list[float]] = {name: [] for name in behaviours}
    offsets: dict[str, list[float]] = {name: [] for name in behaviours}
    for pair in matched_bouts(mine, theirs):
        if pair.iou < iou:
            continue
        name = behaviours[pair.truth.behaviour]
        for errors, of_a, of_b in (
            (onsets[name], pair.truth.start_ns, pair.predicted.start_ns),
            (offsets[name], pair.truth.stop_ns, pair.predicted.stop_ns),
        ):
            first, second = round(of_a * fps / NS_PER_S), round(of_b * fps / NS_PER_S)
            if inside[first] and inside[second]:
                errors.append(1000 * (second - first) / fps)
    return (
        {name: BoundaryErrors(tuple(errors)) for name, errors in onsets.items()},
        {name: BoundaryErrors(tuple(errors)) for name, errors in offsets.items()},
    )


def _near_change(labels: NDArray[np.int16], reach: int) -> NDArray[np.bool_]:
    """Return the `reach` frames before and after each change of a label."""
    near = np.zeros(len(labels), dtype=np.bool_)
    for change in (np.flatnonzero(np.diff(labels)) + 1).tolist():
        near[max(0, change - reach) : change + reach] = True
    return near


def _disagreements(a: NDArray[np.int16], b: NDArray[np.int16], behaviours: Sequence[str]) -> list[Disagreement]:
    edges = np.flatnonzero((np.diff(a) != 0) | (np.diff(b) != 0)) + 1
    starts, stops = [0, *edges.tolist()], [*edges.tolist(), len(a)]
    found = [
        Disagreement(start, stop, behaviours[a[start]], behaviours[b[start]])
        for start, stop in zip(starts, stops, strict=True)
        if a[start] != b[start]
    ]
    return sorted(found, key=lambda one: (one.start_frame - one.stop_frame, one.start_frame))
