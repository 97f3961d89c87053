"""`toolkit train`, `crossval` and `export`: from annotated video to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import Overwrite, Store, Workers, layers_by_stream, print_lines
from toolkit.cli.training_options import (
    Amp,
    Architecture,
    Aspect,
    Batch,
    Behaviours,
    ConfigFile,
    DatasetFolder,
    Deterministic,
    Epochs,
    FlowBy,
    FlowSet,
    Fps,
    Group,
    HeadChoice,
    Loaders,
    Preset,
    Roi,
    Seed,
    StreamChoice,
    Weights,
    WorkingSize,
    annotated_dataset,
    training_settings,
)
from toolkit.terminal import out, progress_bars


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
    store: Store = None,
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

    settings = training_settings(locals())
    annotated = annotated_dataset(dataset, behaviours, group)
    with progress_bars() as advance:
        summary = fine_tune(
            annotated,
            settings,
            run,
            held_out_groups=tuple(hold_out or ()),
            validation_groups=tuple(validate or ()),
            cache=store,
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
    store: Store = None,
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
    annotated = annotated_dataset(dataset, behaviours, group)
    names = [name.strip() for name in architecture.split(",")] if architecture else [None]
    settings = [training_settings({**options, "architecture": name}) for name in names]
    folders = [folder] if len(names) == 1 else [folder / str(name) for name in names]
    spread = Cluster(cluster, task_cpus, task_gpus) if cluster else None
    for one, place in zip(settings, folders, strict=True):
        with progress_bars() as advance:
            result = cross_validate(
                annotated,
                one,
                place,
                cache=store,
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
    keep_fp32: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STREAM:LAYER", help="Layer to keep float32, as `toolkit engine diagnose` names it; repeat."
        ),
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
            keep_fp32=layers_by_stream("--keep-fp32", keep_fp32 or []),
            overwrite=overwrite,
            on_progress=lambda p: advance(p.task, p.done, p.total, p.detail),
        )
    from toolkit.bundle import load_bundle

    written = load_bundle(bundle)
    out.print(f"bundle {written.manifest.name} ({written.sha256[:12]}) in {bundle}")
    if written.manifest.decision is not None:
        print_lines(written.manifest.decision.lines())
