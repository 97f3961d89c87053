"""Late fusion against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def test_a_temperature_divides_the_logits() -> None:
    # (0.4 * 2, 0.6 * 1) / 2 = (0.4, 0.3): 1 / (1 + e^-0.1) = 0.524979.
    logits = np.array([[2.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    fused = Fusion(weights={"rgb": 0.4, "flow": 0.6}, temperature=2).probabilities(logits)
    assert fused == pytest.approx([0.524979, 0.475021], abs=1e-6)
    # softmax([1, 0]) = 0.731059, softmax([0, 0.5]) = 0.377541: 0.4 * 0.731059 + 0.6 * 0.377541 = 0.518948.
    averaged = Fusion(weights={"rgb": 0.4, "flow": 0.6}, rule="probabilities", temperature=2).probabilities(logits)
    assert averaged == pytest.approx([0.518948, 0.481052], abs=1e-6)


@pytest.mark.parametrize("rule", ["logits", "probabilities"])
def test_temperature_one_changes_no_bit(rule: str) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 500, 8)).astype(np.float32)
    weights = np.array([0.4, 0.6], dtype=np.float32)
    fused = Fusion.model_validate({"weights": {"rgb": 0.4, "flow": 0.6}, "rule": rule}).probabilities(logits)
    plain = (
        softmax(np.tensordot(weights, logits, axes=1))
        if rule == "logits"
        else np.tensordot(weights, softmax(logits), axes=1)
    )
    np.testing.assert_array_equal(fused, plain)
    assert fused.dtype == np.float32


@given(st.floats(0.1, 10), st.integers(0, 2**32 - 1))
def test_a_temperature_changes_no_label(temperature: float, seed: int) -> None:
    logits = np.random.default_rng(seed).integers(-8, 8, (2, 20, 4)).astype(np.float32)
    plain = Fusion(weights={"rgb": 0.5, "flow": 0.5})
    scaled = plain.model_copy(update={"temperature": temperature})
    np.testing.assert_array_equal(
        scaled.probabilities(logits).argmax(axis=1), plain.probabilities(logits).argmax(axis=1)
    )


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(ValidationError, match="temperature"):
        Fusion(weights={"rgb": 1.0}, temperature=temperature)
