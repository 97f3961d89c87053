"""Options that several commands share, and the reading of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.errors import ConfigError, raise_faults
from toolkit.terminal import out

Workers = Annotated[int, typer.Option(min=1, help="Processes that decode videos and compute flow.")]
Store = Annotated[
    Path | None, typer.Option("--store", help="Folder of prepared videos. (default: .prepared in the data set's)")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
BundlePath = Annotated[Path, typer.Option("--bundle", help="Bundle folder.")]
EngineOption = Annotated[str, typer.Option("--engine", help="auto, tensorrt, openvino or onnxruntime.")]
FlowOption = Annotated[str, typer.Option("--flow", help="What computes flow: auto, cuda, cpu or opencv.")]


def one_of(option: str, value: str, choices: tuple[str, ...]) -> Any:
    raise_faults(
        ConfigError,
        "the command cannot be run",
        [] if value in choices else [f"{option}: expected {', '.join(choices)}; found {value!r}"],
    )
    return value


def whole_numbers(option: str, text: str, count: int) -> tuple[int, ...]:
    """Return `count` whole numbers of ``1,2,3``; ConfigError names `option`."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise ConfigError(f"{option}: expected {count} whole numbers, found {text!r}.")
    return numbers


def layers_by_stream(option: str, texts: list[str]) -> dict[Any, list[str]]:
    """Return the layers of ``STREAM:LAYER`` texts per stream; ConfigError names `option`."""
    layers: dict[Any, list[str]] = {}
    for text in texts:
        stream, _, layer = text.partition(":")
        if stream not in ("rgb", "flow") or not layer:
            raise ConfigError(f"{option}: expected rgb:LAYER or flow:LAYER, found {text!r}.")
        layers.setdefault(stream, []).append(layer)
    return layers


def print_lines(lines: list[str]) -> None:
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)
