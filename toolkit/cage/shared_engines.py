"""One bundle's engines for the cages of one process: opened once, and where they fail opened again, or replaced, once.

Whichever cage meets a failure first has them opened again; the others, whose clips fail too, find that done. All of
them go through `toolkit.cage.engines.Engines`, so that each cage's log has its gap, and the engines that it goes on
with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import cv2

from toolkit.bundle import Bundle, load_bundle
from toolkit.cage.config import CageConfig
from toolkit.cage.daemon import camera_of
from toolkit.cage.engines import flow_without_gpu, others_than
from toolkit.cage.watch import Parts
from toolkit.engine.batched import ClipBatcher, most_clips
from toolkit.engine.contract import ClipNetworks
from toolkit.engine.host import HostNetworks
from toolkit.engine.select import EngineChoice
from toolkit.errors import CameraError, EngineError, ToolkitError
from toolkit.flow import open_flow
from toolkit.preprocess import Stream

if TYPE_CHECKING:
    from toolkit.engine.build import BuildProgress

WINDOW_SHARE = 8
"""A clip waits for others at most this part of the time between two rows of its cage."""

OnBuild = Callable[["BuildProgress"], None]


class SharedEngines:
    """One bundle's engines, for the cages of one process.

    Parameters
    ----------
    config
        Of any of the cages: their bundle and `[engine]` are the same.
    """

    def __init__(self, config: CageConfig) -> None:
        self._config = config
        self._opened = threading.Event()
        self._error: ToolkitError | None = None
        self._stack = ExitStack()
        self._bundle: Bundle | None = None
        self._building: OnBuild = lambda _progress: None
        self._warn: Callable[[str], None] = lambda _text: None
        self.batchers: dict[Stream, ClipBatcher] = {}
        self.changing = threading.Lock()
        """Held by whoever changes what follows."""
        self.generation = 0
        """Times that they were opened again."""
        self.is_open = False
        self.kind = config.engine.kind
        """The engine in use, as configured at first."""
        self.flow = config.engine.flow
        self._others: list[EngineChoice] | None = None

    @property
    def has_fallen_back(self) -> bool:
        """Whether another engine is in use than was configured."""
        return self.kind != self._config.engine.kind

    @property
    def failed(self) -> bool:
        """Whether they could not be opened at first."""
        return self._error is not None

    def open(self, stop: threading.Event, on_build: OnBuild, warn: Callable[[str], None]) -> None:
        """Load the bundle and open its engines, built first where they are stale; what fails, `parts` raises."""

        def tell(progress: BuildProgress) -> None:
            if stop.is_set():
                raise EngineError("stopped while engines were being built; those installed stay as they were.")
            on_build(progress)

        self._building, self._warn = tell, warn
        try:
            self._bundle = load_bundle(self._config.cage.bundle)
            if self._config.engine.flow_threads:
                cv2.setNumThreads(self._config.engine.flow_threads)
            with self.changing:
                self._open(self._bundle)
        except ToolkitError as error:
            self._error = error
        finally:
            self._opened.set()

    def parts(
        self,
        config: CageConfig,
        *,
        stop: threading.Event,
        on_build: OnBuild | None,  # noqa: ARG002  as `open_parts`
        warn: Callable[[str], None],
        on_absent: Callable[[CameraError], None],
    ) -> Parts:
        """Return a cage's own camera, flow and rings on the shared engines; see `toolkit.cage.daemon.open_parts`."""
        self._opened.wait()
        if self._error is not None:
            raise self._error
        camera = camera_of(config.camera, stop, on_absent)
        source = _SharedNetworks(self, warn)
        return Parts(self.bundle, camera, source.open(), source)

    @property
    def bundle(self) -> Bundle:
        """The cages' bundle.

        Raises
        ------
        EngineError
            Before it is opened.
        """
        if self._bundle is None:
            raise EngineError("the engines that cages share were not opened.")
        return self._bundle

    def open_again(self) -> None:
        """Close the engines and open those in use; `changing` must be held. Whoever asked for clips meanwhile fails.

        Raises
        ------
        ToolkitError
            If they cannot be opened; there are none then.
        """
        self.is_open = False
        for batcher in self.batchers.values():
            batcher.replace(None, most=None)
        try:
            self._stack.close()
        except Exception as error:  # noqa: BLE001  whatever a lost device says on leaving, it is left
            self._warn(f"the failed engines could not be closed: {error}")
        self._open(self.bundle)
        self.generation += 1

    def fall_back(self) -> bool:
        """Take the next engine into use, and no flow on a GPU; `changing` must be held. False: there is none."""
        if self._others is None:
            self._others = others_than(self.kind)
        if not self._others:
            return False
        self.kind = self._others.pop(0)
        self.flow = flow_without_gpu(self.flow)
        return True

    def close(self) -> None:
        """Free the engines; no cage may ask any more."""
        self._stack.close()

    def _open(self, bundle: Bundle) -> None:
        from toolkit.engine.current import ensure_current
        from toolkit.engine.select import open_backends

        table = self._config.engine
        ensure_current(bundle, engine=self.kind, stale=table.stale, on_progress=self._building, warn=self._warn)
        window_s = self._config.cage.stride / bundle.manifest.geometry.fps / WINDOW_SHARE
        with ExitStack() as stack:
            for stream, backend in open_backends(bundle, engine=self.kind, threads=table.threads, shared=True).items():
                entered, most = stack.enter_context(backend), most_clips(backend)
                if stream in self.batchers:
                    self.batchers[stream].replace(entered, most=most)
                else:
                    self.batchers[stream] = ClipBatcher(entered, most=most, window_s=window_s)
            self._stack = stack.pop_all()
        self.is_open = True


class _SharedNetworks:
    """A cage's `NetworkSource` on engines that it shares."""

    def __init__(self, engines: SharedEngines, warn: Callable[[str], None]) -> None:
        self._engines, self._warn = engines, warn
        # What this cage has had: none yet.
        self._generation: int | None = None
        self._kind = engines.kind

    @property
    def fallen_back(self) -> bool:
        return self._engines.has_fallen_back

    def open(self) -> ClipNetworks:
        engines = self._engines
        with engines.changing:
            if self._generation == engines.generation or not engines.is_open:
                engines.open_again()
            self._generation, self._kind = engines.generation, engines.kind
            manifest, flow = engines.bundle.manifest, None
            if "flow" in manifest.streams:
                spec = manifest.flow
                flow = open_flow(engines.flow, spec.parameters, trained_with=spec.implementation, warn=self._warn)
            backends = {stream: batcher.member() for stream, batcher in engines.batchers.items()}
        return HostNetworks(manifest, flow, backends)

    def fall_back(self) -> bool:
        with self._engines.changing:
            # Another cage may have been here before.
            return self._kind != self._engines.kind or self._engines.fall_back()
