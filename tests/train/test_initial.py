"""Training from published weights: they arrive, their preprocessing is taken, and the run says where they came from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolkit.annotations import AnnotatedDataset
from toolkit.errors import ConfigError, InputError
from toolkit.files import sha256_of_file
from toolkit.train import train
from toolkit.train.config import TrainConfig, train_config
from toolkit.train.networks import build_network
from toolkit.train.run_folder import load_run

KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
"""As torchvision publishes them with its video networks."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of 400 classes in torchvision's layout."""
    path = tmp_path_factory.mktemp("published") / "weights.pt"
    torch.manual_seed(1)
    torch.save(build_network("r2plus1d-small", channels=3, classes=400).state_dict(), path)
    return path


def barely_trained(config: TrainConfig, published: Path, **more: object) -> TrainConfig:
    update = {"clips_per_epoch": 2, "batch": 2, "epochs": 1, "learning_rate": 1e-9, "final_learning_rate": 1e-9}
    values = config.model_dump() | update | {"pretrained": {"rgb": str(published), "flow": str(published)}} | more
    return train_config(values)


def test_a_run_starts_from_the_weights_and_their_preprocessing(
    squares: AnnotatedDataset, config: TrainConfig, published: Path, tmp_path: Path
) -> None:
    train(squares, barely_trained(config, published), tmp_path / "run")
    run = load_run(tmp_path / "run")
    given = torch.load(published, weights_only=True)
    kernel = given["stem.0.weight"]
    rgb, flow = (run.networks[stream].state_dict() for stream in ("rgb", "flow"))
    torch.testing.assert_close(rgb["stem.0.weight"], kernel, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        flow["stem.0.weight"], kernel.mean(1, keepdim=True).repeat(1, 2, 1, 1, 1), atol=1e-6, rtol=0
    )
    assert rgb["fc.weight"].shape[0] == 4
    # What was trained does not need the file any more to know its input.
    assert run.config.mean == pytest.approx(KINETICS_MEAN)
    assert run.config.stream_input("rgb").scale == pytest.approx([1 / (255 * s) for s in KINETICS_STD])
    provenance = run.streams["flow"].provenance.pretrained
    assert provenance is not None
    assert provenance.sha256 == sha256_of_file(published)
    assert any("fc.weight" in left for left in provenance.left)
    assert any("averaged over colour" in note for note in provenance.notes)


def test_what_the_configuration_says_of_preprocessing_stays(
    squares: AnnotatedDataset, config: TrainConfig, published: Path, tmp_path: Path
) -> None:
    own = barely_trained(config, published, mean=(0.1, 0.2, 0.3), streams=("rgb",))
    train(squares, own, tmp_path / "run")
    trained = load_run(tmp_path / "run").config
    assert trained.mean == (0.1, 0.2, 0.3)
    assert trained.std == pytest.approx(KINETICS_STD)


def test_a_stacked_classifier_keeps_the_published_one_and_is_read_again(
    squares: AnnotatedDataset, config: TrainConfig, published: Path, tmp_path: Path
) -> None:
    train(squares, barely_trained(config, published, head="stacked", streams=("rgb",)), tmp_path / "run")
    state = load_run(tmp_path / "run").networks["rgb"].state_dict()
    given = torch.load(published, weights_only=True)
    torch.testing.assert_close(state["network.fc.weight"], given["fc.weight"], atol=1e-6, rtol=0)
    assert state["dense.weight"].shape == (4, 400)


def test_weights_of_another_network_end_before_anything_is_written(
    squares: AnnotatedDataset, config: TrainConfig, published: Path, tmp_path: Path
) -> None:
    other = barely_trained(config, published, architecture="r2plus1d-18", resize=20, crop=16)
    with pytest.raises(InputError, match="weights of r2plus1d-small, but the network is r2plus1d-18"):
        train(squares, other, tmp_path / "run")
    assert not (tmp_path / "run" / "rgb").exists()


def test_a_stacked_head_needs_weights() -> None:
    with pytest.raises(ConfigError, match="name pretrained weights for every stream"):
        train_config({"head": "stacked", "pretrained": {"rgb": "somewhere.pt"}})
