"""The one place that knows how TensorRT 10.3 to 11 and TensorRT for RTX differ.

Their common core is used everywhere: `num_io_tensors`, `set_input_shape`, `set_tensor_address`, `execute_async_v3`,
`build_serialized_network`, `set_memory_pool_limit`. What differs is asked of the module, never guessed from a version:

* ``NetworkDefinitionCreationFlag.STRONGLY_TYPED`` is set where it exists. TensorRT 10 needs it; 11 and TensorRT for
  RTX are always strongly typed. `BuilderFlag.FP16`, which 11 lacks, is never touched: precision is in the graph.
* ``ComputeCapability`` exists in TensorRT for RTX only, which can build for a GPU that is not here.
* Timing caches do nothing in TensorRT for RTX, which only says so in a warning.

Types are those of TensorRT 10.13, from the stubs that ``make check`` fetches. They do not say that a call may return
None where it failed; the functions here do.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from toolkit.engine.sidecar import RuntimeName
from toolkit.errors import EngineError, MissingDependency

if TYPE_CHECKING:
    import tensorrt

    class ErrorLog(tensorrt.ILogger):  # type: ignore[misc, unused-ignore]
        """A logger that prints nothing and keeps errors."""

        errors: list[str]


_OLDEST = (10, 3)
_FIRST_UNKNOWN = (12,)


@dataclass(frozen=True)
class TensorRt:
    """An importable TensorRT."""

    module: ModuleType
    runtime: RuntimeName
    version: str

    @property
    def builds_for_absent_gpus(self) -> bool:
        """Whether it can build for a compute capability that this machine has not."""
        return hasattr(self.module, "ComputeCapability")

    @property
    def keeps_timings(self) -> bool:
        """Whether it measures kernels while it builds, so that a timing cache shortens the next build."""
        return self.runtime == "tensorrt"


def import_tensorrt(*, for_absent_gpu: bool = False) -> TensorRt:
    """Import TensorRT, or else TensorRT for RTX.

    Parameters
    ----------
    for_absent_gpu
        Take only one that builds for a GPU that is not here: TensorRT for RTX.

    Raises
    ------
    MissingDependency
        If none is installed.
    EngineError
        If the installed TensorRT is older than 10.3, or 12 or newer.
    """
    reasons = []
    names: tuple[RuntimeName, ...] = ("tensorrt", "tensorrt-rtx")
    for name in names[1:] if for_absent_gpu else names:
        try:
            module = importlib.import_module(name.replace("-", "_"))
        except (ImportError, OSError) as error:
            # OSError: the bindings are there and a shared library that they load is not.
            reasons.append(f"{name}: {error}")
            continue
        if not hasattr(module, "__version__"):
            # A package of type stubs leaves a folder of this name, which Python imports as an empty package.
            reasons.append(f"{name}: {list(module.__path__)} holds type stubs only")
            continue
        version = str(module.__version__)
        if name == "tensorrt":
            _check_version(version)
        return TensorRt(module, name, version)
    raise MissingDependency(
        f"TensorRT cannot be imported ({'; '.join(reasons)}). On a workstation: pip install 'toolkit[tensorrt]'. "
        "On a Jetson it comes with JetPack: make the virtual environment with --system-site-packages."
    )


def create_builder(api: TensorRt, logger: ErrorLog) -> tensorrt.Builder:
    """Return a builder, which must not outlive `logger`."""
    builder: tensorrt.Builder = api.module.Builder(logger)
    return builder


def create_network(api: TensorRt, builder: tensorrt.Builder) -> tensorrt.INetworkDefinition:
    """Return an empty, strongly typed network definition."""
    trt = api.module
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return builder.create_network(0 if flag is None else 1 << int(flag))


def create_parser(api: TensorRt, network: tensorrt.INetworkDefinition, logger: ErrorLog) -> tensorrt.OnnxParser:
    """Return a parser of ONNX into `network`, which must not outlive it: the parser owns the weights."""
    parser: tensorrt.OnnxParser = api.module.OnnxParser(network, logger)
    return parser


def create_config(api: TensorRt, builder: tensorrt.Builder, workspace_bytes: int) -> tensorrt.IBuilderConfig:
    """Return a build's settings with a limit of scratch memory."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(api.module.MemoryPoolType.WORKSPACE, workspace_bytes)
    return config


