"""The TensorRT path over a driver and a runtime that are played by this file: no engine can run on our machines.

It proves the order of the calls, the shapes, what is freed when, and the whole way from build to open; not TensorRT.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import toolkit.engine.build
from toolkit.bundle import Bundle
from toolkit.engine.build import build_engines
from toolkit.engine.select import open_backends
from toolkit.engine.sidecar import engines_folder
from toolkit.engine.tensorrt import TensorRtBackend
from toolkit.errors import EngineError, EngineMismatch
from toolkit.flow.cuda import CudaFlow


class FakeCuda(ModuleType):
    """PyCUDA's driver: one context that must be current for everything, memory that must be freed by name."""

    class Error(Exception):
        """pycuda.driver.Error."""

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.current = 0
        self.retained = 0
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.fail_next_copy = False
        self.pending: list[Any] = []
        cuda = self

        class Context:
            def push(self) -> None:
                cuda.current += 1

            def pop(self) -> None:
                assert cuda.current > 0
                cuda.current -= 1

            def detach(self) -> None:
                cuda.retained -= 1
                assert cuda.retained or not cuda.memory, "the context goes before its memory"

        class Device:
            def __init__(self, ordinal: int) -> None:
                assert ordinal == 0

            @staticmethod
            def count() -> int:
                return 1

            def name(self) -> str:
                return "Orin"

            def compute_capability(self) -> tuple[int, int]:
                return (8, 7)

            def retain_primary_context(self) -> Context:
                cuda.retained += 1
                return Context()

        class Allocation:
            def __init__(self, size: int) -> None:
                assert cuda.current, "no context is current"
                self.address = 4096 * (1 + len(cuda.memory)) + max(cuda.memory, default=0)
                cuda.memory[self.address] = np.zeros(size, dtype=np.uint8)

            def __int__(self) -> int:
                return self.address

            def free(self) -> None:
                assert cuda.current, "freed without its context"
                del cuda.memory[self.address]

        class Stream:
            handle = 77

            def synchronize(self) -> None:
                while cuda.pending:
                    cuda.pending.pop(0)()

        self.Device, self.mem_alloc, self.Stream = Device, Allocation, Stream

    def init(self) -> None:
        """cuInit."""

    def pagelocked_empty(self, shape: Any, dtype: Any) -> Any:
        """Page-locked host memory."""
        assert self.current
        backing = np.zeros(shape, dtype=dtype)
        return np.asarray(SimpleNamespace(__array_interface__=backing.__array_interface__, free=lambda: backing.size))

    def memcpy_htod_async(self, destination: Any, source: Any, stream: Any) -> None:
        """Enqueued: it reads `source` when the stream gets to it."""
        assert self.current
        assert source.flags.c_contiguous
        if self.fail_next_copy:
            raise self.Error("device lost")
        data = self.memory[int(destination)]
        self.pending.append(lambda: np.copyto(data[: source.nbytes], source.reshape(-1).view(np.uint8)))

    def memcpy_dtoh_async(self, destination: Any, source: Any, stream: Any) -> None:
        """Enqueued."""
        data = self.memory[int(source)]
        self.pending.append(
            lambda: np.copyto(destination.reshape(-1).view(np.uint8), data[: destination.nbytes], casting="no")
        )


def fake_tensorrt(cuda: FakeCuda) -> ModuleType:
    """Return a TensorRT whose plans are ONNX graphs, run by ONNX Runtime when the stream gets to them."""
    trt: Any = ModuleType("tensorrt")
    trt.__version__ = "10.3.0"
    trt.DataType = SimpleNamespace(FLOAT="float")

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)

    class Execution:
        def __init__(self, session: Any) -> None:
            self.session, self.addresses, self.shape = session, {}, ()

        def set_tensor_address(self, name: str, address: int) -> None:
            assert address in cuda.memory
            self.addresses[name] = address

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
            assert name == "clips"
            self.shape = shape

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == 77
            assert cuda.current

            def run() -> None:
                data = cuda.memory[self.addresses["clips"]][: int(np.prod(self.shape)) * 4]
                (logits,) = self.session.run(None, {"clips": data.view(np.float32).reshape(self.shape)})
                cuda.memory[self.addresses["logits"]][: logits.nbytes] = logits.reshape(-1).view(np.uint8)

            cuda.pending.append(run)
            return True

    class Engine:
        num_io_tensors = 2

        def __init__(self, plan: bytes) -> None:
            self.session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
            self.shape = tuple(self.session.get_inputs()[0].shape[1:])

        def get_tensor_name(self, index: int) -> str:
            return ("clips", "logits")[index]

        def get_tensor_dtype(self, name: str) -> str:
            return "float"

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return (-1, *self.shape) if name == "clips" else (-1, 8)

        def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
            return [(1, *self.shape), (2, *self.shape), (2, *self.shape)]

        def create_execution_context(self) -> Execution:
            return Execution(self.session)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if plan.startswith(b"garbage"):
                self.logger.log(ILogger.Severity.ERROR, "magic tag does not match")
                return None
            return Engine(plan)

    trt.ILogger, trt.Runtime = ILogger, Runtime
    return trt  # type: ignore[no-any-return]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Play a machine with a GPU, TensorRT 10.3 and PyCUDA."""
    driver = FakeCuda()
    package: Any = ModuleType("pycuda")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(driver))
    # This driver runs engines only; flow has a stand-in of its own.
    monkeypatch.setattr(CudaFlow, "available", staticmethod(lambda: "no flow on this driver"))

    def copy_graph(api: Any, onnx: Path, plan: Path, **options: Any) -> None:
        plan.write_bytes(onnx.read_bytes())

    monkeypatch.setattr(toolkit.engine.build, "build_plan", copy_graph)
    return driver


