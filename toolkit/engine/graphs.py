"""An engine's inferences as CUDA graphs: a few hundred kernels that the host queues in one call.

A graph holds addresses, and a clip starts at any of the T slots of its ring, so an engine gets a graph per address, as
the addresses come round. Whether TensorRT's work can be captured is unverified (docs/device-runtime.md).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from toolkit.engine.plan import OpenPlan
from toolkit.flow.cuda_driver import CudaDevice, CudaGraph


class GraphedPlan:
    """A plan whose inferences are queued by graphs where the driver and TensorRT allow it, else one by one.

    The first inference at an address is always TensorRT's own: it loads and allocates what a capture may not. The
    second is captured, and replayed from then on. After one capture that failed none is tried again.

    The device's context must be current for every call. Shapes must not be set again; whatever the plan reads and
    writes must live until `free`.

    Parameters
    ----------
    device
        Its errors are raised where a replay fails.
    plan
        Opened on the device, its batch set.
    logits
        Device address of (N, K) float32.
    stream
        Where inferences are queued.
    """

    def __init__(self, device: CudaDevice, plan: OpenPlan, logits: int, stream: Any) -> None:
        self._device, self._plan, self._logits, self._stream = device, plan, logits, stream
        self._graphs: dict[int, CudaGraph | None] = {}
        """By the clips' address; None where there was one inference."""
        self._captures = True

    def enqueue(self, clips: int) -> None:
        """Queue the inference of (N, T, C, H, W) float32 at a device address; see `OpenPlan.enqueue`."""
        graph = self._graph(clips) if clips in self._graphs else None
        self._graphs[clips] = graph
        if graph is None:
            self._plan.enqueue(clips, self._logits, self._stream)
        else:
            graph.replay()

    def free(self) -> None:
        """Free the graphs; nothing of them may be queued."""
        for graph in self._graphs.values():
            if graph is not None:
                graph.free()
        self._graphs.clear()

    def _graph(self, clips: int) -> CudaGraph | None:
        graph = self._graphs[clips]
        if graph is None and self._captures:
            enqueue = partial(self._plan.enqueue, clips, self._logits, self._stream)
            graph = self._device.capture(enqueue, self._stream)
            self._captures = graph is not None
        return graph