def dims_of(api: TensorRt, shape: tuple[int, ...]) -> tensorrt.Dims:
    """Return a shape as TensorRT's own type."""
    dims: tensorrt.Dims = api.module.Dims(shape)
    return dims


def sizes_of(dims: tensorrt.Dims) -> tuple[int, ...]:
    """Return a shape of TensorRT's own type as a tuple, -1 where it is dynamic."""
    sizes: Any = dims
    return tuple(sizes)


def build_serialized(
    builder: tensorrt.Builder, network: tensorrt.INetworkDefinition, config: tensorrt.IBuilderConfig
) -> tensorrt.IHostMemory | None:
    """Build; None where it failed, and the logger has the reasons."""
    return builder.build_serialized_network(network, config)


def create_timing_cache(config: tensorrt.IBuilderConfig, content: bytes) -> tensorrt.ITimingCache | None:
    """Return a timing cache of serialised content, an empty one of none; None where TensorRT cannot read it."""
    return config.create_timing_cache(content)


def timing_cache_of(config: tensorrt.IBuilderConfig) -> tensorrt.ITimingCache | None:
    """Return the timing cache that a build used and filled, None where there is none."""
    return config.get_timing_cache()


def create_runtime(api: TensorRt, logger: ErrorLog) -> tensorrt.Runtime:
    """Return what loads engines, which must not outlive `logger`."""
    runtime: tensorrt.Runtime = api.module.Runtime(logger)
    return runtime


def load_engine(runtime: tensorrt.Runtime, plan: bytes) -> tensorrt.ICudaEngine | None:
    """Load an engine; None where TensorRT cannot, and the logger has the reasons."""
    return runtime.deserialize_cuda_engine(plan)


def create_execution(engine: tensorrt.ICudaEngine) -> tensorrt.IExecutionContext | None:
    """Return an execution context, which holds its engine; None where the device has no memory for it."""
    return engine.create_execution_context()


def set_target(api: TensorRt, config: tensorrt.IBuilderConfig, target: str) -> None:
    """Make `config` build for a GPU that is not here, such as ``sm86``.

    Raises
    ------
    EngineError
        If this TensorRT cannot, or does not know the target.
    """
    if not api.builds_for_absent_gpus:
        raise EngineError(
            f"{api.runtime} {api.version} builds for the GPU of this machine only, so not for {target}. "
            "Build on the machine that will run the engine."
        )
    trt = api.module
    known = {name.lower(): value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    if target.lower() not in known:
        raise EngineError(f"unknown target {target!r}: {api.runtime} {api.version} builds for {', '.join(known)}.")
    # Only TensorRT for RTX gets here, and the stubs are of TensorRT.
    rtx: Any = config
    rtx.num_compute_capabilities = 1
    if not rtx.set_compute_capability(known[target.lower()], 0):
        raise EngineError(f"{api.runtime} {api.version} refuses to build for {target}.")


def create_logger(api: TensorRt) -> ErrorLog:
    """Return an ``ILogger`` that prints nothing and keeps errors in ``errors``."""
    trt = api.module

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(message)

    log: Any = Logger()
    return log  # type: ignore[no-any-return]


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if not _OLDEST <= numbers < _FIRST_UNKNOWN:
        raise EngineError(
            f"TensorRT {version} is installed; the toolkit supports 10.3 up to, not including, 12. "
            "JetPack 6.1 and later have one; JetPack 5 and 6.0 do not (no strongly typed networks)."
        )
