"""Training configurations: what is refused and what is filled in."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from toolkit.errors import ConfigError
from toolkit.train.config import TrainConfig, differing_keys, read_train_config, train_config


def test_defaults_are_the_papers() -> None:
    config = TrainConfig()
    assert (config.architecture, config.resize_px, config.crop_px) == ("i3d", 255, 224)
    assert (config.momentum, config.learning_rate, config.final_learning_rate) == (0.9, 1e-3, 5e-5)
    assert config.dropout == pytest.approx(1 - 0.36)
    assert (config.weight_decay, config.optimiser, config.sampling) == (7e-7, "sgd", "clip")
    assert (config.geometry.width, config.geometry.height, config.clip.frames) == (320, 240, 16)


def test_every_field_is_documented() -> None:
    import ast
    import inspect

    body = ast.parse(inspect.getsource(TrainConfig)).body[0].body  # type: ignore[attr-defined]
    for field, following in pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(following, ast.Expr), ast.unparse(field.target)


def test_every_fault_is_named_at_once() -> None:
    values = {"epoch": 3, "batch": 0, "geometry": {"widht": 3}, "dropout": "much"}
    with pytest.raises(ConfigError) as caught:
        train_config(values, "train.toml")
    message = str(caught.value)
    for part in ("train.toml", "epoch: unknown key", "batch:", "geometry.widht: unknown key", "width", "dropout:"):
        assert part in message


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"architecture": "i4d"}, "r2plus1d-18"),
        ({"streams": ["flow", "rgb"]}, "streams must be"),
        ({"learning_rate": 1e-5}, "final_learning_rate"),
        ({"resize": 100}, "crop"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(values: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        train_config(values)


def test_a_file_is_toml_with_the_fields_as_keys(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text('architecture = "r2plus1d-18"\nbatch = 3\n[geometry]\nfps = 25\n')
    config = read_train_config(path)
    assert (config.architecture, config.batch, config.geometry.fps) == ("r2plus1d-18", 3, 25.0)
    path.write_text("architecture = ")
    with pytest.raises(ConfigError, match="not TOML"):
        read_train_config(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_train_config(tmp_path / "absent.toml")


def test_differing_keys_are_named() -> None:
    assert differing_keys(TrainConfig(), TrainConfig()) == []
    assert differing_keys(TrainConfig(batch=3), TrainConfig()) == ["batch: 3, not 6"]