def test_from_build_to_open_and_back(bundle: Bundle, cuda: FakeCuda) -> None:
    built = build_engines(bundle, max_batch=2)
    assert [engine.sidecar.identity.compute_capability for engine in built] == ["8.7", "8.7"]
    assert all(engine.sidecar.verified for engine in built)
    assert (cuda.retained, cuda.current, cuda.memory) == (0, 0, {})
    golden = bundle.golden()
    with ExitStack() as stack:
        backends = {s: stack.enter_context(backend) for s, backend in open_backends(bundle).items()}
        assert backends["rgb"].identity == "tensorrt-10.3.0/Orin (sm87)/fp16"
        for stream, backend in backends.items():
            both = np.stack([golden[0].inputs[stream], golden[2].inputs[stream]])
            expected = np.stack([golden[0].logits[stream], golden[2].logits[stream]])
            np.testing.assert_allclose(backend.infer(both), expected, atol=0.05)
            np.testing.assert_allclose(backend.infer(both[1:]), expected[1:], atol=0.05)
            assert cuda.current == 0
    assert (cuda.retained, cuda.memory) == (0, {})


def test_another_version_of_tensorrt_is_a_mismatch(bundle: Bundle, cuda: FakeCuda) -> None:
    build_engines(bundle)
    sys.modules["tensorrt"].__version__ = "10.13.2"  # type: ignore[attr-defined]
    with pytest.raises(EngineMismatch, match=r"runtime version: made for 10\.3\.0, found here 10\.13\.2"):
        open_backends(bundle)


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0", "12.0"])
def test_an_unsupported_version_is_refused(bundle: Bundle, cuda: FakeCuda, version: str) -> None:
    sys.modules["tensorrt"].__version__ = version  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match=rf"TensorRT {version} is installed; the toolkit supports 10\.3"):
        build_engines(bundle, engine="tensorrt")


def test_a_plan_whose_bytes_changed_is_a_mismatch(bundle: Bundle, cuda: FakeCuda) -> None:
    build_engines(bundle)
    plan = engines_folder(bundle) / "tensorrt-fp16" / "flow.plan"
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    with pytest.raises(EngineMismatch, match="flow: this engine is not for here:\n  - plan: built with SHA-256"):
        open_backends(bundle)
    plan.unlink()
    with pytest.raises(EngineMismatch, match="found here no file"):
        open_backends(bundle)


def test_a_plan_that_does_not_load_says_tensorrts_reason_and_frees_the_context(tmp_path: Path, cuda: FakeCuda) -> None:
    plan = tmp_path / "rgb.plan"
    plan.write_bytes(b"garbage")
    with (
        pytest.raises(EngineError, match=r"cannot load it \(magic tag does not match\)"),
        TensorRtBackend(plan, precision="fp16"),
    ):
        pass
    assert (cuda.retained, cuda.current) == (0, 0)


def test_a_device_that_vanishes_and_a_batch_too_large_are_clear_errors(bundle: Bundle, cuda: FakeCuda) -> None:
    clips = np.zeros((3, 3, 4, 16, 16), dtype=np.float32)
    with TensorRtBackend(bundle.onnx_path("rgb", "fp16"), precision="fp16") as backend:
        with pytest.raises(EngineError, match="expected at most 2 clips, found 3"):
            backend.infer(clips)
        with pytest.raises(EngineError, match="expected float32 clips of shape"):
            backend.infer(clips[:, :2])
        cuda.fail_next_copy = True
        with pytest.raises(EngineError, match=r"the GPU failed \(device lost\)"):
            backend.infer(clips[:1])
        assert cuda.current == 0
    assert cuda.retained == 0
    with pytest.raises(EngineError, match="with block"):
        backend.infer(clips[:1])


def test_two_streams_engines_are_installed_together_or_not_at_all(
    bundle: Bundle, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(api: Any, onnx: Path, plan: Path, **options: Any) -> None:
        plan.write_bytes(b"garbage" if "flow" in onnx.name else onnx.read_bytes())

    build_engines(bundle)
    before = {path: path.read_bytes() for path in engines_folder(bundle).rglob("*.*")}
    monkeypatch.setattr(toolkit.engine.build, "build_plan", build)
    with pytest.raises(EngineError, match=r"flow\.plan: tensorrt 10\.3\.0 cannot load it"):
        build_engines(bundle)
    assert {path: path.read_bytes() for path in engines_folder(bundle).rglob("*.*")} == before
