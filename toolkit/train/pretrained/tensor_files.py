"""A file of weights as a flat dictionary of tensors, whatever wrote it. Its name plays no part."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.errors import InputError
from toolkit.train.pretrained.unpickler import read_pickled_arrays

Tensors = dict[str, torch.Tensor]
"""Names, nested ones joined by ``/``, and tensors of numbers on the CPU; real ones as float32."""

# torch.save before 1.6: a pickle of this number stands before the pickle of the content.
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# What wraps a state in a training program's checkpoint.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "blobs")


def read_tensors(path: Path) -> Tensors:
    """Return every tensor of a torch file, a numpy ``.npz``, or a pickle of numpy arrays.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or holds anything that could run code.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_TORCH_LEGACY))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Expected a file of weights.") from error
    content: Any
    if zipfile.is_zipfile(path):
        content = _read_npz(path) if _is_npz(path) else _read_torch(path)
    elif start == _TORCH_LEGACY:
        content = _read_torch(path)
    elif start[:1] in (b"\x80", b"(", b"}", b"c", b"d", b"]"):
        content = read_pickled_arrays(path)
    else:
        raise InputError(
            f"{path}: not a file of weights. Expected one of torch.save, an .npz, or a pickle of numpy arrays."
        )
    tensors = _flat(_unwrapped(content))
    if not tensors:
        raise InputError(f"{path}: holds no tensor. Expected a file of weights.")
    return _without_common_prefix(tensors)


def _is_npz(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read_npz(path: Path) -> Any:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path}: cannot be read as .npz of plain numbers ({error}). Get the file again.") from error


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused, or damaged. Weights are tensors in dictionaries; torch admits nothing else "
            f"({str(error).splitlines()[0]})."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: a torch file that cannot be read ({str(error).splitlines()[0]}).") from error


def _unwrapped(content: Any) -> Any:
    while isinstance(content, dict):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            return content
        content = inner
    return content


def _flat(content: Any, prefix: str = "") -> Tensors:
    tensors: Tensors = {}
    if not isinstance(content, dict):
        return tensors
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            tensors |= _flat(value, f"{name}/")
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            tensors[name] = _as_float(torch.from_numpy(np.ascontiguousarray(value)))
        elif isinstance(value, torch.Tensor):
            tensors[name] = _as_float(value.detach())
    return tensors


def _as_float(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _without_common_prefix(tensors: Tensors) -> Tensors:
    """Drop what `DataParallel` and Caffe2's device scopes put before every name."""
    for prefix in ("module.", "gpu_0/"):
        if all(name.startswith(prefix) for name in tensors):
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
