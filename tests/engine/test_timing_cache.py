"""Timings of kernels: kept for one device and version, read back, and never trusted when damaged or another's."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import toolkit.engine.builder
from toolkit.bundle import Bundle
from toolkit.engine import timing_cache
from toolkit.engine.builder import build_plan
from toolkit.engine.device import Gpu
from toolkit.engine.tensorrt_api import TensorRt, import_tensorrt
from toolkit.engine.timing_cache import load_timings, save_timings, timing_cache_path
from toolkit.errors import EngineError


class Cache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class Config:
    """A builder's configuration that reads what begins with ``timings`` and takes what is of its own device."""

    def __init__(self) -> None:
        self.cache: Cache | None = None

    def create_timing_cache(self, content: bytes) -> Cache | None:
        return Cache(content) if not content or content.startswith(b"timings") else None

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch, "timings of another device mislead"
        if b"another device" in cache.content:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self.cache


def loaded(path: Path) -> tuple[Any, list[str]]:
    config: Any = Config()
    warnings: list[str] = []
    load_timings(config, path, warnings.append)
    return config, warnings


def test_timings_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "timings.cache"
    first, warnings = loaded(path)
    assert (first.cache.content, warnings) == (b"", [])
    first.cache.content = b"timings of 58 kernels"
    save_timings(first, path, pytest.fail)
    assert [file.name for file in tmp_path.iterdir()] == ["timings.cache"]
    second, warnings = loaded(path)
    assert (second.cache.content, warnings) == (b"timings of 58 kernels", [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content[:-3], "is damaged and ignored"),
        (lambda content: b"", "is damaged and ignored"),
        (lambda content: content[:40] + b"?" + content[41:], "is damaged and ignored"),
        (lambda content: hashlib.sha256(b"of version 9").digest() + b"of version 9", "does not take the timing cache"),
        (
            lambda content: hashlib.sha256(b"timings of another device").digest() + b"timings of another device",
            "does not take the timing cache",
        ),
    ],
    ids=["cut", "empty", "one byte", "another version", "another device"],
)
def test_a_file_that_cannot_be_used_is_ignored_with_a_word(tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "timings.cache"
    first, _ = loaded(path)
    first.cache.content = b"timings of 58 kernels"
    save_timings(first, path, pytest.fail)
    path.write_bytes(change(path.read_bytes()))
    second, warnings = loaded(path)
    assert second.cache.content == b""
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert words in warnings[0]


def test_a_place_that_cannot_be_used_costs_time_and_no_build(tmp_path: Path) -> None:
    path = tmp_path / "timings.cache"
    path.mkdir()
    config, warnings = loaded(path)
    assert config.cache.content == b""
    save_timings(config, path, warnings.append)
    assert ["cannot be read" in warnings[0], "cannot be written" in warnings[1]] == [True, True]
    assert [file.name for file in tmp_path.iterdir()] == ["timings.cache"]


def test_a_name_for_every_runtime_version_device_and_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing_cache, "find_gpu", lambda: Gpu(0, "NVIDIA Orin (nvgpu)", (8, 7)))
    api = TensorRt(importlib, "tensorrt", "10.3.0")
    path = timing_cache_path(api, tmp_path, "fp16")
    assert path == tmp_path / "timing-tensorrt-10.3.0-NVIDIA_Orin__nvgpu_-sm87-fp16.cache"
    assert timing_cache_path(replace(api, runtime="tensorrt-rtx"), tmp_path, "fp16") is None


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, which builds without a GPU")
    return import_tensorrt(for_absent_gpu=True)


@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
def test_a_builder_reads_and_writes_them(rtx: TensorRt, bundle: Bundle, tmp_path: Path) -> None:
    """TensorRT for RTX has the calls, though its caches hold nothing: it stands in for TensorRT, which needs a GPU."""
    path, warnings = tmp_path / "timings.cache", list[str]()
    options: dict[str, Any] = {"target": "sm86", "timing_cache": path, "warn": warnings.append}
    build_plan(rtx, bundle.onnx_path("rgb", "fp16"), tmp_path / "rgb.plan", **options)
    content = path.read_bytes()
    assert hashlib.sha256(content[32:]).digest() == content[:32]
    assert content[32:]
    path.write_bytes(content[:-1])
    build_plan(rtx, bundle.onnx_path("rgb", "fp16"), tmp_path / "rgb.plan", **options)
    assert [line for line in warnings if "is damaged and ignored" in line] == warnings != []
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (MemoryError("std::bad_alloc"), "ran out of memory while it built .* --workspace-mib"),
        (None, "cannot build an engine:\n  - no reason was given; the workspace limit or the memory may be too small"),
    ],
    ids=["thrown", "returned"],
)
def test_a_failed_allocation_is_one_clear_error_and_no_file(
    rtx: TensorRt, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Any, words: str
) -> None:
    def build(*_: Any) -> None:
        if failure is not None:
            raise failure

    monkeypatch.setattr(toolkit.engine.builder, "build_serialized", build)
    plans = tmp_path / "plans"
    plans.mkdir()
    (plans / "rgb.plan").write_bytes(b"a good engine")
    with pytest.raises(EngineError, match=words):
        build_plan(rtx, bundle.onnx_path("rgb", "fp16"), plans / "rgb.plan", target="sm86")
    assert [(file.name, file.read_bytes()) for file in plans.iterdir()] == [("rgb.plan", b"a good engine")]


def test_the_workspace_limit_reaches_the_builder(
    rtx: TensorRt, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def build(builder: Any, network: Any, config: Any) -> None:
        limits.append(config.get_memory_pool_limit(rtx.module.MemoryPoolType.WORKSPACE))

    monkeypatch.setattr(toolkit.engine.builder, "build_serialized", build)
    with pytest.raises(EngineError, match="cannot build"):
        build_plan(rtx, bundle.onnx_path("rgb", "fp16"), tmp_path / "rgb.plan", target="sm86", workspace_bytes=3 << 20)
    assert limits[0] == 3 << 20


def test_the_profile_takes_one_clip_to_the_largest_batch(
    rtx: TensorRt, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    dims_of = toolkit.engine.builder.dims_of

    def record(api: TensorRt, shape: tuple[int, ...]) -> Any:
        shapes.append(shape)
        return dims_of(api, shape)

    monkeypatch.setattr(toolkit.engine.builder, "dims_of", record)
    build_plan(rtx, bundle.onnx_path("rgb", "fp16"), tmp_path / "rgb.plan", target="sm86", max_batch=5)
    assert shapes == [(1, 4, 3, 16, 16), (5, 4, 3, 16, 16)]
