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
from toolkit.cage.cameras import Camera
from toolkit.cage.capture import CaptureThread, Delivery
from toolkit.cage.clock import read_clock
from toolkit.cage.config import CageConfig
from toolkit.cage.engines import Engines, NetworkSource
from toolkit.cage.health import Health
from toolkit.cage.outlets import Outlets
from toolkit.cage.pace import Pace
from toolkit.cage.service import Service
from toolkit.cage.stages import COMMIT, ROW, VIEW, Stages
from toolkit.cage.summary import Progress, Summary
from toolkit.engine.contract import ClipNetworks
from toolkit.errors import CameraError, EngineError, FlowError, LogError, ToolkitError, VideoError
from toolkit.frames import NS_PER_S, Frame, is_consecutive
from toolkit.pipeline import CentreLogits, HeldCentres, Pipeline
from toolkit.view import ViewMonitor

TICK_S = 0.5
"""Longest time without looking whether to stop, to commit, or whether the camera is silent."""

SILENT_S = 1.0
"""A live camera that delivers nothing for so long is recorded as lost from its last frame on."""

CLOCK_S = 60.0
HEALTH_S = 1.0
STATUS_S = 10.0
RETENTION_S = 600.0

RECENT_S = 60.0
"""What was lost to overload within so long makes a daemon overloaded."""


@dataclass(frozen=True)
class Parts:
    """What a daemon is made of; `open_parts` makes it from a configuration."""

    bundle: Bundle
    camera: Camera
    networks: ClipNetworks
    """Not entered yet."""
    source: NetworkSource | None = None
    """Of other networks, should these fail; None: a failure is the end."""


