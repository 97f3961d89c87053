"""Which frames make a clip, checked against sequences written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.clips import ClipGeometry, ClipRing, clip_indices, is_padded

PAPER = ClipGeometry()


def test_the_paper_s_clip_is_8_before_itself_and_7_after() -> None:
    assert PAPER.frames == 16
    assert clip_indices(20, 100, PAPER).tolist() == list(range(12, 28))


def test_ends_of_a_segment_repeat() -> None:
    assert clip_indices(0, 100, PAPER).tolist() == [0] * 8 + list(range(8))
    assert clip_indices(99, 100, PAPER).tolist() == [*range(91, 100), *[99] * 7]
    assert clip_indices(1, 3, PAPER).tolist() == [0] * 8 + [1] + [2] * 7


def test_wrapping_continues_at_the_other_end_as_the_authors_did() -> None:
    wrap = ClipGeometry(boundary="wrap")
    assert clip_indices(0, 100, wrap).tolist() == [*range(92, 100), *range(8)]
    assert clip_indices(99, 100, wrap).tolist() == [*range(91, 100), *range(7)]


@pytest.mark.parametrize(("centre", "padded"), [(0, True), (7, True), (8, False), (92, False), (93, True)])
def test_padding_is_said(centre: int, padded: bool) -> None:
    assert is_padded(centre, 100, PAPER) is padded


def test_a_centre_outside_its_segment_is_an_error() -> None:
    with pytest.raises(IndexError):
        clip_indices(5, 5, PAPER)


@given(st.integers(1, 20), st.lists(st.booleans(), min_size=20, max_size=70))
def test_the_ring_holds_the_last_frames_in_order(frames: int, repeats: list[bool]) -> None:
    ring = ClipRing(frames, (1, 2, 2))
    pushed: list[float] = []
    for number, repeat in enumerate(repeats):
        if repeat and pushed:
            ring.repeat()
            pushed.append(pushed[-1])
        else:
            ring.slot[...] = number
            ring.advance()
            pushed.append(number)
    expected = pushed[-frames:]
    assert ring.clip.shape == (1, 1, frames, 2, 2)
    assert ring.clip[0, 0, frames - len(expected) :, 0, 0].tolist() == expected


def test_the_ring_s_clip_is_time_major_memory() -> None:
    clip = ClipRing(16, (3, 4, 4)).clip
    assert clip.transpose(0, 2, 1, 3, 4).flags.c_contiguous
    assert np.shares_memory(clip, clip.transpose(0, 2, 1, 3, 4))
