"""Faults of the view lie where they were asked for, and look like what they are called."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from toolkit.errors import InputError
from toolkit.synth import FAULT_KINDS, FaultKind, SyntheticVideo, ViewFault


def frames(*faults: ViewFault) -> np.ndarray:
    return np.stack(list(islice(SyntheticVideo(3, 20.0, size=(160, 120), faults=faults).frames(), 40)))


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_fault_is_only_between_its_times(kind: FaultKind) -> None:
    differs = (frames() != frames(ViewFault(kind, 0.5, 1.0))).any(axis=(1, 2, 3))
    assert np.flatnonzero(differs).tolist() == list(range(15, 30))
    assert np.array_equal(frames(ViewFault(kind, 0.5, 1.0)), frames(ViewFault(kind, 0.5, 1.0)))


def test_what_they_look_like() -> None:
    clean = frames().astype(np.float32)
    drawn = {kind: frames(ViewFault(kind, 0.5, 1.0)).astype(np.float32)[15:30] for kind in FAULT_KINDS}
    assert (drawn["freeze"] == clean[14]).all()
    assert drawn["dark"].max() < 30
    assert np.median(drawn["saturate"]) == 255
    assert np.abs(np.diff(drawn["blur"], axis=2)).mean() < np.abs(np.diff(clean, axis=2)).mean()
    # A tenth of the width to the right, a sixteenth of the height up: 16 and 7.5 px.
    beyond = np.abs(drawn["shift"][:, :100, 20:] - clean[15:30, 7:107, 4:-16]).mean()
    assert beyond < np.abs(drawn["shift"][:, :100, 20:] - clean[15:30, :100, 20:]).mean() / 2
    covered = (np.abs(drawn["obstruct"] - clean[15:30]) > 20).any(axis=3).mean()
    assert 0.2 < covered < 0.6
    # All but a frozen picture are noisy.
    for kind in ("dark", "blur", "shift", "obstruct"):
        assert (np.diff(drawn[kind], axis=0) != 0).mean() > 0.5


@pytest.mark.parametrize(
    "fault", [ViewFault("blur", 0.0, 1.0), ViewFault("blur", 3.0, 3.0), ViewFault("fog", 1.0, 2.0)]
)  # type: ignore[arg-type]
def test_a_fault_that_cannot_be(fault: ViewFault) -> None:
    with pytest.raises(InputError, match="expected"):
        SyntheticVideo(3, 20.0, faults=[fault])
