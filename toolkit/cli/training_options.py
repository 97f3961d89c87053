"""Options of the commands that train, and the configuration that they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli.options import one_of, whole_numbers
from toolkit.preprocess import STREAMS
from toolkit.terminal import print_warning

if TYPE_CHECKING:
    from toolkit.annotations import AnnotatedDataset
    from toolkit.train.config import TrainConfig

DatasetFolder = Annotated[Path, typer.Argument(help="Data set: videos and annotations.csv, or BEHAVIOUR/VIDEO_*.*")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file of training settings; the options below override it.")
]
Architecture = Annotated[
    str | None, typer.Option(help="i3d, r2plus1d-18, r2plus1d-34 or r2plus1d-small. (default: i3d)")
]
StreamChoice = Annotated[str | None, typer.Option("--stream", help="rgb, flow or both. (default: both)")]
FlowSet = Annotated[str | None, typer.Option("--flow-parameters", help="paper or fast. (default: paper)")]
FlowBy = Annotated[
    str | None, typer.Option("--flow", help="What computes flow: auto, cuda, cpu or opencv. (default: auto)")
]
WorkingSize = Annotated[
    str | None, typer.Option("--working-size", help="WIDTHxHEIGHT in px before flow. (default: 320x240)")
]
Fps = Annotated[float | None, typer.Option(help="Frames per second of clips. (default: 30)")]
Roi = Annotated[str | None, typer.Option(help="Region of interest in the videos: X,Y,WIDTH,HEIGHT in px.")]
Aspect = Annotated[str | None, typer.Option(help="Other shapes of picture: refuse, stretch, pad. (default: refuse)")]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Recipe for what nothing else says: paper (the authors' schedule) or modern (AdamW, cosine, balanced, "
        "averaged weights). (default: modern)"
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--pretrained",
        help="Published weights to start from, for every stream or as STREAM=...: a name of `toolkit weights list`, or "
        "a file. (default: random weights)",
    ),
]
HeadChoice = Annotated[
    str | None,
    typer.Option("--head", help="The published classifier is replaced, or stacked under ours. (default: replaced)"),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training samples. (default: the recipe's)")]
Batch = Annotated[int | None, typer.Option(help="Clips per step. (default: the recipe's)")]
Amp = Annotated[
    str | None,
    typer.Option(help="Mixed precision: off, auto (where the GPU has it), bf16 or fp16. (default: the recipe's)"),
]
Deterministic = Annotated[
    bool | None,
    typer.Option("--deterministic/--no-deterministic", help="Repeatable GPU kernels where torch has them, slower."),
]
Loaders = Annotated[
    int, typer.Option(min=0, help="Processes that make clips ahead of the network; 0: none. (8 for a GPU)")
]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, samples, crops and flips. (default: 0)")]
Group = Annotated[
    str | None,
    typer.Option(help="Regular expression with one group: videos in which it matches the same are held out together."),
]
Behaviours = Annotated[str | None, typer.Option(help="The ethogram, comma-separated, in order.")]


def annotated_dataset(folder: Path, behaviours: str | None, group: str | None) -> AnnotatedDataset:
    from toolkit.annotations import load_dataset

    names = [name.strip() for name in behaviours.split(",")] if behaviours else None
    dataset = load_dataset(folder, behaviours=names, group_pattern=group)
    if dataset.skipped:
        print_warning(
            f"{len(dataset.skipped)} files or events of {folder} are left out: {'; '.join(dataset.skipped[:5])}"
        )
    return dataset


def training_settings(options: dict[str, Any]) -> TrainConfig:
    """Return the configuration file's settings, and over them the options, by the names of their parameters."""
    from toolkit.flow.select import FLOW_CHOICES, why_not_fast
    from toolkit.train.config import read_train_config, read_values, train_config
    from toolkit.train.presets import DEFAULT_PRESET

    values: dict[str, Any] = {"preset": DEFAULT_PRESET}
    if options["config"]:
        # By itself first, so that a fault is the file's.
        read_train_config(options["config"])
        values |= read_values(options["config"])
    for key in ("architecture", "preset", "epochs", "batch", "seed", "amp", "deterministic", "inner_validation"):
        if options.get(key) is not None:
            values[key] = options[key]
            for settings in values.get("per_stream", {}).values():
                settings.pop(key, None)
    if options["flow_parameters"] is not None:
        values["flow"] = options["flow_parameters"]
    if options["flow"] is not None:
        values["flow_by"] = one_of("--flow", options["flow"], FLOW_CHOICES)
    if options.get("stream") is not None:
        choice = one_of("--stream", options["stream"], ("rgb", "flow", "both"))
        values["streams"] = ("rgb", "flow") if choice == "both" else (choice,)
    if options.get("head") is not None:
        values["head"] = one_of("--head", options["head"], ("replaced", "stacked"))
    for source in options.get("pretrained") or ():
        name, _, path = source.partition("=")
        named = name in ("rgb", "flow") and path
        streams = (name,) if named else tuple(values.get("streams", STREAMS))
        values.setdefault("pretrained", {}).update(dict.fromkeys(streams, path if named else source))
    for key in ("fps", "aspect"):
        if options[key] is not None:
            values.setdefault("geometry", {})[key] = options[key]
    if options["working_size"] is not None:
        width, height = whole_numbers("--working-size", options["working_size"].replace("x", ","), 2)
        values.setdefault("geometry", {}).update(width=width, height=height)
    if options["roi"] is not None:
        values.setdefault("geometry", {})["roi"] = whole_numbers("--roi", options["roi"], 4)
    settings = train_config(values, "training settings")
    parameters = settings.recipe().parameters
    if parameters and (reason := why_not_fast(settings.flow_by, parameters)):
        print_warning(reason)
    return settings
