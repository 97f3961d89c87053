"""Reading a pickle of arrays without trusting it.

A pickle is a program: unpickling one from elsewhere runs it. Some published weights exist only as pickles, so this
reader admits what a dictionary of numpy arrays needs and nothing else. It never calls numpy's own reconstruction, which
trusts the state that it is given: arrays are rebuilt here from checked shapes, types and bytes.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError

_NUMBERS = {
    f"{kind}{size}" for kind, sizes in {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8)}.items() for size in sizes
}
_LARGEST_RANK = 8
# What pickle's machine throws at a file that is cut off, or at bytes that are no pickle.
_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    MemoryError,
    ImportError,
    struct.error,
)


def read_pickled_arrays(path: Path) -> dict[str, Any]:
    """Return a pickle's dictionary: nested dictionaries, lists, numbers, text and numpy arrays of numbers.

    Raises
    ------
    InputError
        If the pickle asks for anything that such a dictionary does not need, or is damaged.
    """
    try:
        with path.open("rb") as file:
            _check_memo(file)
            file.seek(0)
            # Python 2's pickles, as Caffe2 wrote them, hold array bytes as text.
            content = _numbers_only(_ArrayUnpickler(file, encoding="latin1").load())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except _Refused as error:
        raise InputError(
            f"{path}: refused. Weights are numpy arrays in dictionaries; this pickle asks for {error}. "
            "Such a file can run code on this machine: get it from its publisher."
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply for a file of weights.") from error
    except _DAMAGE as error:
        raise InputError(
            f"{path}: not a readable pickle of arrays, or damaged ({error}). Get the file again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a dictionary of arrays, found {type(content).__name__}.")
    return content


class _Refused(Exception):
    """What the pickle asked for, in words."""


def _check_memo(file: BinaryIO) -> None:
    """Refuse a place in the memo beyond the operations so far: the unpickler would allocate gigabytes up to it."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > count:
            raise _Refused(f"place {argument} of its memo after {count} operations")


class _Allowed:
    """A callable that a pickle may name, and may neither change nor look into."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, _: Any) -> NoReturn:
        raise _Refused("a change to a function")


class _Type:
    """A numpy dtype to be: its name now, its byte order with the state."""

    __slots__ = ("name", "order")

    def __init__(self, name: str) -> None:
        self.name = name
        self.order = ""

    def __setstate__(self, state: Any) -> None:
        # numpy: (version, byte order, subtype, names, fields, item size, alignment, flags).
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise _Refused("an array of records")
        if state[1] not in ("<", ">", "|", "="):
            raise _Refused(f"the byte order {state[1]!r}")
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """Return the plain number type."""
        return np.dtype(f"{self.order}{self.name}")


class _Array:
    """A numpy array to be, filled by its state."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        # numpy: (version, shape, dtype, Fortran order, bytes).
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("an array with an unknown state")
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Type):
            raise _Refused("an array without a number type")
        if isinstance(content, str):
            content = content.encode("latin1")
        if not isinstance(content, bytes):
            raise _Refused("an array of objects")
        if (
            not isinstance(shape, tuple)
            or len(shape) > _LARGEST_RANK
            or not all(type(n) is int and n >= 0 for n in shape)
        ):
            raise _Refused(f"an array of the shape {shape!r}")
        flat = np.frombuffer(content, kind.dtype())
        # Copied: an owned, native, writable array, as torch wants it.
        array = flat.reshape(shape, order="F" if fortran else "C")
        self.value = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _array_of_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """What pickle protocol 5 calls for an array that is not split off."""
    if not isinstance(buffer, bytes | bytearray) or order not in ("C", "F"):
        raise _Refused("an array of an unknown buffer")
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", bytes(buffer)))
    return array


def _number_type(name: Any, *_: Any) -> _Type:
    text = name.decode("ascii") if isinstance(name, bytes) else name
    if text not in _NUMBERS:
        raise _Refused(f"an array of {text!r}, which is no number")
    return _Type(text)


def _scalar(kind: Any, content: Any) -> float:
    content = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(kind, _Type) or not isinstance(content, bytes):
        raise _Refused("a scalar that is no number")
    return float(np.frombuffer(content, kind.dtype())[0])


def _bytes_of_text(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("a change of encoding")
    return text.encode("latin1")


def _admitted(name: str) -> _Allowed | None:
    module, _, attribute = name.rpartition(".")
    if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        return {"_reconstruct": _Allowed(lambda *_: _Array()), "scalar": _Allowed(_scalar)}.get(attribute)
    if module in ("numpy.core.numeric", "numpy._core.numeric"):
        return _Allowed(_array_of_buffer) if attribute == "_frombuffer" else None
    allowed: dict[str, Callable[..., Any]] = {
        # Only ever an argument of _reconstruct, which ignores it.
        "numpy.ndarray": lambda *_: _Array(),
        "numpy.dtype": _number_type,
        "_codecs.encode": _bytes_of_text,
        "collections.OrderedDict": lambda *pairs: dict(*pairs),
        # flax's FrozenDict is pickled as the class and one plain dictionary.
        "flax.core.frozen_dict.FrozenDict": lambda content=(): dict(content),
    }
    return _Allowed(allowed[name]) if name in allowed else None


class _ArrayUnpickler(pickle.Unpickler):
    """Hands out a callable of this module for every name it admits, never the named object itself."""

    def find_class(self, module: str, name: str) -> Any:
        found = _admitted(f"{module}.{name}")
        if found is None:
            raise _Refused(f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"an object outside the file ({pid!r})")


def _numbers_only(content: Any) -> Any:
    """Return the tree with its arrays in place; what is neither a number nor text is refused."""
    if isinstance(content, dict):
        return {str(key): _numbers_only(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_numbers_only(value) for value in content]
    if isinstance(content, _Array) and content.value is not None:
        return content.value
    if content is None or isinstance(content, bool | int | float | str | bytes):
        return content
    raise _Refused(f"an object of the type {type(content).__name__.lstrip('_').lower()} among the arrays")
