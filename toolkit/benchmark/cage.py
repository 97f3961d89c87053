"""One cage's work, frame after frame, as its daemon does it: through the pipeline into a log that is committed."""

from __future__ import annotations

import time

from toolkit.behaviour_log import LogWriter, Quality
from toolkit.benchmark.source import Images, Source
from toolkit.benchmark.timed import CAPTURE, FRAME_TO_COMMIT, FRAME_TO_ROW, FUSION, LOG_COMMIT, LOG_ROW, Stopwatch
from toolkit.bundle import Manifest
from toolkit.cage.config import LogTable
from toolkit.engine.contract import ClipNetworks
from toolkit.frames import NS_PER_S, Frame
from toolkit.pipeline import Pipeline

FLUSH_S = float(LogTable.model_fields["flush_s"].default)
"""Time between two commits: the daemon's default."""


class TimedCage:
    """What a daemon does with one frame after another (`toolkit.cage.watch`), timed."""

    def __init__(
        self,
        manifest: Manifest,
        networks: ClipNetworks,
        source: Source,
        images: Images,
        log: LogWriter,
        watch: Stopwatch,
        stride: int,
    ) -> None:
        self._watch, self._images, self._log = watch, images, log
        self._decoded, self._fps, self._fusion = source.decoded, source.fps, manifest.fusion
        self._pipeline = Pipeline(manifest, networks, source_fps=source.fps, stride=stride)
        self._began_ns = time.monotonic_ns()
        self._committed_ns = time.perf_counter_ns()
        # When the frame arrived that completed each row since the last commit.
        self._arrivals_ns: list[int] = []
        self.frames = 0
        self.busy_ns = 0

    def step(self) -> None:
        """Take a frame, and log the rows that it completes."""
        image = self._watch.call(CAPTURE, lambda: next(self._images)) if self._decoded else next(self._images)
        arrived_ns = time.perf_counter_ns()
        time_ns = self._began_ns + round(self.frames * NS_PER_S / self._fps)
        centres = self._pipeline.push(Frame(self.frames, time_ns, image))
        for centre in centres:
            with self._watch.time(FUSION):
                probabilities = self._fusion.probabilities(centre.logits)
            with self._watch.time(LOG_ROW):
                quality = Quality.PADDED if centre.padded else Quality(0)
                label = int(probabilities.argmax())
                self._log.row(centre.index, centre.capture_time_ns, probabilities, label, quality)
            self._watch.add(FRAME_TO_ROW, time.perf_counter_ns() - arrived_ns)
            self._arrivals_ns.append(arrived_ns)
        self.frames += 1
        if arrived_ns - self._committed_ns >= FLUSH_S * NS_PER_S:
            self.commit()
        self.busy_ns += time.perf_counter_ns() - arrived_ns

    def commit(self) -> None:
        """Commit the rows that wait for it."""
        self._watch.call(LOG_COMMIT, self._log.flush)
        self._committed_ns = time.perf_counter_ns()
        for arrived_ns in self._arrivals_ns:
            self._watch.add(FRAME_TO_COMMIT, self._committed_ns - arrived_ns)
        self._arrivals_ns.clear()
