"""The builder's measurements of kernels, kept for each device, so that the next build need not measure them again.

TensorRT for RTX measures nothing while it builds: its timing caches do nothing, and none is kept for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.engine.device import find_gpu
from toolkit.engine.sidecar import Precision
from toolkit.engine.tensorrt_api import TensorRt, create_timing_cache, timing_cache_of
from toolkit.files import atomic_write, file_name

if TYPE_CHECKING:
    import tensorrt

_DIGEST_BYTES = hashlib.sha256().digest_size


def timing_cache_path(api: TensorRt, folder: Path, precision: Precision) -> Path | None:
    """Return where the timings of this machine's GPU are kept in an engines folder; None where there are none to keep.

    Raises
    ------
    EngineError, MissingDependency
        If there is no GPU to build for.
    """
    if not api.keeps_timings:
        return None
    gpu = find_gpu()
    major, minor = gpu.compute_capability
    return folder / file_name(f"timing-{api.runtime}-{api.version}-{gpu.name}-sm{major}{minor}-{precision}.cache")


def load_timings(config: tensorrt.IBuilderConfig, path: Path, warn: Callable[[str], None]) -> None:
    """Give `config` the timings in `path`, or none to begin with where the file is absent, damaged or not taken.

    A file that cannot be used is told to `warn` and replaced by `save_timings`: it can only cost time.
    """
    stored = _read(path, warn)
    cache = create_timing_cache(config, stored)
    if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
        return
    if stored:
        warn(f"{path}: TensorRT does not take the timing cache; this build takes longer and writes a new one.")
        if (empty := create_timing_cache(config, b"")) is not None:
            config.set_timing_cache(empty, ignore_mismatch=False)


def save_timings(config: tensorrt.IBuilderConfig, path: Path, warn: Callable[[str], None]) -> None:
    """Write what the build measured to `path`, whole or not at all; if it cannot be written, `warn` is told."""
    cache = timing_cache_of(config)
    if cache is None:
        return
    content = bytes(cache.serialize())
    try:
        with atomic_write(path) as beside:
            beside.write_bytes(hashlib.sha256(content).digest() + content)
    except OSError as error:
        warn(
            f"{path}: the timing cache cannot be written ({error.strerror}); the next build takes as long as this one."
        )


def _read(path: Path, warn: Callable[[str], None]) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        warn(f"{path}: the timing cache cannot be read ({error.strerror}); this build takes longer.")
        return b""
    digest, stored = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(stored).digest() == digest:
        return stored
    warn(f"{path}: the timing cache is damaged and ignored; this build takes longer and writes a new one.")
    return b""
