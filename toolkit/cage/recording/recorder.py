"""The recorder: a thread of its own that encodes what the daemon's loop saw, and drops pictures rather than delay it.

Pictures are encoded into groups that begin with a key frame, the newest of which wait in memory as packets until the
choice keeps them or they are too old for it. Whatever goes wrong here, a disk that is full or an encoder that fails,
pauses the recording, is told by the daemon's health, and is tried again; the log goes on.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.packet import Packet
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.cage.recording.choice import Choice
from toolkit.cage.recording.encoder import Encoder, choose_encoder
from toolkit.cage.recording.retention import make_room
from toolkit.cage.recording.segment import Origin, SegmentWriter
from toolkit.cage.recording.state import RecorderState
from toolkit.cage.recording.table import RecordingTable
from toolkit.errors import CameraError
from toolkit.frames import NS_PER_S, Frame

KEY_FRAME_S = 1.0
"""From one key frame to the next: what is kept is whole groups, and a kill may cost one."""

IDLE_S = 3.0
"""Without a picture for so long the file is closed; the next picture begins another."""

LOOK_S = 20.0
"""From one look at the disk to the next, and from a fault to the next attempt."""

NICE = 10
"""The thread's priority below the loop's, as nice(1) counts it."""

_DAY_NS = 86_400 * NS_PER_S


@dataclass
class _Group:
    """Packets from a key frame up to the next."""

    start_us: int
    packets: list[tuple[int, Packet[Any]]] = field(default_factory=list)
    written: int = 0

    @property
    def end_us(self) -> int:
        return self.packets[-1][0] if self.packets else self.start_us


class Recorder:
    """Records one session of a cage; a context manager that starts and ends the thread.

    Parameters
    ----------
    table
        Its configuration; the mode is not "off".
    origin
        Cage and session of the files.
    choice
        What is kept.
    size, fps
        Width and height, px, and frames per second of the camera.
    utc_offset_ns
        Gives the session's: what is added to capture times to date rows. 0: they have no date yet, and nothing is
        recorded.
    synchronised
        Tells whether the system's clock is.
    warn
        Told what somebody should know; called in the recorder's thread.
    """

    def __init__(
        self,
        table: RecordingTable,
        origin: Origin,
        choice: Choice,
        *,
        size: tuple[int, int],
        fps: float,
        utc_offset_ns: Callable[[], int],
        synchronised: Callable[[], bool | None],
        warn: Callable[[str], None],
    ) -> None:
        self._table = table
        self._origin = origin
        self._folder = (table.folder or Path()) / origin.cage
        self._choice = choice
        self._size, self._fps = size, fps
        self._utc_offset_ns = utc_offset_ns
        self._synchronised = synchronised
        self._warn = warn
        self.state = RecorderState(table.mode)
        self._queue: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._encoder_name = ""
        self._encoder: Encoder | None = None
        self._origin_us = 0
        self._groups: deque[_Group] = deque()
        self._segment: SegmentWriter | None = None
        self._segment_end_us = 0
        self._look_s = 0.0
        self._told_dropped = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        # A disk that hangs must not keep the daemon from ending.
        self._thread.join(timeout=5.0)

    def frame(self, frame: Frame) -> None:
        """Take a picture that the loop has seen, or drop it; never waits for the encoder."""
        with self._changed:
            if len(self._queue) >= self._table.queue_frames:
                self.state.dropped += 1
                return
            self._queue.append(frame)
            self._changed.notify_all()

    def row(self, capture_time_ns: int, interval_ns: int, behaviour: str | None) -> None:
        """Take the log's next row."""
        if offset_ns := self._utc_offset_ns():
            self._choice.row(capture_time_ns + offset_ns, interval_ns, behaviour)

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with self._changed:
                if not self._queue and not self._ended:
                    self._changed.wait(IDLE_S)
                frame = self._queue.popleft() if self._queue else None
                if frame is None and self._ended:
                    break
            begun_s = time.perf_counter()
            self._step(frame)
            self.state.encode_s += time.perf_counter() - begun_s
        self._step(None)
        self.state.state = "stopped"

    def _step(self, frame: Frame | None) -> None:
        try:
            if frame is None:
                self._rest()
            else:
                self._take(frame)
        except (av.error.FFmpegError, OSError, CameraError) as error:
            self._pause(f"{self._folder}: cannot be recorded to ({error}). Free its disk, or look at the encoder")

    def _take(self, frame: Frame) -> None:
        offset_ns = self._utc_offset_ns()
        if not offset_ns:
            self.state.state = "undated"
            return
        time_ns = frame.capture_time_ns + offset_ns
        if time.monotonic() >= self._look_s:
            self._look(time_ns)
        if self.state.fault is not None:
            self.state.paused_frames += 1
        elif self._choice.encodes(time_ns):
            self._encode(frame.image, time_ns // 1000)
            self.state.encoded += 1
            self._write_kept()
        else:
            self._rest()

    def _look(self, now_ns: int) -> None:
        """Look at the disk, and record again if what kept us from it is over."""
        self._look_s = time.monotonic() + LOOK_S
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._encoder_name:
            self._encoder_name = choose_encoder(self._table.encoder, *self._size, self._fps, self._warn)
            self.state.encoder = self._encoder_name
        writing = None if self._segment is None else self._segment.path
        room = make_room(self._folder, self._table, now_ns, synchronised=self._synchronised(), writing=writing)
        self.state.stored_bytes, self.state.removed_files = room.bytes, self.state.removed_files + room.removed
        if self.state.dropped > self._told_dropped:
            self._told_dropped = self.state.dropped
            self._warn(f"recording: the encoder cannot keep up, {self.state.dropped} frames dropped from it so far")
        if room.fault is not None:
            self._pause(room.fault)
        elif self.state.fault is not None:
            self._warn("recording goes on after a pause")
            self.state.fault, self.state.state = None, "waiting"

    def _pause(self, fault: str) -> None:
        if self.state.fault is None:
            self._warn(f"recording paused: {fault}")
        self.state.fault, self.state.state = fault, "paused"
        self._look_s = time.monotonic() + LOOK_S
        self._groups.clear()
        self._encoder = None
        segment, self._segment = self._segment, None
        if segment is not None:
            with suppress(av.error.FFmpegError, OSError):
                segment.close()

    def _rest(self) -> None:
        """Close the file, for no picture follows soon."""
        self._write_kept()
        self._groups.clear()
        self._close_segment()

    def _encode(self, image: NDArray[np.uint8], time_us: int) -> None:
        if self._encoder is None:
            self._encoder = Encoder(self._encoder_name, *self._size, self._fps, self._table.quality)
            self._origin_us = time_us
            self._groups.clear()
        newest = self._groups[-1] if self._groups else None
        key = (
            newest is None
            or time_us - newest.start_us >= KEY_FRAME_S * 1e6
            or time_us * 1000 // _DAY_NS > newest.start_us * 1000 // _DAY_NS
        )
        for packet in self._encoder.encode(image, time_us - self._origin_us, key=key):
            taken_us = self._origin_us + (packet.pts or 0)
            if packet.is_keyframe:
                self._groups.append(_Group(taken_us))
            self._groups[-1].packets.append((taken_us, packet))

    def _write_kept(self) -> None:
        """Write the groups that are kept, oldest first, and forget those that will not be."""
        newest_us = self._groups[-1].end_us if self._groups else 0
        while self._groups:
            group = self._groups[0]
            if self._keeps(group):
                self._write(group)
            else:
                # Once a later group is kept, or this one is too old, it never will be.
                later = any(self._keeps(later) for later in islice(self._groups, 1, None))
                if not later and newest_us - group.end_us < self._choice.ring_s * 1e6:
                    return
                self._close_segment()
            if len(self._groups) == 1:
                return
            self._groups.popleft()

    def _keeps(self, group: _Group) -> bool:
        return self._choice.keeps(1000 * group.start_us, 1000 * group.end_us + 1)

    def _write(self, group: _Group) -> None:
        if not group.written and (self._segment is None or self._begins_file(group)):
            self._close_segment()
            origin = replace(self._origin, start_us=group.start_us)
            self._segment = SegmentWriter(self._folder, origin, *self._even_size())
            self.state.files += 1
            self.state.state = "recording"
        if self._segment is None:
            return
        for taken_us, packet in group.packets[group.written :]:
            self._segment.write(packet, taken_us)
            self.state.frames += 1
        group.written = len(group.packets)

    def _begins_file(self, group: _Group) -> bool:
        if self._segment is None:
            return True
        begun_us = self._segment.start_us
        return (
            group.start_us - begun_us >= self._table.segment_s * 1e6
            or group.start_us * 1000 // _DAY_NS > begun_us * 1000 // _DAY_NS
        )

    def _even_size(self) -> tuple[int, int]:
        width, height = self._size
        return width + width % 2, height + height % 2

    def _close_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()
        if self.state.fault is None:
            self.state.state = "waiting"