class Watch:
    """The daemon's loop and what it remembers from frame to frame."""

    def __init__(
        self,
        config: CageConfig,
        parts: Parts,
        pipeline: Pipeline,
        engines: Engines,
        stages: Stages,
        pace: Pace,
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
        self._engines = engines
        self._stages = stages
        self._pace = pace
        self._log = log
        self._capture = capture
        self._health = health
        self._service = service
        self._outlets = outlets
        self._on_progress = on_progress
        self._interval_ns = round(NS_PER_S / self._info.fps)
        self._view = ViewMonitor(config.view, self._manifest.geometry.roi)
        # At most `frozen_s` of them.
        self._held = HeldCentres()
        self._started_ns = time.monotonic_ns()
        # Capture time of the newest frame, or the start while there is none.
        self._frame_ns: int | None = None
        self._heard_ns = self._started_ns
        self._busy_ns = 0
        # Frames that the configured stride would have classified and a larger one did not, times that stride.
        self._passed_over = 0
        # Why the newest frame, or the lack of one, is not observed.
        self._blind: Reason | None = None
        # What the networks could not do, to be mended once the frame is booked.
        self._fault: ToolkitError | None = None
        # Why frames are being dropped.
        self._drop_reason = Reason.OVERLOAD
        # (monotonic ns, seconds lost to overload by then), oldest first: of the last `RECENT_S`.
        self._recent: deque[tuple[int, float]] = deque()
        self._processed = 0
        self._due_ns = dict.fromkeys(("flush", "clock", "health", "status", "progress", "retention"), self._started_ns)

    def run(self, stop: threading.Event) -> None:
        """Take what the camera delivers, step by step, until it ends or `stop` is set."""
        self._health.state = "running"
        for delivery in self._capture.deliveries(stop, TICK_S):
            self.step(delivery)
        # What has changed within the last second is still to be told.
        self._update_health(time.monotonic_ns())
        self._service.tell()

    def step(self, delivery: Delivery | None) -> None:
        """Log what a frame shows, or that none came, and keep the books.

        Raises
        ------
        ToolkitError
            If the log cannot be written, or the networks failed and cannot be had again.
        """
        begun_ns = time.perf_counter_ns()
        progressed = self._note_silence() if delivery is None else self._observe(delivery)
        self._keep_books()
        if self._fault is not None:
            self._recover(self._fault)
        elif progressed:
            self._service.progress(self._log.account.rows)
        if delivery is not None:
            self._keep_pace(time.perf_counter_ns() - begun_ns)

    def _observe(self, delivery: Delivery) -> bool:
        begun_ns = time.perf_counter_ns()
        frame = delivery.frame
        self._outlets.frame(frame)
        fps = self._manifest.geometry.fps
        if self._frame_ns is not None and not is_consecutive(self._frame_ns, frame.capture_time_ns, fps):
            self._end_segment()
            reason = self._drop_reason if delivery.dropped else self._info.hole
            self._log.unobserved(self._frame_ns + self._interval_ns, frame.capture_time_ns, reason)
        queue = self._capture.queue
        if delivery.dropped or (not len(queue) and queue.dropped_until_ns is None):
            self._drop_reason = Reason.OVERLOAD
        self._classify(frame)
        self._frame_ns = frame.capture_time_ns
        self._heard_ns = time.monotonic_ns()
        self._processed += 1
        self._busy_ns += time.perf_counter_ns() - begun_ns
        return True

    def _classify(self, frame: Frame) -> None:
        with self._stages.time(VIEW):
            view = self._view.judge(frame.image, frame.capture_time_ns)
        if view.reason is None:
            newest_ns = frame.capture_time_ns
            self._held.hold(self._asked(lambda: self._pipeline.push(frame), newest_ns), newest_ns)
            self._log_rows(self._held.release(view.sound_until_ns))
            return
        begin_ns = frame.capture_time_ns
        if view.reason is Reason.FROZEN:
            # What waits was classified before it was known: no clip with a repeated frame becomes a row.
            self._held.hold(self._last_centres(), self._frame_ns or begin_ns)
            self._log_rows(self._held.release(view.sound_until_ns))
            waiting_ns = [centre.capture_time_ns for centre in self._held.clear()]
            # In a new log nothing lies before them: their time would not be accounted for.
            begin_ns = min(begin_ns, view.sound_until_ns + self._interval_ns, *waiting_ns)
        else:
            self._end_segment()
        self._log.unobserved(begin_ns, frame.capture_time_ns + self._interval_ns, view.reason)
        self._see_nothing(view.reason)

    def _end_segment(self) -> None:
        """Log the frames that wait for successors, which will not come."""
        self._log_rows(self._held.clear())
        self._log_rows(self._last_centres())

    def _last_centres(self) -> list[CentreLogits]:
        return self._asked(self._pipeline.end_segment, self._frame_ns or 0)

    def _asked(self, ask: Callable[[], list[CentreLogits]], newest_ns: int) -> list[CentreLogits]:
        """Return what the pipeline answers; where its networks fail, record that its frames up to `newest_ns` are lost.

        Whoever asks goes on as after a segment's end; `step` mends what has failed.
        """
        try:
            return ask()
        except (EngineError, FlowError) as error:
            self._fault = error
            self._service.engine_failed(error)
            self._log_rows(self._held.clear())
            lost_ns = self._pipeline.abandon_segment()
            if lost_ns is not None:
                self._log.unobserved(lost_ns, newest_ns + self._interval_ns, Reason.ENGINE_FAILED)
            self._see_nothing(Reason.ENGINE_FAILED)
            return []

    def _recover(self, error: ToolkitError) -> None:
        """Have the networks opened again, or others; what is captured meanwhile waits, and what is dropped is lost."""
        self._fault = None
        before = dict(self._engines.engines)
        # This may take a while.
        self._update_health(time.monotonic_ns())
        self._engines.recover(error, time.monotonic())
        self._pace.forget()
        # Until the backlog of this time is worked off.
        self._drop_reason = Reason.ENGINE_FAILED
        engines = dict(self._engines.engines)
        if engines != before:
            self._log.change_engines(engines, f"{type(error).__name__}: {error}")
            self._health.engines = engines
        self._update_health(time.monotonic_ns())
        self._service.engine_back(self._engines.state.fallen_back)

    def _keep_pace(self, spent_ns: int) -> None:
        self._pace.note(spent_ns, self._stages)
        waiting = len(self._capture.queue) / self._config.camera.queue_frames
        if self._info.live and self._pace.adjust(waiting, time.monotonic()):
            self._pipeline.stride = self._pace.stride
            self._service.paced(self._pace.stride, self._pace.costs)

    def _see_nothing(self, reason: Reason) -> None:
        self._health.behaviour, self._blind = None, reason

    def _log_rows(self, centres: Iterable[CentreLogits]) -> None:
        for centre in centres:
            probabilities = self._manifest.fusion.probabilities(centre.logits)
            label: int | None = int(probabilities.argmax())
            quality = Quality.PADDED if centre.padded else Quality(0)
            if label is not None and probabilities[label] < self._config.cage.min_confidence:
                label, quality = None, quality | Quality.UNCERTAIN
            interval_ns = self._row_interval_ns(centre.stride)
            with self._stages.time(ROW):
                self._log.row(
                    centre.index,
                    centre.capture_time_ns,
                    probabilities,
                    label,
                    quality,
                    hole=self._info.hole,
                    interval_ns=interval_ns,
                )
            self._passed_over += centre.stride - self._config.cage.stride
            self._health.behaviour = None if label is None else self._manifest.ethogram.names[label]
            self._blind = None
            self._outlets.row(centre.capture_time_ns, interval_ns, self._health.behaviour)
            if self._info.live:
                self._health.latency.add((time.monotonic_ns() - centre.capture_time_ns) / NS_PER_S)

    def _row_interval_ns(self, stride: int) -> int:
        return round(stride * NS_PER_S / self._manifest.geometry.fps)

    def _note_silence(self) -> bool:
        """Record that no frame comes; False where none has to come yet, or a recording takes its time."""
        now_ns = time.monotonic_ns()
        if not self._info.live or now_ns - self._heard_ns <= SILENT_S * NS_PER_S:
            return False
        self._end_segment()
        self._miss_until(now_ns, self._info.hole)
        self._see_nothing(self._info.hole)
        return True

    def _miss_until(self, now_ns: int, reason: Reason) -> None:
        since_ns = self._started_ns if self._frame_ns is None else self._frame_ns + self._interval_ns
        dropped_ns = self._capture.queue.dropped_until_ns
        if dropped_ns is not None:
            self._log.unobserved(since_ns, dropped_ns + self._interval_ns, self._drop_reason)
            since_ns = dropped_ns + self._interval_ns
        self._log.unobserved(since_ns, now_ns, reason)

    def _keep_books(self) -> None:
        now_ns = time.monotonic_ns()
        if self._is_due("flush", now_ns, self._config.log.flush_s):
            with self._stages.time(COMMIT):
                self._log.flush()
            self._outlets.flushed()
        # A recording's rows are dated by the recording, whatever the system's clock does.
        if self._info.begin_utc_ns is None and self._is_due("clock", now_ns, CLOCK_S):
            self.clock(read_clock())
        if self._is_due("health", now_ns, HEALTH_S):
            self._update_health(now_ns)
            self._service.tell()
        if self._is_due("status", now_ns, STATUS_S):
            self._write_status()
        if self._is_due("retention", now_ns, RETENTION_S):
            self._service.removed(self._log.retain(self._config.log.retention))
        # At the very end the last rows are still to come.
        if not self._capture.queue.ended and self._is_due("progress", now_ns, TICK_S):
            self._tell_progress()

    def clock(self, reading: ClockReading) -> None:
        """Record what the clocks say."""
        self._log.clock(reading)
        self._health.clock_synchronised = reading.synchronised
        step_ns = reading.utc_offset_ns - self._log.session.utc_offset_ns
        self._health.clock_step_ns = step_ns if self._log.dated else 0

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
            if isinstance(error, EngineError | FlowError) and self._info.live:
                self._miss_until(time.monotonic_ns(), Reason.ENGINE_FAILED)
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
        health.queue_depth = len(queue)
        blind = self._blind or (Reason.OVERLOAD if queue.overloaded else None)
        health.unobserved_now = None if blind is None else blind.value
        health.stride, health.windows_skipped = self._pipeline.stride, self._passed_over // self._config.cage.stride
        health.engine = self._engines.state
        health.stages = self._stages.seconds()
        health.overload_share = self._overload_share(now_ns)
        slowed = health.stride > self._config.cage.stride
        health.overloaded = queue.overloaded or slowed or health.overload_share > 0
        health.log_faults = self._log.faults
        health.rows, health.rows_refused = self._log.account.rows, self._log.account.refused
        health.unobserved_s = {reason.value: seconds for reason, seconds in self._log.unobserved_s.items()}

    def _overload_share(self, now_ns: int) -> float:
        """Return the share of the newest `RECENT_S` that overload left unobserved, by what is in the log."""
        self._recent.append((now_ns, self._log.unobserved_s.get(Reason.OVERLOAD, 0.0)))
        while now_ns - self._recent[0][0] > RECENT_S * NS_PER_S:
            self._recent.popleft()
        return (self._recent[-1][1] - self._recent[0][1]) / RECENT_S

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
            rows_refused=self._log.account.refused,
            observed_s=self._log.observed_s,
            unobserved_s=dict(self._log.unobserved_s),
            fps=self._info.fps,
            wall_s=(time.monotonic_ns() - self._started_ns) / NS_PER_S,
            busy_s=self._busy_ns / NS_PER_S,
            windows_skipped=self._passed_over // self._config.cage.stride,
            latency_p50_s=latency.percentile_s(50),
            latency_p99_s=latency.percentile_s(99),
        )
