"""Parity as behaviour: the scores of a labelled data set by both, against scikit-learn and a hand-made network."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score
from typer.testing import CliRunner

from tests.conftest import WriteVideo
from toolkit.bundle import Bundle
from toolkit.cli import app
from toolkit.engine.build import build_engines
from toolkit.engine.contract import Backend
from toolkit.engine.host import HostNetworks
from toolkit.engine.onnxruntime import OnnxRuntimeBackend
from toolkit.engine.select import open_backends
from toolkit.engine.sidecar import engines_folder, read_sidecar
from toolkit.engine.validation import BehaviourParity, Validation, validate
from toolkit.errors import AnnotationError, DatasetError, EngineError
from toolkit.flow import PARAMETER_SETS, OpenCvFlow
from toolkit.frames import read_frames
from toolkit.pipeline import CentreLogits, Pipeline

from .tiny import CLIP, FunctionBackend, moving_frames, resealed

NAMES = ("drink", "eat", "groom", "hang", "micro-movement", "rear", "rest", "walk")
FRAMES = 40
# Frames 3..38 have two before them and the one before those, which flow needs, and one after them.
CENTRES = range(CLIP.before + 1, FRAMES - CLIP.after)


class Lively(OnnxRuntimeBackend):
    """The float32 graph with its differences enlarged: the tiny networks would say one behaviour throughout."""

    usual: ClassVar[dict[str, NDArray[np.float32]]] = {}

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        return 1000 * (super().infer(clips) - self.usual[self._path.name])


@pytest.fixture(autouse=True)
def lively(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the float32 graph that engines are compared with be lively."""
    golden = bundle.golden()
    for stream in ("rgb", "flow"):
        Lively.usual[f"{stream}.fp32.onnx"] = np.mean([clip.logits[stream] for clip in golden], axis=0)
    monkeypatch.setattr("toolkit.engine.validation.OnnxRuntimeBackend", Lively)


