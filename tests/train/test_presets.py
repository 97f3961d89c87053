"""The paper's recipe against the numbers of the authors' code, and against what a configuration says itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolkit.annotations import AnnotatedDataset
from toolkit.cli.training_options import training_settings
from toolkit.errors import ConfigError
from toolkit.train import train
from toolkit.train.config import TrainConfig, read_train_config, train_config
from toolkit.train.dataset import PreparedDataset, fill_training_clip, prepare_dataset
from toolkit.train.optimisation import learning_rate_factor
from toolkit.train.run_folder import load_run

Stream = str


def rate(config: TrainConfig, stream: Stream, step: int) -> float:
    settings = config.of(stream)  # type: ignore[arg-type]
    return settings.learning_rate * learning_rate_factor(step, 100_000, settings)


@pytest.mark.parametrize(
    ("architecture", "stream", "batch", "epochs"),
    [("i3d", "rgb", 6, 90), ("i3d", "flow", 6, 90), ("r2plus1d-34", "rgb", 3, 20), ("r2plus1d-34", "flow", 3, 45)],
)
def test_batches_and_epochs(architecture: str, stream: Stream, batch: int, epochs: int) -> None:
    settings = train_config({"preset": "paper", "architecture": architecture}).of(stream)  # type: ignore[arg-type]
    assert (settings.batch, settings.epochs) == (batch, epochs)
    assert (settings.optimiser, settings.momentum, settings.dropout, settings.weight_decay) == ("sgd", 0.9, 0.64, 7e-7)


def test_i3d_s_learning_rates() -> None:
    config = train_config({"preset": "paper"})
    thousands = {0: 1e-3, 9.999: 1e-3, 10: 8e-4, 20: 5e-4, 30: 3e-4, 40: 1e-4, 49.999: 1e-4, 50: 5e-5, 90: 5e-5}
    for thousand, wanted in thousands.items():
        assert rate(config, "flow", round(1000 * thousand)) == pytest.approx(wanted)
        assert rate(config, "rgb", round(1000 * thousand)) == pytest.approx(wanted / 10)


def test_r2plus1d_s_learning_rates() -> None:
    config = train_config({"preset": "paper", "architecture": "r2plus1d-18"})
    changes: dict[str, list[int]] = {}
    for stream in ("rgb", "flow"):
        rates = [rate(config, stream, step) for step in range(0, 45_000, 100)]
        changes[stream] = [100 * i for i in range(1, len(rates)) if rates[i] != rates[i - 1]]
    assert changes == {"rgb": [900, 1500, 2000, 2500, 3000], "flow": [20_000, 30_000, 35_000, 40_000]}
    for stream in ("rgb", "flow"):
        assert rate(config, stream, 0) == pytest.approx(1e-3)
        assert rate(config, stream, 44_999) == pytest.approx(5e-5)


def test_the_published_head_is_kept_where_there_is_one() -> None:
    weights = {"rgb": "a.pt", "flow": "b.pt"}
    assert train_config({"preset": "paper", "pretrained": weights}).head == "stacked"
    assert train_config({"preset": "paper", "pretrained": weights, "head": "replaced"}).head == "replaced"
    assert train_config({"preset": "paper"}).head == "replaced"


def test_what_a_configuration_says_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "paper"\nepochs = 7\n[per_stream.flow]\nepochs = 9\n')
    config = read_train_config(path)
    assert (config.of("rgb").epochs, config.of("flow").epochs, config.of("flow").batch) == (7, 9, 6)


def options(**given: object) -> dict[str, object]:
    names = "config architecture preset stream flow_parameters flow working_size fps roi aspect pretrained head epochs"
    return dict.fromkeys([*names.split(), "batch", "seed"]) | given


def test_an_option_comes_before_the_file_and_its_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "paper"\nseed = 4\n')
    config = training_settings(options(config=path, epochs=2, pretrained=["rgb=a.pt"]))
    assert (config.of("flow").epochs, config.of("flow").batch, config.seed) == (2, 6, 4)
    assert config.pretrained == {"rgb": "a.pt"}
    path.write_text("epochs = 3\n")
    config = training_settings(options(config=path, preset="paper", architecture="r2plus1d-18"))
    assert (config.of("flow").epochs, config.of("flow").batch) == (3, 3)


def test_without_a_word_the_recipe_is_the_default(tmp_path: Path) -> None:
    assert training_settings(options()) == train_config({"preset": "modern"})
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 3\n")
    assert training_settings(options(config=path)) == train_config({"preset": "modern", "epochs": 3})
    path.write_text("wrong = 3\n")
    with pytest.raises(ConfigError, match=r"mine\.toml(.|\n)*wrong"):
        training_settings(options(config=path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "best"}, "expected paper, modern; found 'best'"),
        ({"per_stream": {"rgb": {"dropout": 0.1}}}, "expected any of epochs, batch"),
        ({"per_stream": {"rgb": {"epochs": 0}}}, "greater than or equal to 1"),
        ({"learning_rate_steps": [[20, 1e-3], [10, 1e-4]]}, "must rise in steps"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_config(values)


def test_streams_are_trained_by_their_own_settings(
    squares: AnnotatedDataset, config: TrainConfig, tmp_path: Path
) -> None:
    values = config.model_dump() | {"clips_per_epoch": 4, "batch": 4, "epochs": 2, "per_stream": {"rgb": {"epochs": 1}}}
    train(squares, train_config(values), tmp_path / "run")
    streams = load_run(tmp_path / "run").streams
    assert {stream: trained.config.epochs for stream, trained in streams.items()} == {"rgb": 1, "flow": 2}
    assert len((tmp_path / "run" / "rgb" / "metrics.csv").read_text().splitlines()) == 2


@pytest.fixture(scope="module")
def data(squares: AnnotatedDataset, config: TrainConfig) -> PreparedDataset:
    return prepare_dataset(squares, config, workers=0)


def test_a_flip_negates_flow_unless_it_is_done_as_published(data: PreparedDataset, config: TrainConfig) -> None:
    def clip(**update: object) -> np.ndarray:
        settings = config.model_copy(update={"resize": 16, "crop": 16, **update})
        out = np.empty((2, 16, 16, 16), np.float32)
        fill_training_clip(data.videos[0], 20, settings.stream_input("flow"), settings, np.random.default_rng(0), out)
        return out

    plain, negated = clip(flip=0.0), clip(flip=1.0)
    published = clip(flip=1.0, flip_flow="as-published")
    assert np.abs(plain[0]).max() > 0
    assert np.array_equal(published, plain[..., ::-1])
    assert np.array_equal(negated[0], -plain[0, ..., ::-1])
    assert np.array_equal(negated[1], plain[1, ..., ::-1])
