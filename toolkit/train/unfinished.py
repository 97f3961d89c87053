"""``RUN/<stream>.unfinished/``: a training that is going on, or was interrupted, and can go on where it was.

``config.json`` and ``split.json`` say what is trained on what, from the first moment; ``state.pt`` is replaced after
every epoch and holds all that the next one depends on. When the last epoch is done the folder becomes
``RUN/<stream>/``.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from toolkit.errors import ConfigError, InputError, raise_faults
from toolkit.files import atomic_write
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig, differing_keys
from toolkit.train.distributed import Processes, broadcast

CONFIG, SPLIT, STATE = "config.json", "split.json", "state.pt"

_FREE_KEYS = ("evaluation_stride", "evaluation_batch", "keep", "inner_validation")
"""Keys that change nothing in how a network is trained."""


def open_unfinished(
    run: Path,
    stream: Stream,
    config: TrainConfig,
    split: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    processes: Processes,
) -> tuple[Path, dict[str, Any] | None]:
    """Return a stream's folder, made if it is missing, and the state to go on from; None to begin.

    Parameters
    ----------
    split
        What ``split.json`` says: data set, ethogram, training, validation and held-out videos.
    resume
        Go on with an interrupted training. Where there is none, begin.
    overwrite
        Throw an interrupted training away.

    Raises
    ------
    InputError
        If there is an interrupted training and neither is asked for, or its state is damaged.
    ConfigError
        If it was begun with another configuration or data; every differing key is named.
    """
    folder = run / f"{stream}.unfinished"
    found = broadcast((folder / SPLIT).exists(), processes)
    if found and not resume and not overwrite:
        raise InputError(
            f"{folder} holds an interrupted training. Pass --resume to go on with it, or --overwrite to begin anew."
        )
    if found and resume:
        check_same(folder, config, split)
        return folder, _state(folder)
    if processes.is_first:
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_write(folder / CONFIG) as beside:
            beside.write_text(config.model_dump_json(indent=2) + "\n")
        with atomic_write(folder / SPLIT) as beside:
            beside.write_text(json.dumps(split, indent=2) + "\n")
    return folder, None


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain types: after a kill at any moment the file is the old one or the new one."""
    with atomic_write(path) as beside:
        torch.save(dict(content), beside)


def check_same(folder: Path, config: TrainConfig, split: Mapping[str, Any]) -> None:
    """Raise ConfigError, naming every difference, unless the folder's training is of this configuration and split."""
    try:
        begun = TrainConfig.model_validate_json((folder / CONFIG).read_text())
        found = json.loads((folder / SPLIT).read_text())
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{folder}: damaged ({error}). Pass --overwrite to begin this training anew.") from error
    faults = [fault for fault in differing_keys(config, begun) if fault.split(":")[0] not in _FREE_KEYS]
    for key in split:
        if found.get(key) != split[key]:
            faults.append(f"{key}: other than when the training began")
    raise_faults(
        ConfigError,
        f"{folder} was begun otherwise. Go on with what it was begun with, or pass --overwrite to begin anew",
        faults,
    )


def _state(folder: Path) -> dict[str, Any] | None:
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged ({reason}). Pass --overwrite to begin this training anew.") from error
    return state