@pytest.fixture
def dataset(tmp_path: Path, write_video: WriteVideo) -> Path:
    """Return a data set of two videos: frames 0..29 of each are labelled, in three behaviours."""
    rows = ["video,start_frame,stop_frame,behaviour"]
    for video, behaviours in (("a.mp4", ("rest", "walk", "eat")), ("b.mp4", ("walk", "hang", "rest"))):
        frames = np.concatenate([moving_frames(20, shift, seed=shift) for shift in (1, 3)])[:, ::2, ::2]
        write_video(f"data/{video}", np.ascontiguousarray(frames))
        rows += [f"{video},{10 * place},{10 * place + 10},{name}" for place, name in enumerate(behaviours)]
    (tmp_path / "data" / "annotations.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "data"


def truths() -> list[str]:
    """Return the label of every labelled frame that has a whole clip, by hand."""
    return ["rest"] * 7 + ["walk"] * 10 + ["eat"] * 10 + ["walk"] * 7 + ["hang"] * 10 + ["rest"] * 10


def both(bundle: Bundle) -> dict[str, Backend]:
    return {stream: Lively(bundle.onnx_path(stream, "fp32")) for stream in ("rgb", "flow")}


def entered(bundle: Bundle) -> dict[str, Backend]:
    return {stream: backend.__enter__() for stream, backend in both(bundle).items()}


def altered(bundle: Bundle, change: Callable[[int, NDArray[np.float32]], NDArray[np.float32]]) -> dict[str, Backend]:
    """Return backends whose logits of the n-th clip are changed, both streams alike."""
    backends: dict[str, Backend] = {}
    for stream, backend in entered(bundle).items():
        seen: list[int] = []

        def infer(
            clips: NDArray[np.float32], backend: Backend = backend, seen: list[int] = seen
        ) -> NDArray[np.float32]:
            seen.append(0)
            return change(len(seen) - 1, backend.infer(clips).copy())

        backends[stream] = FunctionBackend(infer)
    return backends


def label_of(bundle: Bundle, result: CentreLogits) -> str:
    return NAMES[int(bundle.manifest.fusion.probabilities(result.logits).argmax())]


def said(bundle: Bundle, dataset: Path) -> list[str]:
    """Return what the float32 graphs say of every frame with a label and a whole clip, by the cage's pipeline."""
    labels = []
    for video in ("a.mp4", "b.mp4"):
        networks = HostNetworks(bundle.manifest, OpenCvFlow(PARAMETER_SETS["fast"]), both(bundle))
        with networks:
            pipeline = Pipeline(bundle.manifest, networks, source_fps=30)
            results = [r for frame in read_frames(dataset / video) for r in pipeline.push(frame)]
        for result in results:
            if result.index in CENTRES and result.index < 30:
                labels.append(label_of(bundle, result))
    return labels


def measured(bundle: Bundle, dataset: Path, backends: dict[str, Backend], stride: int | None = 1) -> BehaviourParity:
    estimator = OpenCvFlow(PARAMETER_SETS["fast"])
    return validate(bundle, backends, Validation(dataset, stride), estimator=estimator)


def test_scores_are_scikit_learns_of_what_the_cage_would_say(bundle: Bundle, dataset: Path) -> None:
    def change(index: int, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        # Every fifth clip becomes "rest".
        return logits if index % 5 else np.eye(8, dtype=np.float32)[[6]] * 99

    parity = measured(bundle, dataset, altered(bundle, change))
    truth, reference = truths(), said(bundle, dataset)
    assert len(set(reference)) > 2
    engine = [label if index % 5 else "rest" for index, label in enumerate(reference)]
    assert parity.clips == len(truth) == len(reference)
    assert parity.labels_changed == sum(a != b for a, b in zip(reference, engine, strict=True)) > 0
    for labels, side in ((reference, "reference"), (engine, "engine")):
        assert getattr(parity.accuracy, side) == pytest.approx(accuracy_score(truth, labels), abs=1e-6)
        assert getattr(parity.kappa, side) == pytest.approx(cohen_kappa_score(truth, labels), abs=1e-6)
        present = sorted(set(truth))
        expected = f1_score(truth, labels, labels=present, average=None, zero_division=0)
        for name, value in zip(present, expected, strict=True):
            assert getattr(parity.f1[name], side) == pytest.approx(value, abs=1e-6)
        assert getattr(parity.macro_f1, side) == pytest.approx(expected.mean(), abs=1e-6)
        assert getattr(parity.f1["drink"], side) is None


def test_the_same_graph_changes_nothing(bundle: Bundle, dataset: Path) -> None:
    parity = measured(bundle, dataset, entered(bundle))
    assert parity.labels_changed == 0
    assert parity.faults(bundle.manifest) == []
    assert parity.lines()[0] == "data: 0 of 54 labels changed"


def test_a_stride_takes_every_nth_through_all_videos(bundle: Bundle, dataset: Path) -> None:
    every = measured(bundle, dataset, entered(bundle), stride=5)
    assert (every.clips, every.stride) == (math.ceil(54 / 5), 5)
    # 54 labelled frames are fewer than are taken by default.
    assert measured(bundle, dataset, entered(bundle), stride=None).stride == 1


def test_a_faster_video_is_decimated_as_in_the_cage(bundle: Bundle, tmp_path: Path, write_video: WriteVideo) -> None:
    frames = np.concatenate([moving_frames(20, shift, seed=shift) for shift in (1, 3)])[:, ::2, ::2]
    video = write_video("fast/a.mp4", np.ascontiguousarray(frames), fps=60)
    networks = HostNetworks(bundle.manifest, OpenCvFlow(PARAMETER_SETS["fast"]), both(bundle))
    with networks:
        pipeline = Pipeline(bundle.manifest, networks, source_fps=60)
        results = [result for frame in read_frames(video) for result in pipeline.push(frame)]
    # The first frame has no predecessor, so the first whole clip is one later than the pipeline's.
    expected = [result for result in results if not result.padded][1:]
    assert [result.index for result in expected] == list(range(6, 38, 2))
    rows = [f"a.mp4,{result.index},{result.index + 1},{label_of(bundle, result)}" for result in expected]
    (video.parent / "annotations.csv").write_text("\n".join(["video,start_frame,stop_frame,behaviour", *rows]) + "\n")
    parity = measured(bundle, video.parent, entered(bundle))
    assert (parity.clips, parity.accuracy.reference) == (len(expected), 1.0)


def test_limits_are_the_bundles_and_the_behaviours_are_named(bundle: Bundle, dataset: Path) -> None:
    def right(index: int, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.eye(8, dtype=np.float32)[[NAMES.index(truths()[index])]] * 99

    strict = resealed(bundle, lambda manifest: manifest["parity"].update(max_macro_f1_drop=0.01, max_kappa_drop=1.0))
    reference = measured(strict, dataset, altered(strict, right))
    assert reference.accuracy.engine == 1
    assert reference.faults(strict.manifest) == [], "an engine that is better is not refused"
    worse = reference.model_copy(
        update={
            "macro_f1": reference.macro_f1.model_copy(update={"reference": 0.9, "engine": 0.85}),
            "kappa": reference.kappa.model_copy(update={"reference": 0.9, "engine": 0.5}),
            "f1": {"rest": reference.kappa.model_copy(update={"reference": 0.9, "engine": 0.7})},
        }
    )
    assert worse.faults(strict.manifest) == [
        "data: macro F1 falls by 0.05, the bundle allows 0.01 (0.8500, float32 0.9000)",
        "behaviours that suffer: F1 of rest: 0.7000, float32 0.9000",
    ]


def test_the_report_goes_into_the_sidecar(bundle: Bundle, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[str] = []
    monkeypatch.setattr("toolkit.engine.validation.OnnxRuntimeBackend", OnnxRuntimeBackend)
    build_engines(
        bundle,
        engine="onnxruntime",
        validation=Validation(dataset, 9),
        on_progress=lambda progress: stages.append(progress.stage),
    )
    assert "validate" in stages
    parity = read_sidecar(engines_folder(bundle) / "onnxruntime-fp32" / "rgb.json").parity
    assert parity is not None
    assert parity.behaviour is not None
    assert parity.behaviour.clips == 6
    assert "data: 0 of 6 labels changed" in parity.lines()
    assert set(open_backends(bundle, engine="onnxruntime")) == {"rgb", "flow"}


def test_an_engine_that_behaves_otherwise_is_not_installed(
    bundle: Bundle, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The truth is what the float32 graph says; the engine says the opposite, and the golden sample allows anything."""

    class Opposite(Lively):
        def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
            return -super().infer(clips)

    lax = resealed(bundle, lambda manifest: manifest["parity"].update(max_logit_error=1e6, max_label_flips=99))
    labels = said(lax, dataset)
    rows = ["video,start_frame,stop_frame,behaviour"]
    for video, part in (("a.mp4", labels[:27]), ("b.mp4", labels[27:])):
        rows += [f"{video},{CENTRES[0] + place},{CENTRES[0] + place + 1},{name}" for place, name in enumerate(part)]
    (dataset / "annotations.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr("toolkit.engine.select.OnnxRuntimeBackend", Lively)
    build_engines(lax, engine="onnxruntime", validation=Validation(dataset))
    before = (engines_folder(lax) / "onnxruntime-fp32" / "rgb.json").read_bytes()
    monkeypatch.setattr("toolkit.engine.select.OnnxRuntimeBackend", Opposite)
    with pytest.raises(EngineError) as info:
        build_engines(lax, engine="onnxruntime", validation=Validation(dataset))
    message = str(info.value)
    assert "tiny: the engine behaves otherwise than the float32 graph and is not installed:" in message
    assert "data: macro F1 falls by 1, the bundle allows 0.02 (0.0000, float32 1.0000)" in message
    assert len(set(labels)) > 1
    assert "kappa falls by" in message
    for name in set(labels):
        assert f"F1 of {name}: 0.0000, float32 1.0000" in message
    assert (engines_folder(lax) / "onnxruntime-fp32" / "rgb.json").read_bytes() == before


def test_a_data_set_of_other_behaviours_is_refused(bundle: Bundle, dataset: Path) -> None:
    table = dataset / "annotations.csv"
    table.write_text(table.read_text().replace("hang", "juggle"))
    with pytest.raises(AnnotationError, match="juggle"):
        measured(bundle, dataset, entered(bundle))


def test_a_data_set_without_a_whole_clip_is_refused(bundle: Bundle, dataset: Path) -> None:
    (dataset / "annotations.csv").write_text("video,start_frame,stop_frame,behaviour\na.mp4,0,2,rest\n")
    with pytest.raises(DatasetError, match="no labelled frame has 3 frames before it and 1 after it"):
        measured(bundle, dataset, entered(bundle))


def test_the_command_shows_both_scores(bundle: Bundle, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.engine.validation.OnnxRuntimeBackend", OnnxRuntimeBackend)
    arguments = ["build-engine", str(bundle.path), "--engine", "onnxruntime", "--validate", str(dataset)]
    result = CliRunner().invoke(app, [*arguments, "--validate-stride", "9"])
    assert result.exit_code == 0, result.output
    assert "data: 0 of 6 labels changed" in result.output
    assert "F1 of walk: " in result.output
    assert "validate: 6 of 6" in result.output
