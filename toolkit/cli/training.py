"""`toolkit train`, `crossval` and `export`: from annotated video to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.cli.options import Overwrite, Workers, one_of, print_lines, whole_numbers
from toolkit.terminal import out, print_warning, progress_bars

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
        "averaged weights). (default: none)"
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
Epochs = Annotated[int | None, typer.Option(help="Passes over the training samples. (default: 20)")]
Batch = Annotated[int | None, typer.Option(help="Clips per step. (default: 6)")]
Amp = Annotated[
    str | None, typer.Option(help="Mixed precision: off, auto (where the GPU has it), bf16 or fp16. (default: off)")
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


def train(
    dataset: DatasetFolder,
    run: Annotated[Path, typer.Option("--out", help="Run folder; must not exist.")],
    config: ConfigFile = None,
    architecture: Architecture = None,
    stream: StreamChoice = None,
    flow_parameters: FlowSet = None,
    flow: FlowBy = None,
    working_size: WorkingSize = None,
    fps: Fps = None,
    roi: Roi = None,
    aspect: Aspect = None,
    preset: Preset = None,
    pretrained: Weights = None,
    head: HeadChoice = None,
    epochs: Epochs = None,
    batch: Batch = None,
    amp: Amp = None,
    deterministic: Deterministic = None,
    seed: Seed = None,
    group: Group = None,
    behaviours: Behaviours = None,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Group that is not trained on but evaluated; may be repeated.")
    ] = None,
    validate: Annotated[
        list[str] | None,
        typer.Option(
            help="Group that is not trained on but predicted after each epoch, to choose the best; repeatable."
        ),
    ] = None,
    workers: Workers = 2,
    loaders: Loaders = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted training of the same settings; else begin.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune the networks of one stream or both, and write a run folder.

    An interrupted training goes on after its last whole epoch with --resume. On several GPUs or machines:
    [bold]torchrun --nproc-per-node 4 --no-python toolkit train ...[/]

    Example: [bold]toolkit train data --out run --architecture r2plus1d-18 --hold-out video4[/]
    """
    from toolkit.train import train as fine_tune
    from toolkit.train.distributed import processes_of

    settings = _train_config(locals())
    annotated = _dataset(dataset, behaviours, group)
    with progress_bars() as advance:
        summary = fine_tune(
            annotated,
            settings,
            run,
            held_out_groups=tuple(hold_out or ()),
            validation_groups=tuple(validate or ()),
            workers=workers,
            loaders=loaders,
            resume=resume,
            overwrite=overwrite,
            on_progress=lambda p: advance(p.task, p.done, p.total, p.detail),
        )
    if processes_of().is_first:
        print_lines(summary.lines())
        out.print(f"run folder: {run}")


