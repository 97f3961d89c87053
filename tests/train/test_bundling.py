"""`toolkit export`: a run becomes a bundle that says where it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolkit.annotations import AnnotatedDataset
from toolkit.bundle import load_bundle
from toolkit.errors import BundleError, ConfigError
from toolkit.flow import OpenCvFlow
from toolkit.flow.cpu import CpuFlow
from toolkit.fusion import Fusion
from toolkit.train import CrossValidation, cross_validate, export_run, train
from toolkit.train.config import TrainConfig


@pytest.fixture(scope="module")
def short(config: TrainConfig) -> TrainConfig:
    return config.model_copy(update={"clips_per_epoch": 8, "evaluation_stride": 12})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, squares: AnnotatedDataset, short: TrainConfig) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    train(squares, short, folder, workers=0)
    return folder


@pytest.fixture(scope="module")
def crossval(
    tmp_path_factory: pytest.TempPathFactory, squares: AnnotatedDataset, short: TrainConfig
) -> CrossValidation:
    return cross_validate(squares, short, tmp_path_factory.mktemp("export") / "cv", workers=0)


def test_a_bundle_holds_the_run(
    run: Path, crossval: CrossValidation, squares: AnnotatedDataset, short: TrainConfig, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    export_run(
        run,
        tmp_path / "mouse",
        crossval=crossval.folder,
        on_progress=lambda progress: seen.append((progress.done, progress.total)),
    )
    manifest = load_bundle(tmp_path / "mouse").manifest
    assert manifest.name == "mouse"
    assert manifest.scores == crossval.scores()
    assert manifest.ethogram == squares.ethogram
    assert manifest.fusion == crossval.evaluation.chosen.fusion
    assert manifest.fusion.temperature != 1
    assert manifest.geometry == short.geometry
    assert manifest.provenance.videos == 3
    assert manifest.decision is not None
    chosen = manifest.decision.chosen
    assert chosen is not None
    kept = ("smoothing_s", "min_bout_s", "uncertain_below", "frames")
    assert chosen.model_dump() == crossval.evaluation.chosen.model_dump(include=set(kept))
    assert manifest.decision.transitions is not None
    assert (manifest.decision.transitions.changes, manifest.decision.without_transitions) == (9, "")
    assert manifest.provenance.runs == {"rgb": "run/rgb", "flow": "run/flow"}
    golden = load_bundle(tmp_path / "mouse").golden()
    assert np.bincount([clip.behaviour for clip in golden]).tolist() == [2, 2, 2, 2]
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_without_a_cross_validation_of_its_streams_the_fusion_is_the_papers(
    run: Path, crossval: CrossValidation, squares: AnnotatedDataset, short: TrainConfig, tmp_path: Path
) -> None:
    export_run(run, tmp_path / "mouse")
    manifest = load_bundle(tmp_path / "mouse").manifest
    assert manifest.fusion == Fusion(weights={"rgb": 0.4, "flow": 0.6})
    assert manifest.decision is not None
    assert manifest.decision.chosen is None
    train(squares, short.model_copy(update={"streams": ("rgb",)}), tmp_path / "one", workers=0)
    export_run(tmp_path / "one", tmp_path / "half", crossval=crossval.folder)
    half = load_bundle(tmp_path / "half").manifest
    assert half.fusion == Fusion(weights={"rgb": 1.0})
    assert half.decision is not None
    assert half.decision.chosen is None


def test_a_cross_validation_without_inner_validation_is_of_the_same_networks(
    run: Path, squares: AnnotatedDataset, short: TrainConfig, tmp_path: Path
) -> None:
    without = short.model_copy(update={"inner_validation": False, "evaluation_stride": 24})
    crossval = cross_validate(squares, without, tmp_path / "cv", workers=0)
    export_run(run, tmp_path / "mouse", crossval=crossval.folder)
    manifest = load_bundle(tmp_path / "mouse").manifest
    assert manifest.scores == crossval.scores()
    assert manifest.fusion == crossval.evaluation.chosen.fusion


def test_scores_of_other_networks_are_refused(
    crossval: CrossValidation, squares: AnnotatedDataset, short: TrainConfig, tmp_path: Path
) -> None:
    train(squares, short.model_copy(update={"batch": 8, "streams": ("rgb",)}), tmp_path / "run", workers=0)
    with pytest.raises(ConfigError, match=r"trained otherwise(.|\n)*rgb: batch: 8, not 4"):
        export_run(tmp_path / "run", tmp_path / "bundle", crossval=crossval.folder)
    assert not (tmp_path / "bundle").exists()


def test_flow_of_another_implementation_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flow in (CpuFlow, OpenCvFlow):
        monkeypatch.setattr(flow, "implementation", property(lambda _: "opencv-3.0"))
    with pytest.raises(BundleError, match=r"trained on flow by .*this machine has opencv-3\.0"):
        export_run(run, tmp_path / "bundle")
