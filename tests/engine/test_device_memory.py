"""The device ring's addresses, followed by NumPy, against the host's ring."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolkit.clips import ClipRing
from toolkit.engine.device_memory import DeviceRing, slot_bytes

SHAPE = (2, 2, 2)


@given(st.integers(1, 20), st.lists(st.sampled_from(["admit", "repeat", "fill"]), min_size=1, max_size=70))
def test_it_holds_what_the_host_s_ring_holds(frames: int, steps: list[str]) -> None:
    host = ClipRing(frames, SHAPE)
    memory = np.full((2 * frames, *SHAPE), np.nan, dtype=np.float32)
    size = slot_bytes(SHAPE)
    assert size == memory[0].nbytes
    device = DeviceRing(4096, frames, size)

    def slot_at(address: int) -> int:
        assert (address - 4096) % size == 0
        return (address - 4096) // size

    for number, step in enumerate(["fill", *steps]):
        if step == "repeat":
            host.repeat()
            for to, origin, count in device.repeat():
                assert count == size
                memory[slot_at(to)] = memory[slot_at(origin)]
            continue
        for _ in range(frames if step == "fill" else 1):
            host.slot[...] = number
            host.advance()
        slots = device.admit(fill=step == "fill")
        for nth in range(slots.count):
            memory[slots.first + nth * slots.step] = number
        first = slot_at(device.clip)
        assert np.array_equal(memory[first : first + frames], host.clip[0].transpose(1, 0, 2, 3))
