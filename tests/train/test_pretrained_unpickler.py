"""Pickles of arrays are read, and pickles that do anything else are refused before they do it."""

from __future__ import annotations

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toolkit.errors import InputError
from toolkit.train.pretrained.tensor_files import read_tensors
from toolkit.train.pretrained.unpickler import read_pickled_arrays


class Call:
    """Unpickling an instance calls `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i8", "|u1"])
def test_arrays_come_back_as_they_were(tmp_path: Path, protocol: int, kind: str) -> None:
    generator = np.random.default_rng(0)
    array = generator.integers(0, 100, (2, 3, 4)).astype(kind)
    content = OrderedDict(blobs={"c": array, "fortran": np.asfortranarray(array)}, step=np.float64(1.5), name="net")
    path = tmp_path / "weights"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickled_arrays(path)
    assert np.array_equal(found["blobs"]["c"], array)
    assert np.array_equal(found["blobs"]["fortran"], array)
    assert found["blobs"]["c"].dtype == array.dtype.newbyteorder("=")
    assert (found["step"], found["name"]) == (1.5, "net")


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    # As cPickle protocol 2 wrote it: array bytes as a str (opcode U), assembled by hand from the opcodes' definitions.
    data = struct.pack("<2f", 1.5, -2.0)
    dtype = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01K\x02\x85" + dtype + b"\x89U" + bytes([len(data)]) + data + b"tb"
    path = tmp_path / "weights.pkl"
    path.write_bytes(b"\x80\x02}U\x05blobs}U\x07conv1_w" + array + state + b"ss.")
    assert read_pickled_arrays(path)["blobs"]["conv1_w"].tolist() == [1.5, -2.0]
    assert read_tensors(path)["conv1_w"].tolist() == [1.5, -2.0]


def _object_array(content: Any) -> np.ndarray:
    array = np.empty(1, dtype=object)
    array[0] = content
    return array


def _hostile(command: str) -> dict[str, Any]:
    evil = Call(os.system, command)
    return {
        "system": {"a": evil},
        "eval": {"a": Call(eval, f"__import__('os').system({command!r})")},
        "in an array of objects": {"a": _object_array(evil)},
        "as the subtype of an array": {"a": Call(np.asarray([0.0]).__reduce__()[0], evil, (0,), b"b")},
        "as the shape of an array": {"a": Call(np.asarray([0.0]).__reduce__()[0], np.ndarray, (evil,), b"b")},
        # numpy's scalar unpickles the bytes of an object by itself.
        "in a scalar of object": {
            "a": Call(np.float64(0).__reduce__()[0], np.dtype(object), pickle.dumps(evil, protocol=2))
        },
        "numpy's own loader": {"a": Call(np.load, "elsewhere.npy", None, True)},
        "getattr": {"a": Call(getattr, "x", "upper")},
        "a key": {Call(str, "x"): 1},
    }


@pytest.mark.parametrize("name", list(_hostile("")))
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, name: str, protocol: int) -> None:
    trace = tmp_path / "was here"
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(_hostile(f"touch '{trace}'")[name], protocol=protocol))
    with pytest.raises(InputError, match="refused"):
        read_tensors(path)
    assert not trace.exists()


def test_the_same_pickle_does_run_where_it_is_trusted(tmp_path: Path) -> None:
    trace = tmp_path / "was here"
    pickle.loads(pickle.dumps(_hostile(f"touch '{trace}'")["in an array of objects"]))
    assert trace.exists()


@pytest.mark.parametrize(
    "program",
    [
        # BUILD with a dictionary, and with slots, on a function that is admitted.
        b"\x80\x02}U\x01acnumpy\ndtype\n}U\x08__call__U\x01xsbs.",
        b"\x80\x02}U\x01acnumpy\ndtype\nN}U\x05_callU\x01xs\x86bs.",
        # An object outside the file.
        b"\x80\x02}U\x01aU\x01xQs.",
        # An instance of an old-style class, and an extension code.
        b"(ios\nsystem\n.",
        b"\x80\x02}U\x01acposix\nsystem\nU\x04true\x85Rs.",
        b"\x80\x04}\x8c\x01a\x8c\x08builtins\x8c\x04exec\x93s.",
        # A place in the memo that would take gigabytes.
        b"\x80\x02}r\xff\xff\xff\x7f.",
        # A dotted name that reaches through a module that is admitted.
        b"\x80\x04}\x8c\x01a\x8c\x05numpy\x8c\x10dtype.__init__.x\x93s.",
    ],
)
def test_hand_made_programs_are_refused(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(program)
    with pytest.raises(InputError, match="refused"):
        read_tensors(path)


def test_a_damaged_pickle_is_one_message(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.arange(100, dtype=np.float32)}, protocol=4)
    path = tmp_path / "weights.pkl"
    for length in range(2, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_tensors(path)


def test_an_array_shorter_than_its_shape_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.arange(100, dtype=np.float32)}, protocol=4)
    assert whole.count(b"Kd\x85") == 1
    path = tmp_path / "weights.pkl"
    path.write_bytes(whole.replace(b"Kd\x85", b"K\xff\x85"))
    with pytest.raises(InputError, match="damaged"):
        read_tensors(path)


def test_a_torch_file_with_an_object_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "was here"
    for legacy in (False, True):
        path = tmp_path / "weights.pt"
        torch.save({"a": Call(os.system, f"touch '{trace}'")}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(InputError, match="refused"):
            read_tensors(path)
    assert not trace.exists()


def test_an_npz_with_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, a=_object_array(Call(os.system, f"touch '{tmp_path / 'was here'}'")))
    with pytest.raises(InputError, match="plain numbers"):
        read_tensors(path)
    assert not (tmp_path / "was here").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 no archive", b"\x89PNG\r\n"])
def test_other_files_are_named_as_such(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a file of weights"):
        read_tensors(path)
