"""A bundle is whole, of this schema, and unchanged, or it is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.bundles import manifest, manifest_fields
from toolkit.bouts import BundleDecision, ChosenDecision, Transitions
from toolkit.bundle import GoldenClip, load_bundle, write_manifest_and_golden
from toolkit.errors import BundleError
from toolkit.fusion import fusion_for


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    """Return a bundle whose graphs hold nothing but the name of a producer."""
    for stream in ("rgb", "flow"):
        for precision in ("fp32", "fp16"):
            (tmp_path / f"{stream}.{precision}.onnx").write_bytes(b"\x12\x09" + f"{stream:4} {precision}".encode())
    clip = GoldenClip(
        behaviour=3,
        frames=np.arange(17 * 4 * 4 * 3, dtype=np.int64).reshape(17, 4, 4, 3).astype(np.uint8),
        inputs={"rgb": np.ones((3, 16, 16, 16), np.float32), "flow": np.zeros((2, 16, 16, 16), np.float32)},
        logits={"rgb": np.arange(8, dtype=np.float32), "flow": -np.arange(8, dtype=np.float32)},
    )
    write_manifest_and_golden(tmp_path, manifest_fields(), [clip])
    return tmp_path


def test_what_was_written_is_read(bundle_path: Path) -> None:
    bundle = load_bundle(bundle_path)
    assert bundle.manifest.streams == ("rgb", "flow")
    assert bundle.manifest.name == "test"
    (clip,) = bundle.golden()
    assert clip.behaviour == 3
    assert clip.frames.shape == (17, 4, 4, 3)
    assert clip.logits["flow"].tolist() == (-np.arange(8.0)).tolist()


def test_a_changed_byte_and_a_missing_file_are_both_named(bundle_path: Path) -> None:
    (bundle_path / "rgb.fp16.onnx").write_bytes(b"\x12\x09rgb  fp17")
    (bundle_path / "flow.fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"flow\.fp32\.onnx: missing") as caught:
        load_bundle(bundle_path)
    assert "rgb.fp16.onnx: SHA-256" in str(caught.value)


def edit(bundle_path: Path, **changes: object) -> None:
    path = bundle_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_newer_schema_is_refused_before_anything_else(bundle_path: Path) -> None:
    edit(bundle_path, schema_version=3, surprise=True)
    with pytest.raises(BundleError, match="schema 3, this toolkit reads schemas 1 to 2"):
        load_bundle(bundle_path)


def test_a_bundle_of_the_first_schema_is_read_and_has_nothing_to_decide_with(bundle_path: Path) -> None:
    path = bundle_path / "manifest.json"
    content = json.loads(path.read_text())
    # As the toolkit before wrote it.
    del content["decision"]
    path.write_text(json.dumps({**content, "schema_version": 1}))
    manifest = load_bundle(bundle_path).manifest
    assert (manifest.schema_version, manifest.decision) == (1, None)


def test_what_bouts_are_decided_with_is_read_as_it_was_written(bundle_path: Path) -> None:
    third = 1 / 3
    decision = BundleDecision(
        chosen=ChosenDecision(smoothing_s=0.4, min_bout_s=0.5, uncertain_below=None, frames=10),
        transitions=Transitions(
            interval_ns=33_333_333,
            matrix=tuple(tuple(third if i == j else 2 * third / 7 for j in range(8)) for i in range(8)),
            prior=(0.125,) * 8,
            changes=3,
            seconds=third,
        ),
    )
    edit(bundle_path, decision=decision.model_dump(mode="json"))
    assert load_bundle(bundle_path).manifest.decision == decision
    assert load_bundle(bundle_path).manifest.schema_version == 2


def test_transitions_of_other_behaviours_are_refused(bundle_path: Path) -> None:
    two = {"interval_ns": 1, "matrix": [[0.5, 0.5]] * 2, "prior": [0.5, 0.5], "changes": 1, "seconds": 1.0}
    edit(bundle_path, decision={"transitions": two})
    with pytest.raises(BundleError, match="transitions of 2 behaviours, the ethogram has 8"):
        load_bundle(bundle_path)


def test_an_unknown_key_is_refused(bundle_path: Path) -> None:
    edit(bundle_path, fushion={})
    with pytest.raises(BundleError, match="fushion"):
        load_bundle(bundle_path)


def test_a_file_outside_the_bundle_is_refused(bundle_path: Path) -> None:
    files = json.loads((bundle_path / "manifest.json").read_text())["files"]
    edit(bundle_path, files={**files, "../secret": "0" * 64})
    with pytest.raises(BundleError):
        load_bundle(bundle_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00\x01"])
def test_a_manifest_that_is_no_manifest(bundle_path: Path, content: str) -> None:
    (bundle_path / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(bundle_path)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="toolkit export"):
        load_bundle(tmp_path)


def test_inputs_and_fusion_must_name_the_same_streams() -> None:
    with pytest.raises(ValidationError, match="must name the same"):
        manifest(fusion=fusion_for(("rgb",)))


def test_the_identity_changes_with_the_manifest(bundle_path: Path) -> None:
    before = load_bundle(bundle_path).sha256
    edit(bundle_path, name="other")
    assert load_bundle(bundle_path).sha256 != before
