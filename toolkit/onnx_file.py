"""What an ONNX file refers to outside itself, found without any library of ONNX's: a bundle's graph may name no file.

A graph can keep its weights in other files, wherever its author says. Libraries follow such names, some of them out of
the graph's folder. The walk below reads protobuf's wire format along the fields of `onnx.proto` that can hold a tensor.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

MOST_BYTES = (1 << 31) - 1
"""Protobuf's own limit for a message."""

MOST_LEVELS = 64
"""Messages within messages: a graph's, its nodes', and those of the graphs in them."""

MOST_FIELDS = 5_000_000
"""Looked at: a thousand times those of the paper's networks, and seconds of work."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14

# Fields that lead to tensors, by message: number of the field, message that it holds.
_MODEL: Mapping[int, str] = {7: "graph", 20: "training", 25: "function"}
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": _MODEL,
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


def graph_fault(path: Path) -> str | None:
    """Return why a graph is not to be loaded, or None.

    Refused are a file that is no protobuf message, and one with a tensor whose values are elsewhere. Whether it is a
    graph that can run is the engine's to say.
    """
    if path.stat().st_size == 0:
        return "is empty"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            for message, begin, end in _messages(data):
                if message == "tensor" and _is_external(data, begin, end):
                    return "keeps weights outside itself (external data), which a bundle may not"
        except (IndexError, ValueError):
            return "is not an ONNX graph, or is cut short"
    return None


def _messages(data: mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """Yield every message that may hold a tensor, or is one: its kind, and where it begins and ends."""
    waiting = [("model", 0, len(data), 0)]
    seen = 0
    while waiting:
        kind, begin, end, level = waiting.pop()
        if level > MOST_LEVELS:
            raise ValueError("too deep")
        yield kind, begin, end
        inner = _FIELDS.get(kind)
        if inner is None:
            continue
        for number, wire, first, last in _fields(data, begin, end):
            seen += 1
            if seen > MOST_FIELDS:
                raise ValueError("too many fields")
            if number in inner:
                if wire != 2:
                    raise ValueError("not a message")
                waiting.append((inner[number], first, last, level + 1))


def _is_external(data: mmap.mmap, begin: int, end: int) -> bool:
    for number, wire, first, _ in _fields(data, begin, end):
        if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and (wire != 0 or _varint(data, first, end)[0] != 0)):
            return True
    return False


def _fields(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield a message's fields: number, wire type, and where the value begins and ends."""
    place = begin
    while place < end:
        tag, place = _varint(data, place, end)
        wire, first = tag & 7, place
        if wire == 0:
            _, place = _varint(data, place, end)
        elif wire == 1:
            place += 8
        elif wire == 2:
            size, first = _varint(data, place, end)
            place = first + size
        elif wire == 5:
            place += 4
        else:
            raise ValueError("no wire type of ONNX")
        if place > end or tag < 8:
            raise ValueError("a field without number, or that ends outside its message")
        yield tag >> 3, wire, first, place


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise ValueError("a number ends outside its message")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number without end")
