"""Frames in, labelled rows out: the pipeline, and the view's judgement of what it may be asked about.

A video's frames are pushed once each. A row is final when it comes: of a frame whose clip turned out to hold repeated
pictures there is only the row that says so, as in the daemon's log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import Reason
from toolkit.bouts import NO_LABEL
from toolkit.bundle import Manifest
from toolkit.engine.contract import ClipNetworks
from toolkit.frames import LEAST_DECIMATION, NS_PER_S, Frame, FrameRateGate
from toolkit.pipeline import CentreLogits, HeldCentres, Pipeline
from toolkit.view import ViewMonitor


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """What is said of one frame."""

    index: int
    """`Frame.index`."""
    time_ns: int
    """`Frame.capture_time_ns`."""
    label: int
    """Position in the ethogram, `NO_LABEL` where the view shows no behaviour."""
    probabilities: NDArray[np.float32] | None
    """(K,) fused, 0 to 1; None without a label."""
    padded: bool = False
    """Whether the clip repeats frames at an end of its segment."""
    view: Reason | None = None
    """Why the frame has no label."""
    smoothed: int = NO_LABEL
    """Label after smoothing; that of the row itself where nothing smooths."""


def kept_fps(manifest: Manifest, source_fps: float) -> float:
    """Return the rate at which a source's frames reach the networks, frames per second."""
    fps = manifest.geometry.fps
    return source_fps if source_fps < fps * LEAST_DECIMATION else fps


class FrameLabeller:
    """Turns a recording's frames into rows, in order.

    Parameters
    ----------
    manifest
        The bundle's.
    networks
        The bundle's, entered.
    source_fps
        The video's, accepted by `WorkingGeometry.check_source`.
    stride
        A row for every `stride`-th frame at the networks' frame rate, whether it is labelled or not.
    view
        Judges every frame; None believes them all.
    """

    def __init__(
        self,
        manifest: Manifest,
        networks: ClipNetworks,
        *,
        source_fps: float,
        stride: int = 1,
        view: ViewMonitor | None = None,
    ) -> None:
        self._fusion = manifest.fusion
        self._pipeline = Pipeline(manifest, networks, source_fps=source_fps, stride=stride)
        self._view = view
        self._held = HeldCentres()
        self._newest_ns = 0
        # Rows without a label are as far apart as those with one.
        self._rate = kept_fps(manifest, source_fps) / stride
        self._gate = FrameRateGate(self._rate, source_fps)

    @property
    def row_interval_ns(self) -> int:
        """Nominal time from one row to the next, ns."""
        return round(NS_PER_S / self._rate)

    def push(self, frame: Frame) -> list[LabelledRow]:
        """Take the next frame and return the rows that no later frame can change."""
        if self._view is None:
            return self._labelled(self._pipeline.push(frame))
        view = self._view.judge(frame.image, frame.capture_time_ns)
        if view.reason is None:
            self._gate.restart()
            self._held.hold(self._pipeline.push(frame), frame.capture_time_ns)
            self._newest_ns = frame.capture_time_ns
            return self._labelled(self._held.release(view.sound_until_ns))
        self._held.hold(self._pipeline.end_segment(), self._newest_ns)
        # No clip with a repeated frame becomes a label; what was held for another reason is sound.
        sound_until_ns = view.sound_until_ns if view.reason is Reason.FROZEN else frame.capture_time_ns
        rows = self._labelled(self._held.release(sound_until_ns))
        rows += [_unlabelled(centre.index, centre.capture_time_ns, view.reason) for centre in self._held.clear()]
        if self._gate.accept(frame.capture_time_ns):
            rows.append(_unlabelled(frame.index, frame.capture_time_ns, view.reason))
        return rows

    def end(self) -> list[LabelledRow]:
        """Return the rows that remain at the end of the video."""
        self._held.hold(self._pipeline.end_segment(), self._newest_ns)
        return self._labelled(self._held.clear())

    def _labelled(self, centres: Iterable[CentreLogits]) -> list[LabelledRow]:
        rows = []
        for centre in centres:
            probabilities = self._fusion.probabilities(centre.logits)
            label = int(probabilities.argmax())
            rows.append(
                LabelledRow(
                    centre.index, centre.capture_time_ns, label, probabilities, padded=centre.padded, smoothed=label
                )
            )
        return rows


def _unlabelled(index: int, time_ns: int, reason: Reason) -> LabelledRow:
    return LabelledRow(index, time_ns, NO_LABEL, None, view=reason)
