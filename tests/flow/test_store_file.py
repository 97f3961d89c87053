"""The store's file against the arrays that were written into it."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from toolkit.errors import InputError, VideoError
from toolkit.flow.store_file import StoreContent, StoredArray, StoreWriter, open_store

COUNT, HEIGHT, WIDTH = 24, 33, 47


def write(path: Path, frames: NDArray[np.uint8], flow: NDArray[np.int16] | None) -> StoreContent:
    with path.open("wb") as file:
        writer = StoreWriter(file, *frames.shape[1:3])
        for index, image in enumerate(frames):
            writer.add_frame(image, 2 * index)
            if flow is not None:
                writer.add_flow(flow[index])
        writer.finish("a key")
    return open_store(path)


def smooth(count: int = COUNT, height: int = HEIGHT, width: int = WIDTH) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Return frames and flow that compress, each different from all others."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    frames = np.stack([t * 9 + x, 255 - 3 * y - t, 2 * x + y], axis=-1).astype(np.uint8)
    return frames, np.stack([t * 20 - x, y - t * 7], axis=-1).astype(np.int16)


@pytest.fixture
def arrays(tmp_path: Path) -> tuple[StoreContent, NDArray[np.uint8], NDArray[np.int16]]:
    frames, flow = smooth()
    return write(tmp_path / "a.store", frames, flow), frames, flow


Arrays = tuple[StoreContent, NDArray[np.uint8], NDArray[np.int16]]


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (17, 64), (90, 317), (241, 321), (480, 16)], ids=str)
@pytest.mark.parametrize("kind", ["noise", "flat", "smooth"])
def test_any_size_and_content_comes_back_bit_by_bit(tmp_path: Path, size: tuple[int, int], kind: str) -> None:
    rng = np.random.default_rng(0)
    if kind == "noise":
        frames = rng.integers(0, 256, (3, *size, 3), dtype=np.uint8)
        flow = rng.integers(-32768, 32768, (3, *size, 2), dtype=np.int16)
    elif kind == "flat":
        frames = np.full((3, *size, 3), 255, dtype=np.uint8)
        flow = np.full((3, *size, 2), -32768, dtype=np.int16)
    else:
        frames, flow = smooth(3, *size)
    content = write(tmp_path / "a.store", frames, flow)
    np.testing.assert_array_equal(content.frames, frames)
    np.testing.assert_array_equal(content.flow_steps, flow)


def test_compressible_pictures_are_compressed(tmp_path: Path) -> None:
    frames, flow = smooth(3, 240, 320)
    write(tmp_path / "a.store", frames, flow)
    assert (tmp_path / "a.store").stat().st_size < (frames.nbytes + flow.nbytes) / 4


KEYS = [
    0,
    -1,
    np.int64(7),
    slice(3, 19),
    slice(None),
    slice(20, 3, -2),
    slice(5, 5),
    [0, 0, 0, 1, 2],
    np.array([23, 3, 23, -1]),
    np.arange(COUNT) % 3 == 0,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_is_numpys(arrays: Arrays, key: object) -> None:
    content, frames, flow = arrays
    assert content.flow_steps is not None
    np.testing.assert_array_equal(content.frames[key], frames[key])  # type: ignore[index]
    np.testing.assert_array_equal(content.flow_steps[key], flow[key])  # type: ignore[index]
    assert content.frames[key].dtype == np.uint8  # type: ignore[index]
    assert content.flow_steps[key].dtype == np.int16  # type: ignore[index]


@pytest.mark.parametrize("key", [COUNT, -COUNT - 1, [0, COUNT], (0, 1), np.zeros((2, 2), dtype=int)], ids=str)
def test_what_is_not_there_is_an_index_error(arrays: Arrays, key: object) -> None:
    with pytest.raises(IndexError):
        arrays[0].frames[key]  # type: ignore[index]


def test_it_is_an_array(arrays: Arrays) -> None:
    content, frames, flow = arrays
    assert content.frames.shape == frames.shape
    assert content.frames.ndim == frames.ndim
    assert content.frames.dtype == frames.dtype
    assert len(content.frames) == COUNT
    np.testing.assert_array_equal(np.stack(list(content.frames)), frames)
    np.testing.assert_array_equal(np.asarray(content.flow_steps, dtype=np.float64), flow)
    with pytest.raises(ValueError, match="without copying"):
        np.array(content.frames, copy=False)


def test_the_index_is_kept(arrays: Arrays) -> None:
    content, frames, _ = arrays
    assert content.key == "a key"
    assert content.source_index.tolist() == list(range(0, 2 * COUNT, 2))
    by_hand = [[image[..., channel].sum() / (HEIGHT * WIDTH) for channel in range(3)] for image in frames]
    np.testing.assert_allclose(content.mean_colours, by_hand, rtol=1e-12)


def test_frames_without_flow(tmp_path: Path) -> None:
    content = write(tmp_path / "a.store", smooth()[0], None)
    assert content.flow_steps is None
    np.testing.assert_array_equal(content.frames, smooth()[0])


def test_a_clip_reads_its_own_frames_once(arrays: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    content, frames, _ = arrays
    read: list[int] = []
    pread = os.pread

    def counted(file: int, length: int, offset: int) -> bytes:
        read.append(length)
        return pread(file, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    clip = [0] * 9 + list(range(1, 8))
    np.testing.assert_array_equal(content.frames[clip], frames[clip])
    assert len(read) == 8
    assert sum(read) < frames[:8].nbytes


def _sums(array: StoredArray[np.uint8], start: int) -> list[int]:
    return [int(array[start : start + 16].astype(np.int64).sum()) for _ in range(10)]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_at_once(arrays: Arrays, method: str) -> None:
    content, frames, _ = arrays
    # Read first, so that a fork finds a decoder that was at work.
    assert content.frames[0].any()
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        found = list(pool.map(_sums, [content.frames] * 9, range(9)))
    assert found == [[int(frames[start : start + 16].astype(np.int64).sum())] * 10 for start in range(9)]


def test_threads_read_at_once(arrays: Arrays) -> None:
    content, frames, _ = arrays
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(_sums, [content.frames] * 9, range(9)))
    assert found == [[int(frames[start : start + 16].astype(np.int64).sum())] * 10 for start in range(9)]


def test_it_can_be_pickled(arrays: Arrays) -> None:
    content, frames, flow = arrays
    again = pickle.loads(pickle.dumps(content))
    np.testing.assert_array_equal(again.frames[3:19], frames[3:19])
    np.testing.assert_array_equal(again.flow_steps[3:19], flow[3:19])


def test_a_damaged_frame_is_found_when_it_is_read(arrays: Arrays, tmp_path: Path) -> None:
    _, frames, _ = arrays
    path = tmp_path / "a.store"
    content = bytearray(path.read_bytes())
    # Past the opening mark lies the first frame.
    content[40] ^= 0x10
    path.write_bytes(content)
    damaged = open_store(path)
    with pytest.raises(VideoError, match=r"a\.store: frame 0 of the flow store is damaged.*Delete this file"):
        damaged.frames[[2, 1, 0]]
    np.testing.assert_array_equal(damaged.frames[1:], frames[1:])


def test_a_file_that_shrinks_or_goes_while_it_is_read(arrays: Arrays, tmp_path: Path) -> None:
    content, frames, _ = arrays
    path = tmp_path / "a.store"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    np.testing.assert_array_equal(content.frames[0], frames[0])
    with pytest.raises(VideoError, match=r"a\.store: frame 23 of the flow store is damaged"):
        content.frames[-1]
    path.unlink()
    with pytest.raises(InputError, match=r"a\.store: the flow store cannot be read.*Run the same command again"):
        content.frames[0]


@pytest.mark.parametrize("content", [b"", b"tkstore2", b"\0" * 100, b"PK\x03\x04" * 40], ids=repr)
def test_what_is_not_a_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.store").write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.store: not a whole flow store"):
        open_store(tmp_path / "a.store")
    with pytest.raises(VideoError, match=r"b\.store: not a whole flow store"):
        open_store(tmp_path / "b.store")
