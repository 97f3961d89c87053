"""Device memory that is freed together, and the addresses of a clip ring in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.engine.preprocess_plan import Slots
from toolkit.flow.cuda_driver import CudaDevice

ALIGNMENT = 256
"""TensorRT's demand on an address, bytes; every allocation of CUDA's meets it."""


class DeviceMemory:
    """Allocations of both sides; the device's context must be current for every call.

    Freed by name, not by their last reference: the traceback of an error holds references for as long as it is looked
    at.
    """

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._blocks: list[Any] = []

    def allocate(self, size: int) -> int:
        """Return the address of `size` bytes on the device."""
        self._blocks.append(self._device.allocate(size))
        return int(self._blocks[-1])

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a page-locked host array; not to be touched after `free`."""
        array = self._device.pinned(shape, dtype)
        self._blocks.append(array.base)
        return array

    def uploaded(self, array: NDArray[Any]) -> int:
        """Return the device address of a copy of an array."""
        staged = self.pinned(array.shape, array.dtype)
        staged[...] = array
        address = self.allocate(staged.nbytes)
        self._device.upload(address, staged)
        self._device.wait()
        return address

    def free(self) -> None:
        """Free everything; nothing on the device may be using it."""
        while self._blocks:
            self._blocks.pop().free()


class DeviceRing:
    """Where `ClipRing` would keep its frames, on the device: the last T of them always contiguous.

    Parameters
    ----------
    address
        Of 2 T slots, each (C, H, W) float32.
    frames
        T.
    slot_bytes
        Of one slot; a multiple of `ALIGNMENT`, so that TensorRT can read a clip that starts at any of them.
    """

    def __init__(self, address: int, frames: int, slot_bytes: int) -> None:
        self.address = address
        self._frames = frames
        self._slot_bytes = slot_bytes
        self._next = 0

    def admit(self, *, fill: bool) -> Slots:
        """Admit a frame, `fill` the whole clip with it or not, and return the slots that are to be written."""
        if fill:
            return Slots(0, 1, 2 * self._frames)
        slots = Slots(self._next, self._frames, 2)
        self._next = (self._next + 1) % self._frames
        return slots

    def repeat(self) -> tuple[tuple[int, int, int], ...]:
        """Admit the newest frame once more, and return the copies that does: to, from and bytes."""
        newest = (self._next - 1) % self._frames
        slots = self.admit(fill=False)
        targets = (slots.first + nth * slots.step for nth in range(slots.count))
        return tuple((self._at(slot), self._at(newest), self._slot_bytes) for slot in targets)

    @property
    def clip(self) -> int:
        """Address of the last T frames, oldest first: (T, C, H, W) contiguous."""
        return self._at(self._next)

    def _at(self, slot: int) -> int:
        return self.address + slot * self._slot_bytes


def slot_bytes(shape: tuple[int, ...]) -> int:
    """Return the size of a (C, H, W) float32 slot."""
    return int(np.prod(shape)) * np.dtype(np.float32).itemsize
