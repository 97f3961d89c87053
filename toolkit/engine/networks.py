"""From a bundle to what runs it on a stream of frames here: flow, engines and rings, put together."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.bundle import Bundle
from toolkit.engine.contract import ClipNetworks
from toolkit.engine.cuda import DeviceNetworks
from toolkit.engine.host import HostNetworks
from toolkit.engine.select import EngineChoice, open_backends
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.flow import FlowChoice, open_flow
from toolkit.flow.cuda import CudaFlow


def open_networks(
    bundle: Bundle,
    *,
    engine: EngineChoice = "auto",
    threads: int = 0,
    flow: FlowChoice = "auto",
    warn: Callable[[str], None],
) -> ClipNetworks:
    """Return a bundle's networks, not entered yet, by the engines that were built on this machine.

    Frames stay on the GPU where TensorRT runs there and flow, if the bundle needs it, is CUDA's.

    Parameters
    ----------
    engine
        ``auto`` takes TensorRT where it can run, else the fastest on the CPU.
    threads
        Of an inference on the CPU; 0 takes one per physical core.
    flow
        What computes flow.
    warn
        Told if flow is not by the implementation that the networks were trained on, or what keeps frames off a GPU.

    Raises
    ------
    EngineError, EngineMismatch, MissingDependency
        If no engine was built here, or another one.
    FlowError
        If that flow cannot be computed here.
    """
    manifest = bundle.manifest
    backends = open_backends(bundle, engine=engine, threads=threads)
    estimator = None
    if "flow" in manifest.streams:
        spec = manifest.flow
        estimator = open_flow(flow, spec.parameters, trained_with=spec.implementation, warn=warn)
    plans = {name: backend.file for name, backend in backends.items() if isinstance(backend, TensorRtBackend)}
    if len(plans) == len(backends) and (estimator is None or isinstance(estimator, CudaFlow)):
        reason = DeviceNetworks.why_not(manifest)
        if reason is None:
            return DeviceNetworks(manifest, plans, estimator)
        warn(f"networks: frames do not stay on the GPU: {reason}.")
    return HostNetworks(manifest, estimator, backends)
