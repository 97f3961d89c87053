"""Late fusion against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from toolkit.fusion import Fusion, fusion_for, softmax


def test_logits_are_fused_before_the_softmax() -> None:
    # 0.4 * 2 + 0.6 * 0 = 0.8 against 0.4 * 0 + 0.6 * 1 = 0.6: e^0.8 / (e^0.8 + e^0.6) = 0.549834.
    logits = np.array([[2.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    fused = fusion_for(("rgb", "flow")).probabilities(logits)
    assert fused == pytest.approx([0.549834, 0.450166], abs=1e-6)


def test_probabilities_are_averaged_by_the_other_rule() -> None:
    # softmax([2, 0]) = [0.880797, 0.119203], softmax([0, 1]) = [0.268941, 0.731059].
    logits = np.array([[2.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    fused = Fusion(weights={"rgb": 0.4, "flow": 0.6}, rule="probabilities").probabilities(logits)
    assert fused == pytest.approx([0.513684, 0.486316], abs=1e-6)


def test_the_rules_can_disagree_about_the_label() -> None:
    logits = np.array([[8.0, 0.0], [0.0, 3.0]], dtype=np.float32)
    assert fusion_for(("rgb", "flow")).probabilities(logits).argmax() == 0
    assert Fusion(weights={"rgb": 0.4, "flow": 0.6}, rule="probabilities").probabilities(logits).argmax() == 1


def test_many_frames_at_once() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 7, 8)).astype(np.float32)
    fused = fusion_for(("rgb", "flow")).probabilities(logits)
    assert fused.shape == (7, 8)
    for frame in range(7):
        assert fused[frame] == pytest.approx(fusion_for(("rgb", "flow")).probabilities(logits[:, frame]))


def test_large_logits_do_not_overflow() -> None:
    assert softmax(np.array([1000.0, 0.0], dtype=np.float32)).tolist() == [1.0, 0.0]


def test_weights_must_be_a_mean() -> None:
    with pytest.raises(ValidationError, match="sum to 1"):
        Fusion(weights={"rgb": 0.5, "flow": 0.6})
