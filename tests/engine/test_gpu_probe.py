"""What a GPU reports, through made-up CUDA and NVML modules: read where it can be, left out where not."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from toolkit.engine.gpu_probe import GpuProbe


class FakeContext:
    """A primary context that counts who holds it."""

    held = 0
    current = 0

    def push(self) -> None:
        FakeContext.current += 1

    @staticmethod
    def pop() -> None:
        FakeContext.current -= 1

    def detach(self) -> None:
        FakeContext.held -= 1


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Put a GPU of 8 GiB, 3 of them free, in PyCUDA's place."""
    driver = types.ModuleType("pycuda.driver")

    class Device:
        def __init__(self, ordinal: int) -> None:
            self.ordinal = ordinal

        @staticmethod
        def count() -> int:
            return 1

        def retain_primary_context(self) -> FakeContext:
            FakeContext.held += 1
            return FakeContext()

    content: dict[str, Any] = {
        "Device": Device,
        "Context": FakeContext,
        "Error": RuntimeError,
        "init": lambda: None,
        "mem_get_info": lambda: (3 << 30, 8 << 30),
    }
    vars(driver).update(content)
    package = types.ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return driver


def test_device_memory_in_use(cuda: types.ModuleType) -> None:
    with GpuProbe() as probe:
        assert probe.memory_mib() == 5 * 1024
        assert (FakeContext.held, FakeContext.current) == (1, 0)
    assert FakeContext.held == 0


def test_a_driver_that_fails_has_nothing_to_say(cuda: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("no driver")

    monkeypatch.setattr(cuda, "init", fail)
    with GpuProbe() as probe:
        assert probe.memory_mib() is None


def nvml(monkeypatch: pytest.MonkeyPatch, *, power: bool) -> list[str]:
    """Put an NVML in place that knows temperature and, if asked to, power; return what is called at its ends."""
    module = types.ModuleType("pynvml")
    ends: list[str] = []

    class Unsupported(Exception):
        pass

    def unsupported(*_: object) -> int:
        raise Unsupported

    content: dict[str, Any] = {
        "NVMLError": Unsupported,
        "NVML_TEMPERATURE_GPU": 0,
        "NVML_CLOCK_SM": 1,
        "nvmlInit": lambda: ends.append("init"),
        "nvmlShutdown": lambda: ends.append("shutdown"),
        "nvmlDeviceGetHandleByIndex": lambda ordinal: ordinal,
        "nvmlDeviceGetTemperature": lambda _handle, _sensor: 61,
        "nvmlDeviceGetPowerUsage": (lambda _handle: 35_500) if power else unsupported,
        "nvmlDeviceGetClockInfo": unsupported,
    }
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return ends


def test_what_nvml_supports_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = nvml(monkeypatch, power=True)
    with GpuProbe() as probe:
        assert dict(probe.readings()) == {"power GPU, W": 35.5, "temperature GPU, °C": 61.0}
    assert ends == ["init", "shutdown"]


def test_what_nvml_does_not_support_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, power=False)
    with GpuProbe() as probe:
        assert dict(probe.readings()) == {"temperature GPU, °C": 61.0}


def test_without_either_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pynvml", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    with GpuProbe() as probe:
        assert probe.memory_mib() is None
        assert list(probe.readings()) == []
