"""Named training recipes; each fills in what a configuration does not say.

``paper`` is that of Nguyen et al. 2019, with what their code adds to the paper: section 2.4 gives momentum, dropout,
the range of the learning rate and the crops; the numbers of epochs and clips, the steps of the learning rate and the
two-layer head are in the code.

``modern`` is what became usual since: AdamW with warm-up and a cosine, behaviours drawn in equal shares, smoothed
labels, averaged weights, mixed precision where the GPU has it, and the best epoch by the validation groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolkit.errors import ConfigError
from toolkit.preprocess import STREAMS, Stream

PRESETS = ("paper", "modern")
DEFAULT_PRESET = "modern"
"""What `toolkit train` takes where neither a file nor an option names one (docs/decisions/0013)."""

_PAPER_FOR_ALL = {
    "optimiser": "sgd",
    "momentum": 0.9,
    "weight_decay": 7e-7,
    "dropout": 0.64,
    "sampling": "clip",
    "flip": 0.5,
    "schedule": "steps",
}


_MODERN = {
    "optimiser": "adamw",
    "momentum": 0.9,
    "weight_decay": 0.02,
    "learning_rate": 3e-4,
    "final_learning_rate": 1e-6,
    "schedule": "cosine",
    "warm_up": 0.1,
    "label_smoothing": 0.1,
    "ema": 0.999,
    "dropout": 0.5,
    "sampling": "balanced",
    "flip": 0.5,
    "amp": "auto",
    "memory_format": "channels-last",
    "keep": "best",
    "epochs": 30,
    "batch": 8,
}


def _steps(rates: tuple[float, ...], *starts: int) -> dict[str, Any]:
    return {"learning_rate": rates[0], "learning_rate_steps": tuple(zip(starts, rates[1:], strict=True))}


_RATES = (1e-3, 8e-4, 5e-4, 3e-4, 1e-4, 5e-5)
_PAPER: dict[str, dict[Stream, dict[str, Any]]] = {
    "i3d": {
        "rgb": {
            **{"batch": 6, "epochs": 90},
            **_steps(tuple(rate / 10 for rate in _RATES), 10_000, 20_000, 30_000, 40_000, 50_000),
        },
        "flow": {"batch": 6, "epochs": 90, **_steps(_RATES, 10_000, 20_000, 30_000, 40_000, 50_000)},
    },
    "r2plus1d": {
        "rgb": {"batch": 3, "epochs": 20, **_steps(_RATES, 900, 1500, 2000, 2500, 3000)},
        # Four steps between the paper's first and last rate; which rates lie between is our choice.
        "flow": {"batch": 3, "epochs": 45, **_steps((1e-3, 5e-4, 3e-4, 1e-4, 5e-5), 20_000, 30_000, 35_000, 40_000)},
    },
}


def with_preset(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's values with a recipe's where it says nothing.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset: expected {', '.join(PRESETS)}; found {name!r}.")
    return _paper(values) if name == "paper" else {**_MODERN, **values}


def _paper(values: Mapping[str, Any]) -> dict[str, Any]:
    architecture = str(values.get("architecture", "i3d"))
    family = "i3d" if architecture == "i3d" else "r2plus1d"
    # A published classifier to keep under ours is needed in every stream.
    weights = set(values.get("pretrained", ())) >= set(values.get("streams", STREAMS))
    head = {"head": "stacked"} if family == "i3d" and weights else {}
    given = values.get("per_stream", {})
    per_stream = {
        stream: {key: value for key, value in recipe.items() if key not in values} | given.get(stream, {})
        for stream, recipe in _PAPER[family].items()
    }
    return {**_PAPER_FOR_ALL, **head, **values, "per_stream": per_stream}
