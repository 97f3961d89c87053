"""One set of engines for several cages: clips that are asked about at once are inferred at once.

Each cage's thread asks through a `Backend` of its own. The first to ask leads: it waits a little for the others that
are awake, runs the engine for all who have asked by then, and hands out the logits. Who asks meanwhile waits for the
next round, so that a busy engine fills its batches by itself. A cage that has not asked lately is not waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.engine.contract import Backend
from toolkit.engine.openvino import OpenVinoBackend
from toolkit.engine.sidecar import read_sidecar
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.errors import EngineError

AWAKE_WINDOWS = 8
"""A cage that has not asked for so many windows sleeps."""

_REPLACED = "the engines that cages share failed in one of them, and are opened again."


class _Request:
    def __init__(self, clips: NDArray[np.float32]) -> None:
        self.clips = clips
        self.logits = np.empty((0, 0), dtype=np.float32)
        self.error: Exception | None = None
        self.is_answered = False

    def answer(self, logits: NDArray[np.float32], error: Exception | None = None) -> None:
        self.logits, self.error, self.is_answered = logits, error, True


class ClipBatcher:
    """Shares one stream's engine.

    Parameters
    ----------
    backend
        The engine; entered and left by whoever made it, and used by nobody else meanwhile.
    most
        Clips in one inference; None for any number.
    window_s
        Longest time that a clip waits for others to join it.
    """

    def __init__(self, backend: Backend, *, most: int | None, window_s: float) -> None:
        self._backend: Backend | None = backend
        self._most = most
        self._generation = 0
        self._window_s = window_s
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []
        self._is_led = False
        # When each member asked last, monotonic seconds.
        self._asked_s: dict[object, float] = {}
        self.inferences = 0
        """Runs of the engine."""
        self.clips = 0
        """Clips in them."""

    @property
    def identity(self) -> str:
        """The engine's.

        Raises
        ------
        EngineError
            While there is none.
        """
        if self._backend is None:
            raise EngineError(_REPLACED)
        return self._backend.identity

    @property
    def clips_waiting(self) -> int:
        """Clips that are in no inference yet."""
        return sum(len(request.clips) for request in self._waiting)

    def member(self) -> BatchedBackend:
        """Return a backend for one cage, on the engine that there is now."""
        return BatchedBackend(self, self._generation, self.identity)

    def replace(self, backend: Backend | None, *, most: int | None) -> None:
        """Take another engine, or none for now, when the inference under way is done.

        Members keep to the engine that they were made for: what they ask from now on, or are waiting for, fails.
        """
        with self._changed:
            while self._is_led:
                self._changed.wait()
            self._backend, self._most = backend, most
            self._generation += 1
            for request in self._waiting:
                request.answer(request.logits, EngineError(_REPLACED))
            self._waiting.clear()
            self._changed.notify_all()

    def forget(self, member: object) -> None:
        """Wait no more for a member."""
        with self._changed:
            self._asked_s.pop(member, None)
            self._changed.notify_all()

    def infer(self, member: BatchedBackend, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network for a member, alone or with others; see `Backend.infer`. The caller may keep the logits."""
        request = _Request(clips)
        with self._changed:
            if member.generation != self._generation or self._backend is None:
                raise EngineError(_REPLACED)
            self._asked_s[member] = time.monotonic()
            self._waiting.append(request)
            self._changed.notify_all()
        while True:
            with self._changed:
                while self._is_led and not request.is_answered:
                    self._changed.wait()
                if not request.is_answered:
                    self._is_led = True
                    batch = self._gathered()
            if request.is_answered:
                break
            try:
                self._run(batch)
            finally:
                with self._changed:
                    self._is_led = False
                    self._changed.notify_all()
        if request.error is not None:
            raise request.error
        return request.logits

    def _gathered(self) -> list[_Request]:
        """Wait, under the lock, until all that are awake have asked or the window is over; return who has."""
        deadline_s = time.monotonic() + self._window_s
        while self.clips_waiting < self._expected() and (left_s := deadline_s - time.monotonic()) > 0:
            self._changed.wait(left_s)
        batch: list[_Request] = []
        while self._waiting and (
            not batch or self._most is None or sum(len(r.clips) for r in (*batch, self._waiting[0])) <= self._most
        ):
            batch.append(self._waiting.pop(0))
        return batch

    def _expected(self) -> int:
        since_s = time.monotonic() - AWAKE_WINDOWS * self._window_s
        awake = sum(asked_s >= since_s for asked_s in self._asked_s.values())
        return awake if self._most is None else min(awake, self._most)

    def _run(self, batch: Sequence[_Request]) -> None:
        try:
            self._answer(batch)
        except Exception as error:  # noqa: BLE001  raised again by whom it concerns
            if len(batch) == 1:
                batch[0].answer(batch[0].logits, error)
                return
            # One cage's clip must not fail the others'.
            for request in batch:
                self._run([request])

    def _answer(self, batch: Sequence[_Request]) -> None:
        self.inferences += 1
        self.clips += sum(len(request.clips) for request in batch)
        if self._backend is None:
            raise EngineError(_REPLACED)
        logits = self._backend.infer(_joined([request.clips for request in batch]))
        begin = 0
        for request in batch:
            end = begin + len(request.clips)
            request.answer(logits[begin:end].copy())
            begin = end


class BatchedBackend:
    """`Backend` of one cage on an engine that several share. Entering and leaving touches no device."""

    def __init__(self, batcher: ClipBatcher, generation: int, identity: str) -> None:
        self._batcher, self.generation, self._identity = batcher, generation, identity

    @property
    def identity(self) -> str:
        """The shared engine's: logits are the same."""
        return self._identity

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (N, C, T, H, W) clips; see `Backend.infer`."""
        return self._batcher.infer(self, clips)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batcher.forget(self)


def most_clips(backend: Backend) -> int | None:
    """Return how many clips an engine takes at once to advantage; None for any number.

    OpenVINO runs a batch clip by clip, so joining them would only copy them.
    """
    if isinstance(backend, OpenVinoBackend):
        return 1
    if isinstance(backend, TensorRtBackend):
        return read_sidecar(backend.file.path.with_suffix(".json")).max_batch
    return None


def _joined(clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return (N, C, T, H, W) clips in time-major memory, as engines want it; a single one is not copied."""
    if len(clips) == 1:
        return clips[0]
    joined: NDArray[np.float32] = np.concatenate([clip.transpose(0, 2, 1, 3, 4) for clip in clips])
    time_major: NDArray[np.float32] = joined.transpose(0, 2, 1, 3, 4)
    return time_major
