"""The flow store's file: a video's working frames and flow, each compressed by itself, and an index behind them.

::

    MAGIC | packets of frames and flow, as they were made | index (.npz) | length and CRC-32 of the index | MAGIC

A clip is read by reading and decompressing its own packets. The index is written last, so a file that was cut anywhere
is not a store; every packet has a CRC-32, checked whenever it is read.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, SupportsIndex, TypeVar

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import InputError, VideoError
from toolkit.flow.store_codec import FLOW, PICTURES, RGB, Encoder, Picture, decode

MAGIC = b"tkstore2"
_TRAILER = struct.Struct("<QI8s")

Item = TypeVar("Item", bound=np.generic)


class StoredArray(Generic[Item]):
    """A read-only (N, H, W, C) array in a store's file, read when it is indexed.

    ``x[i]`` is one frame, ``x[a:b]``, ``x[indices]`` and ``x[mask]`` are stacked copies; a frame asked for twice in one
    call is decompressed once. The file is opened for each call, so that arrays can be pickled, inherited by forked
    processes and read from several threads.

    Raises
    ------
    InputError
        By indexing, if the file cannot be opened any more.
    VideoError
        By indexing, if what it holds is damaged.
    """

    ndim = 4

    def __init__(
        self, path: Path, picture: Picture, shape: tuple[int, int, int], header: bytes, packets: NDArray[np.int64]
    ) -> None:
        self._path, self._picture, self._header = path, picture, header
        # Offset, length and CRC-32 of each.
        self._packets = packets
        self.shape = (len(packets), *shape)
        self.dtype = np.dtype(picture.dtype)

    def __len__(self) -> int:
        return len(self._packets)

    def __repr__(self) -> str:
        return f"<{self._picture.name} {self.shape} {self.dtype} in {self._path}>"

    def __iter__(self) -> Iterator[NDArray[Item]]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a stored array cannot be had without copying it")
        return np.asarray(self[:], dtype=dtype)

    def __getitem__(self, key: SupportsIndex | slice | Sequence[int] | NDArray[Any]) -> NDArray[Item]:
        positions = np.arange(len(self))[key]
        if positions.ndim > 1:
            raise IndexError("expected an index, a slice or a one-dimensional array of indices")
        read: NDArray[Item] = self._read(np.atleast_1d(positions))
        return read[0] if positions.ndim == 0 else read

    def _read(self, positions: NDArray[np.intp]) -> NDArray[Item]:
        out: NDArray[Any] = np.empty((len(positions), *self.shape[1:]), dtype=self.dtype)
        places: dict[int, int] = {}
        try:
            with self._path.open("rb", buffering=0) as file:
                for place, position in enumerate(positions.tolist()):
                    if position in places:
                        out[place] = out[places[position]]
                    else:
                        self._read_frame(file, position, out[place])
                        places[position] = place
        except OSError as error:
            raise InputError(
                f"{self._path}: the flow store cannot be read ({error.strerror}). Run the same command again, which "
                "prepares the video anew where its store is missing."
            ) from error
        return out

    def _read_frame(self, file: io.FileIO, position: int, out: NDArray[Any]) -> None:
        offset, length, checksum = self._packets[position].tolist()
        packet = os.pread(file.fileno(), length, offset)
        try:
            if zlib.crc32(packet) != checksum:
                raise VideoError("its checksum differs")
            decode(self._picture, self._header, packet, out)
        except VideoError as error:
            raise VideoError(
                f"{self._path}: {self._picture.name} {position} of the flow store is damaged, or was replaced while "
                f"it was in use: {error}. Delete this file and run the same command again, which prepares the video "
                "anew."
            ) from error


@dataclass(frozen=True)
class StoreContent:
    """An opened store."""

    key: str
    """What it was made of, as its writer was told."""
    frames: StoredArray[np.uint8]
    """(N, H, W, 3) uint8 RGB working frames."""
    flow_steps: StoredArray[np.int16] | None
    """(N, H, W, 2) int16 encoded flow."""
    source_index: NDArray[np.int64]
    """(N,) int64: which frame of the video each one is."""
    mean_colours: NDArray[np.float64]
    """(N, 3) float64: mean RGB of each working frame, 0 to 255."""


class StoreWriter:
    """Writes a store into a file opened for writing; `finish` makes it one.

    Parameters
    ----------
    height, width
        Of frames and flow, px.
    """

    def __init__(self, file: BinaryIO, height: int, width: int) -> None:
        self._file, self._shape = file, (height, width)
        self._encoders = {picture.name: Encoder(picture, height, width) for picture in PICTURES}
        self._packets: dict[str, list[tuple[int, int, int]]] = {picture.name: [] for picture in PICTURES}
        self._source_index: list[int] = []
        self._mean_colours: list[NDArray[np.float64]] = []
        file.write(MAGIC)

    @property
    def frames(self) -> int:
        """Frames written."""
        return len(self._packets[RGB.name])

    @property
    def flow_fields(self) -> int:
        """Flow fields written."""
        return len(self._packets[FLOW.name])

    def add_frame(self, image: NDArray[np.uint8], source_index: int) -> None:
        """Append a (H, W, 3) uint8 RGB working frame, and which frame of the video it is."""
        self._add(RGB, image)
        self._source_index.append(source_index)
        self._mean_colours.append(image.mean(axis=(0, 1)))

    def add_flow(self, steps: NDArray[np.int16]) -> None:
        """Append a (H, W, 2) int16 flow field in steps of its encoding."""
        self._add(FLOW, steps)

    def finish(self, key: str) -> None:
        """Write the index; `key` says what the store was made of."""
        arrays: dict[str, Any] = {
            "key": np.array(key),
            "shape": np.array(self._shape),
            "source_index": np.array(self._source_index, dtype=np.int64),
            "mean_colours": np.array(self._mean_colours, dtype=np.float64).reshape(-1, 3),
        }
        for name, encoder in self._encoders.items():
            arrays[f"{name}_packets"] = np.array(self._packets[name], dtype=np.int64).reshape(-1, 3)
            arrays[f"{name}_header"] = np.frombuffer(encoder.header, dtype=np.uint8)
        index = io.BytesIO()
        np.savez_compressed(index, allow_pickle=False, **arrays)
        content = index.getvalue()
        self._file.write(content + _TRAILER.pack(len(content), zlib.crc32(content), MAGIC))

    def _add(self, picture: Picture, array: NDArray[Any]) -> None:
        packet = self._encoders[picture.name].encode(array)
        self._packets[picture.name].append((self._file.tell(), len(packet), zlib.crc32(packet)))
        self._file.write(packet)


def open_store(path: Path) -> StoreContent:
    """Open a store. Its index is checked now, frames and flow when they are read.

    Raises
    ------
    VideoError
        If there is none, or its file is cut or damaged.
    """
    try:
        with np.load(io.BytesIO(_read_index(path)), allow_pickle=False) as index:
            height, width = (int(side) for side in index["shape"])
            frames, flow = (
                StoredArray[Any](
                    path,
                    picture,
                    (height, width, picture.channels),
                    index[f"{picture.name}_header"].tobytes(),
                    index[f"{picture.name}_packets"],
                )
                for picture in PICTURES
            )
            return StoreContent(
                key=str(index["key"]),
                frames=frames,
                flow_steps=flow if len(flow) else None,
                source_index=index["source_index"],
                mean_colours=index["mean_colours"],
            )
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise VideoError(f"{path}: not a whole flow store ({error}). Delete it to have it made anew.") from error


def _read_index(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TRAILER.size))
        length, checksum, magic = _TRAILER.unpack(file.read())
        start = size - _TRAILER.size - length
        if magic != MAGIC or start < len(MAGIC):
            raise ValueError("its end is missing")
        file.seek(start)
        content = file.read(length)
    if zlib.crc32(content) != checksum:
        raise ValueError("its index is damaged")
    return content
