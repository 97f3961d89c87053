"""The daemon's loop: what it does with each frame, with silence, and at the end."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from toolkit.behaviour_log import ClockReading, LogWriter, Quality, Reason
from toolkit.bundle import Bundle
from toolkit.cage.camera import Camera
from toolkit.cage.capture import CaptureThread, Delivery
from toolkit.cage.clock import read_clock
from toolkit.cage.config import CageConfig
from toolkit.cage.health import Health
from toolkit.cage.outlets import Outlets
from toolkit.cage.service import Service
from toolkit.cage.summary import Progress, Summary
from toolkit.engine.contract import ClipNetworks
from toolkit.errors import CameraError, LogError, ToolkitError, VideoError
from toolkit.frames import NS_PER_S, Frame, is_consecutive
from toolkit.pipeline import CentreLogits, Pipeline
from toolkit.view import ViewMonitor

TICK_S = 0.5
"""Longest time without looking whether to stop, to commit, or whether the camera is silent."""

SILENT_S = 1.0
"""A live camera that delivers nothing for so long is recorded as lost from its last frame on."""

CLOCK_S = 60.0
HEALTH_S = 1.0
STATUS_S = 10.0


@dataclass(frozen=True)
class Parts:
    """What a daemon is made of; `open_parts` makes it from a configuration."""

    bundle: Bundle
    camera: Camera
    networks: ClipNetworks
    """Not entered yet."""


class Watch:
    """The daemon's loop and what it remembers from frame to frame."""

    def __init__(
        self,
        config: CageConfig,
        parts: Parts,
        pipeline: Pipeline,
        log: LogWriter,
        capture: CaptureThread,
        health: Health,
        service: Service,
        outlets: Outlets,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._config = config
        self._manifest = parts.bundle.manifest
        self._info = parts.camera.info
        self._pipeline = pipeline
        self._log = log
        self._capture = capture
        self._health = health
        self._service = service
        self._outlets = outlets
        self._on_progress = on_progress
        self._interval_ns = round(NS_PER_S / self._info.fps)
        self._view = ViewMonitor(config.view, self._manifest.geometry.roi)
        # What may yet turn out to be of frozen frames, oldest first, with the time of its clip's last frame: at most
        # `frozen_s` of it.
        self._held: deque[tuple[CentreLogits, int]] = deque()
        self._started_ns = time.monotonic_ns()
        # Capture time of the newest frame, or the start while there is none.
        self._frame_ns: int | None = None
        self._heard_ns = self._started_ns
        self._busy_ns = 0
        self._processed = 0
        self._due_ns = dict.fromkeys(("flush", "clock", "health", "status", "progress"), self._started_ns)

    def run(self, stop: threading.Event) -> None:
        """Take what the camera delivers, step by step, until it ends or `stop` is set."""
        self._health.state = "running"
        for delivery in self._capture.deliveries(stop, TICK_S):
            self.step(delivery)
        # What has changed within the last second is still to be told.
        self._update_health(time.monotonic_ns())
        self._service.tell()

    def step(self, delivery: Delivery | None) -> None:
        """Log what a frame shows, or that none came, and keep the books."""
        progressed = self._note_silence() if delivery is None else self._observe(delivery)
        self._keep_books()
        if progressed:
            self._service.progress(self._log.account.rows)

    def _observe(self, delivery: Delivery) -> bool:
        begun_ns = time.perf_counter_ns()
        frame = delivery.frame
        self._outlets.frame(frame)
        fps = self._manifest.geometry.fps
        if self._frame_ns is not None and not is_consecutive(self._frame_ns, frame.capture_time_ns, fps):
            self._end_segment()
            reason = Reason.OVERLOAD if delivery.dropped else self._info.hole
            self._log.unobserved(self._frame_ns + self._interval_ns, frame.capture_time_ns, reason)
        self._classify(frame)
        self._frame_ns = frame.capture_time_ns
        self._heard_ns = time.monotonic_ns()
        self._processed += 1
        self._busy_ns += time.perf_counter_ns() - begun_ns
        return True

    def _classify(self, frame: Frame) -> None:
        view = self._view.judge(frame.image, frame.capture_time_ns)
        if view.reason is None:
            self._hold(self._pipeline.push(frame), frame.capture_time_ns)
            self._log_held(view.sound_until_ns)
            return
        begin_ns = frame.capture_time_ns
        if view.reason is Reason.FROZEN:
            # What waits was classified before it was known: no clip with a repeated frame becomes a row.
            self._hold(self._pipeline.end_segment(), self._frame_ns or begin_ns)
            self._log_held(view.sound_until_ns)
            waiting_ns = [centre.capture_time_ns for centre, _ in self._held]
            self._held.clear()
            # In a new log nothing lies before them: their time would not be accounted for.
            begin_ns = min(begin_ns, view.sound_until_ns + self._interval_ns, *waiting_ns)
        else:
            self._end_segment()
        self._health.behaviour = None
        self._log.unobserved(begin_ns, frame.capture_time_ns + self._interval_ns, view.reason)

    def _hold(self, centres: Iterable[CentreLogits], clips_end_ns: int) -> None:
        self._held.extend((centre, clips_end_ns) for centre in centres)

    def _log_held(self, sound_until_ns: int) -> None:
        """Log the rows whose clips end by then."""
        while self._held and self._held[0][1] <= sound_until_ns:
            self._log_rows([self._held.popleft()[0]])

    def _end_segment(self) -> None:
        """Log the frames that wait for successors, which will not come."""
        self._log_rows(centre for centre, _ in self._held)
        self._held.clear()
        self._log_rows(self._pipeline.end_segment())

    def _log_rows(self, centres: Iterable[CentreLogits]) -> None:
        for centre in centres:
            probabilities = self._manifest.fusion.probabilities(centre.logits)
            label: int | None = int(probabilities.argmax())
            quality = Quality.PADDED if centre.padded else Quality(0)
            if label is not None and probabilities[label] < self._config.cage.min_confidence:
                label, quality = None, quality | Quality.UNCERTAIN
            self._log.row(centre.index, centre.capture_time_ns, probabilities, label, quality, hole=self._info.hole)
            self._health.behaviour = None if label is None else self._manifest.ethogram.names[label]
            self._outlets.row(centre.capture_time_ns, self._health.behaviour)
            if self._info.live:
                self._health.latency.add((time.monotonic_ns() - centre.capture_time_ns) / NS_PER_S)

    def _note_silence(self) -> bool:
        """Record that no frame comes; False where none has to come yet, or a recording takes its time."""
        now_ns = time.monotonic_ns()
        if not self._info.live or now_ns - self._heard_ns <= SILENT_S * NS_PER_S:
            return False
        self._end_segment()
        self._health.behaviour = None
        self._miss_until(now_ns, self._info.hole)
        return True

    def _miss_until(self, now_ns: int, reason: Reason) -> None:
        since_ns = self._started_ns if self._frame_ns is None else self._frame_ns + self._interval_ns
        dropped_ns = self._capture.queue.dropped_until_ns
        if dropped_ns is not None:
            self._log.unobserved(since_ns, dropped_ns + self._interval_ns, Reason.OVERLOAD)
            since_ns = dropped_ns + self._interval_ns
        self._log.unobserved(since_ns, now_ns, reason)

    def _keep_books(self) -> None:
        now_ns = time.monotonic_ns()
        if self._is_due("flush", now_ns, self._config.log.flush_s):
            self._log.flush()
            self._outlets.flushed()
        if self._is_due("clock", now_ns, CLOCK_S):
            self.clock(read_clock())
        if self._is_due("health", now_ns, HEALTH_S):
            self._update_health(now_ns)
            self._service.tell()
        if self._is_due("status", now_ns, STATUS_S):
            self._write_status()
        # At the very end the last rows are still to come.
        if not self._capture.queue.ended and self._is_due("progress", now_ns, TICK_S):
            self._tell_progress()

    def clock(self, reading: ClockReading) -> None:
        """Record what the clocks say."""
        self._health.clock_synchronised = reading.synchronised
        self._health.clock_step_ns = reading.utc_offset_ns - self._log.session.utc_offset_ns
        self._log.clock(reading)

    def finish(self, reason: str) -> Summary:
        """Log the frames that still wait for successors, close the session, and say how it went."""
        self._end_segment()
        if reason == "end-of-source" and self._info.live:
            self._miss_until(time.monotonic_ns(), Reason.END_OF_SOURCE)
        self._log.close(reason)
        self._health.state = "stopped"
        self._outlets.flushed()
        self._update_health(time.monotonic_ns())
        self._outlets.close()
        self._write_status()
        self._tell_progress()
        return self._summary()

    def fail(self, error: ToolkitError) -> None:
        """Save what can be saved; the error is to be raised again."""
        self._health.state, self._health.error = "failed", str(error)
        # Nothing that goes wrong here may hide the error itself.
        with suppress(ToolkitError):
            if isinstance(error, CameraError | VideoError):
                self._end_segment()
                if self._info.live:
                    self._miss_until(time.monotonic_ns(), Reason.CAMERA_LOST)
            if not isinstance(error, LogError):
                self._log.close(f"{type(error).__name__}: {error}")
                self._outlets.flushed()
        self._outlets.close()
        self._write_status()

    def _is_due(self, task: str, now_ns: int, every_s: float) -> bool:
        if now_ns < self._due_ns[task]:
            return False
        self._due_ns[task] = now_ns + round(every_s * NS_PER_S)
        return True

    def _update_health(self, now_ns: int) -> None:
        queue, health = self._capture.queue, self._health
        health.beat_ns = now_ns
        health.silent_s = (now_ns - self._heard_ns) / NS_PER_S if self._info.live else 0.0
        health.busy_s = self._busy_ns / NS_PER_S
        health.bouts = tuple(self._log.ended_bouts)
        health.frames_captured, health.frames_dropped = queue.captured, queue.dropped
        health.frames_processed = self._processed
        health.source = self._capture.source
        self._outlets.tell()
        health.queue_depth, health.overloaded = len(queue), queue.overloaded
        health.rows, health.rows_refused = self._log.account.rows, self._log.account.refused
        health.unobserved_s = {reason.value: seconds for reason, seconds in self._log.unobserved_s.items()}

    def _write_status(self) -> None:
        self._update_health(time.monotonic_ns())
        # The log matters more than its status page: a disk that is full is the log's to report.
        with suppress(OSError):
            self._health.write(self._log.path.parent)

    def _tell_progress(self) -> None:
        if self._on_progress is not None:
            dropped = self._capture.queue.dropped
            frames = self._processed + dropped
            behaviour = self._health.behaviour or ""
            self._on_progress(Progress(frames, self._info.frames, self._log.account.rows, dropped, behaviour))

    def _summary(self) -> Summary:
        latency = self._health.latency
        return Summary(
            cage=self._config.cage.name,
            log=self._log.path,
            frames_captured=self._capture.queue.captured,
            frames_dropped=self._capture.queue.dropped,
            frames_processed=self._processed,
            rows=self._log.account.rows,
            observed_s=self._log.observed_s,
            unobserved_s=dict(self._log.unobserved_s),
            fps=self._info.fps,
            wall_s=(time.monotonic_ns() - self._started_ns) / NS_PER_S,
            busy_s=self._busy_ns / NS_PER_S,
            latency_p50_s=latency.percentile_s(50),
            latency_p99_s=latency.percentile_s(99),
        )