def crossval(
    dataset: DatasetFolder,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the folds; finished folds in it are kept.")],
    config: ConfigFile = None,
    architecture: Architecture = None,
    stream: StreamChoice = None,
    flow_parameters: FlowSet = None,
    flow: FlowBy = None,
    working_size: WorkingSize = None,
    fps: Fps = None,
    roi: Roi = None,
    aspect: Aspect = None,
    preset: Preset = None,
    pretrained: Weights = None,
    head: HeadChoice = None,
    epochs: Epochs = None,
    batch: Batch = None,
    amp: Amp = None,
    deterministic: Deterministic = None,
    seed: Seed = None,
    group: Group = None,
    behaviours: Behaviours = None,
    inner_validation: Annotated[
        bool | None,
        typer.Option(
            "--inner-validation/--no-inner-validation",
            help="Choose epoch, fusion weight and temperature on one training group of each fold. (default: do)",
        ),
    ] = None,
    workers: Workers = 2,
    loaders: Loaders = 0,
    cluster: Annotated[
        str | None,
        typer.Option(help="Spread folds and streams by Ray: local, auto (the running cluster) or HOST:PORT."),
    ] = None,
    task_cpus: Annotated[float, typer.Option(min=0.1, help="With --cluster: CPU cores of a training.")] = 1.0,
    task_gpus: Annotated[float, typer.Option(min=0, help="With --cluster: GPUs of a training.")] = 0.0,
) -> None:
    """Cross-validate leave-one-video-out: train without each video in turn, and test on it.

    Run the same command again after an interruption: finished folds are kept, and an interrupted one goes on after its
    last whole epoch. Several architectures, separated by commas, are cross-validated one after another and compared.

    Example: [bold]toolkit crossval data --out cv --architecture i3d,r2plus1d-18[/]
    """
    from toolkit.train import cross_validate
    from toolkit.train.cluster import Cluster
    from toolkit.train.crossval_report import report_crossvals
    from toolkit.train.distributed import processes_of

    options = locals()
    annotated = _dataset(dataset, behaviours, group)
    names = [name.strip() for name in architecture.split(",")] if architecture else [None]
    settings = [_train_config({**options, "architecture": name}) for name in names]
    folders = [folder] if len(names) == 1 else [folder / str(name) for name in names]
    spread = Cluster(cluster, task_cpus, task_gpus) if cluster else None
    for one, place in zip(settings, folders, strict=True):
        with progress_bars() as advance:
            result = cross_validate(
                annotated,
                one,
                place,
                workers=workers,
                loaders=loaders,
                cluster=spread,
                on_progress=lambda p: advance(p.task, p.done, p.total, p.detail),
            )
        if processes_of().is_first:
            print_lines(result.lines())
            out.print(f"report: {place / 'report.md'}")
    if len(folders) > 1 and processes_of().is_first:
        written = report_crossvals(folders, folder)
        print_lines(written.lines())
        out.print(f"report: {written.page}")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `toolkit train`.")],
    bundle: Annotated[Path, typer.Option("--out", help="Bundle folder to write.")],
    cv: Annotated[
        Path | None, typer.Option("--crossval", help="Folder of `toolkit crossval` whose scores go in.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a trained run as a bundle: the one thing that passes to a cage.

    Example: [bold]toolkit export run --crossval cv --out bundle[/]
    """
    from toolkit.train import export_run

    with progress_bars() as advance:
        export_run(
            run,
            bundle,
            crossval=cv,
            overwrite=overwrite,
            on_progress=lambda p: advance(p.task, p.done, p.total, p.detail),
        )
    from toolkit.bundle import load_bundle

    written = load_bundle(bundle)
    out.print(f"bundle {written.manifest.name} ({written.sha256[:12]}) in {bundle}")


def _dataset(folder: Path, behaviours: str | None, group: str | None) -> AnnotatedDataset:
    from toolkit.annotations import load_dataset

    names = [name.strip() for name in behaviours.split(",")] if behaviours else None
    dataset = load_dataset(folder, behaviours=names, group_pattern=group)
    if dataset.skipped:
        print_warning(f"{len(dataset.skipped)} files of {folder} are left out: {'; '.join(dataset.skipped[:5])}")
    return dataset


def _train_config(options: dict[str, Any]) -> TrainConfig:
    """Return the configuration file's settings with the command line's options over them."""
    from toolkit.flow.select import FLOW_CHOICES, why_not_fast
    from toolkit.train.config import TrainConfig, read_train_config, train_config

    base = read_train_config(options["config"]) if options["config"] else TrainConfig()
    # Only what was said, so that a preset can fill in the rest.
    values = base.model_dump(exclude_unset=True)
    for key in ("architecture", "preset", "epochs", "batch", "seed", "amp", "deterministic", "inner_validation"):
        if options.get(key) is not None:
            values[key] = options[key]
            for settings in values.get("per_stream", {}).values():
                settings.pop(key, None)
    if options["flow_parameters"] is not None:
        values["flow"] = options["flow_parameters"]
    if options["flow"] is not None:
        values["flow_by"] = one_of("--flow", options["flow"], FLOW_CHOICES)
    if options["stream"] is not None:
        choice = one_of("--stream", options["stream"], ("rgb", "flow", "both"))
        values["streams"] = ("rgb", "flow") if choice == "both" else (choice,)
    if options["head"] is not None:
        values["head"] = one_of("--head", options["head"], ("replaced", "stacked"))
    for source in options["pretrained"] or ():
        name, _, path = source.partition("=")
        named = name in ("rgb", "flow") and path
        streams = (name,) if named else values.get("streams", base.streams)
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
