"""The stored form of flow: bounded, near the estimator's own noise, and odd (negation commutes)."""

from __future__ import annotations

import numpy as np

from toolkit.flow import FlowEncoding

FLOW = np.random.default_rng(0).normal(0, 8, (60, 80, 2)).astype(np.float32)


def test_zero_is_exactly_zero() -> None:
    assert not FlowEncoding().quantise(np.zeros((4, 4, 2), dtype=np.float32)).any()


def test_negation_commutes_exactly() -> None:
    encoding = FlowEncoding()
    assert np.array_equal(encoding.encode(-FLOW), -encoding.encode(FLOW))
    assert np.array_equal(encoding.quantise(-FLOW), -encoding.quantise(FLOW))


def test_values_are_clipped_and_otherwise_within_half_a_step() -> None:
    quantised = FlowEncoding().quantise(FLOW)
    assert np.abs(quantised).max() <= 20
    assert np.abs(quantised - FLOW.clip(-20, 20)).max() <= 0.5 / 32 + 1e-6


def test_decoding_then_encoding_is_lossless() -> None:
    encoding = FlowEncoding()
    steps = encoding.encode(FLOW)
    assert np.array_equal(encoding.encode(encoding.decode(steps)), steps)
    assert steps.dtype == np.int16
