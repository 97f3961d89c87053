"""Reads arrays from a .npz file that may have been made to harm: sizes are known and allowed before anything is read.

NumPy alone allocates what an array's header asks for, and a few kilobytes of ZIP can unpack to terabytes.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.errors import BundleError

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class NpzFile:
    """Arrays by name; a context manager.

    Parameters
    ----------
    path
        The file.
    most_bytes
        Of all arrays together, unpacked.

    Raises
    ------
    BundleError
        On entering: if the file is no .npz file, or larger. On reading: if an array is not as it is asked for.
    """

    def __init__(self, path: Path, *, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes

    def __enter__(self) -> Self:
        try:
            self._zip = zipfile.ZipFile(self._path)
        except (OSError, ValueError, zipfile.BadZipFile, struct.error, NotImplementedError) as error:
            raise self._fault(f"not a file of arrays ({error})") from error
        total = sum(member.file_size for member in self._zip.infolist())
        if total > self._most_bytes:
            self._zip.close()
            raise self._fault(f"unpacks to {total} bytes, at most {self._most_bytes} are read")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def read(self, name: str, dtype: type[np.generic], shape: Sequence[int | None]) -> NDArray[Any]:
        """Return an array of this dtype and shape; None stands for any length from 1 on.

        Raises
        ------
        BundleError
            If it is missing, another, damaged, or not finite.
        """
        try:
            member = self._zip.getinfo(f"{name}.npy")
            if member.compress_type not in _METHODS or member.flag_bits & 1:
                raise self._fault(f"{name}: packed in a way that NumPy does not pack")
            with self._zip.open(member) as file:
                self._check_header(file, member.file_size, name, np.dtype(dtype), shape)
            with self._zip.open(member) as file:
                array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        except KeyError as error:
            raise self._fault(f"{name} is missing") from error
        except BundleError:
            raise
        # NumPy reads a header as Python's code is read, with as many ways to fail.
        except Exception as error:
            raise self._fault(f"{name} cannot be read ({type(error).__name__})") from error
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise self._fault(f"{name} is not finite")
        return array

    def _check_header(
        self, file: IO[bytes], size: int, name: str, dtype: np.dtype[Any], shape: Sequence[int | None]
    ) -> None:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise self._fault(f"{name}: version {version} of NumPy's format, expected 1.0 or 2.0")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        found_shape, _, found_dtype = read(file)
        fits = len(found_shape) == len(shape) and all(
            found == length or (length is None and found >= 1) for found, length in zip(found_shape, shape, strict=True)
        )
        if not fits or found_dtype != dtype:
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise self._fault(f"{name}: expected {dtype} of ({wanted}), found {found_dtype} of {found_shape}")
        if math.prod(found_shape) * dtype.itemsize != size - file.tell():
            raise self._fault(f"{name}: declares {found_shape}, and holds {size - file.tell()} bytes")

    def _fault(self, text: str) -> BundleError:
        return BundleError(f"{self._path}: {text}. Copy the bundle again from where it was exported.")
