"""The command line: composes the rooms. Each command imports what it needs when it runs, so that none needs it all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit import __version__
from toolkit.errors import ConfigError, ToolkitError, raise_faults
from toolkit.terminal import out, print_error, progress_bars

if TYPE_CHECKING:
    from toolkit.annotations import AnnotatedDataset
    from toolkit.train.config import TrainConfig

app = typer.Typer(
    help="From annotated video of a mouse's home cage to a continuous, trustworthy behaviour log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
cage = typer.Typer(help="Run one cage: a headless daemon that writes the behaviour log.", no_args_is_help=True)
app.add_typer(cage, name="cage")

DatasetFolder = Annotated[Path, typer.Argument(help="Data set: videos and annotations.csv, or BEHAVIOUR/VIDEO_*.*")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file of training settings; the options below override it.")
]
Architecture = Annotated[
    str | None, typer.Option(help="i3d, r2plus1d-18, r2plus1d-34 or r2plus1d-small. (default: i3d)")
]
StreamChoice = Annotated[str | None, typer.Option("--stream", help="rgb, flow or both. (default: both)")]
FlowSet = Annotated[str | None, typer.Option("--flow-parameters", help="paper or fast. (default: paper)")]
WorkingSize = Annotated[
    str | None, typer.Option("--working-size", help="WIDTHxHEIGHT in px before flow. (default: 320x240)")
]
Fps = Annotated[float | None, typer.Option(help="Frames per second of clips. (default: 30)")]
Roi = Annotated[str | None, typer.Option(help="Region of interest in the videos: X,Y,WIDTH,HEIGHT in px.")]
Aspect = Annotated[str | None, typer.Option(help="Other shapes of picture: refuse, stretch, pad. (default: refuse)")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training samples. (default: 20)")]
Batch = Annotated[int | None, typer.Option(help="Clips per step. (default: 6)")]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, samples, crops and flips. (default: 0)")]
Group = Annotated[
    str | None,
    typer.Option(help="Regular expression with one group: videos in which it matches the same are held out together."),
]
Behaviours = Annotated[str | None, typer.Option(help="The ethogram, comma-separated, in order.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that decode videos and compute flow.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
BundlePath = Annotated[Path, typer.Option("--bundle", help="Bundle folder.")]
EngineOption = Annotated[str, typer.Option("--engine", help="auto, tensorrt or onnxruntime.")]
CageConfig = Annotated[Path, typer.Argument(help="The cage's TOML file; `toolkit cage init` writes one.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        out.print(f"toolkit {__version__}")
        raise typer.Exit


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="Where the data set goes; must not exist.")],
    videos: Annotated[int, typer.Option(help="Annotated videos.")] = 4,
    duration: Annotated[float, typer.Option(help="Seconds per video, at 30 frames per second.")] = 60.0,
    held_out: Annotated[int, typer.Option(help="Further videos, in FOLDER/held_out, that are in no fold.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same videos.")] = 0,
    strain: Annotated[
        str | None,
        typer.Option(
            help="black, agouti, grey, chocolate, fawn or white for every video. (default: one drawn for each)"
        ),
    ] = None,
    workers: Workers = 2,
) -> None:
    """Render a synthetic home cage: videos of a mouse with exact annotations.

    Example: [bold]toolkit synth data --videos 4 --duration 60 --held-out 1[/]
    """
    from toolkit.synth import write_dataset

    total = round((videos + held_out) * duration * 30)
    with progress_bars() as advance:
        done = 0

        def rendered(frames: int) -> None:
            nonlocal done
            done += frames
            advance("render", done, total, "frames")

        write_dataset(
            folder,
            videos=videos,
            duration_s=duration,
            seed=seed,
            held_out=held_out,
            strain=strain,
            workers=workers,
            on_progress=rendered,
        )
    out.print(f"{videos} annotated videos in {folder}, {held_out} more in {folder / 'held_out'}")


@app.command()
def train(
    dataset: DatasetFolder,
    run: Annotated[Path, typer.Option("--out", help="Run folder; must not exist.")],
    config: ConfigFile = None,
    architecture: Architecture = None,
    stream: StreamChoice = None,
    flow_parameters: FlowSet = None,
    working_size: WorkingSize = None,
    fps: Fps = None,
    roi: Roi = None,
    aspect: Aspect = None,
    epochs: Epochs = None,
    batch: Batch = None,
    seed: Seed = None,
    group: Group = None,
    behaviours: Behaviours = None,
    hold_out: Annotated[
        list[str] | None, typer.Option(help="Group that is not trained on but evaluated; may be repeated.")
    ] = None,
    workers: Workers = 2,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune the networks of one stream or both, and write a run folder.

    Example: [bold]toolkit train data --out run --architecture r2plus1d-18 --hold-out video4[/]
    """
    from toolkit.train import train as fine_tune

    settings = _train_config(locals())
    annotated = _dataset(dataset, behaviours, group)
    with progress_bars() as advance:
        summary = fine_tune(
            annotated,
            settings,
            run,
            held_out_groups=tuple(hold_out or ()),
            workers=workers,
            overwrite=overwrite,
            on_progress=lambda p: advance(p.task, p.done, p.total, p.detail),
        )
    _print_lines(summary.lines())
    out.print(f"run folder: {run}")


@app.command()
def crossval(
    dataset: DatasetFolder,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the folds; finished folds in it are kept.")],
    config: ConfigFile = None,
    architecture: Architecture = None,
    stream: StreamChoice = None,
    flow_parameters: FlowSet = None,
    working_size: WorkingSize = None,
    fps: Fps = None,
    roi: Roi = None,
    aspect: Aspect = None,
    epochs: Epochs = None,
    batch: Batch = None,
    seed: Seed = None,
    group: Group = None,
    behaviours: Behaviours = None,
    workers: Workers = 2,
) -> None:
    """Cross-validate leave-one-video-out: train without each video in turn, and test on it.

    Run the same command again after an interruption: it goes on with the fold that was not finished.

    Example: [bold]toolkit crossval data --out cv --architecture r2plus1d-18[/]
    """
    from toolkit.train import cross_validate

    settings = _train_config(locals())
    annotated = _dataset(dataset, behaviours, group)
    with progress_bars() as advance:
        result = cross_validate(
            annotated,
            settings,
            folder,
            workers=workers,
            on_progress=lambda p: advance(p.task, p.done, p.total, p.detail),
        )
    _print_lines(result.lines())
    out.print(f"report: {folder / 'report.md'}")


@app.command()
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


@app.command("build-engine")
def build_engine(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    engine: EngineOption = "auto",
    precision: Annotated[str, typer.Option(help="fp16 or fp32, of TensorRT engines.")] = "fp16",
    max_batch: Annotated[int, typer.Option(help="Most clips per inference.")] = 1,
    target: Annotated[
        str | None,
        typer.Option(help="Compute capability, e.g. sm86, to build for without its GPU (TensorRT for RTX only)."),
    ] = None,
) -> None:
    """Build this machine's engines beside the bundle and verify them on its golden sample.

    With TensorRT and a GPU: strongly typed FP16 engines. Without: ONNX Runtime on the CPU.

    Example: [bold]toolkit build-engine bundle[/]
    """
    from toolkit.bundle import load_bundle
    from toolkit.engine.build import build_engines

    with progress_bars() as advance:
        built = build_engines(
            load_bundle(bundle),
            engine=_one_of("--engine", engine, ("auto", "tensorrt", "onnxruntime")),
            precision=_one_of("--precision", precision, ("fp16", "fp32")),
            max_batch=max_batch,
            target=target,
            on_progress=lambda p: advance(p.stage, p.done, p.steps, ""),
        )
    for item in built:
        out.print(f"{item.stream}: {item.path}", soft_wrap=True, markup=False)
    out.print(built[0].reason, soft_wrap=True, markup=False)
    parity = built[0].sidecar.parity
    _print_lines(parity.lines() if parity else ["not verified: built for another machine, it cannot run here"])


@app.command()
def label(
    video: Annotated[Path, typer.Argument(help="Recorded video.")],
    bundle: BundlePath,
    csv: Annotated[Path | None, typer.Option("--out", help="CSV to write. (default: VIDEO.labels.csv)")] = None,
    stride: Annotated[int, typer.Option(min=1, help="Classify every n-th frame.")] = 1,
    engine: EngineOption = "auto",
) -> None:
    """Label a recorded video frame by frame: frame, time in seconds, label, probability per behaviour.

    Example: [bold]toolkit label cage3.mp4 --bundle bundle[/]
    """
    from toolkit.bundle import load_bundle
    from toolkit.engine.select import open_backends
    from toolkit.flow import OpenCvFlow
    from toolkit.frames import count_frames
    from toolkit.labelling import label_video

    loaded = load_bundle(bundle)
    manifest = loaded.manifest
    estimator = OpenCvFlow(manifest.flow.parameters) if "flow" in manifest.streams else None
    backends = open_backends(loaded, engine=_one_of("--engine", engine, ("auto", "tensorrt", "onnxruntime")))
    table = csv or video.with_name(f"{video.stem}.labels.csv")
    total = count_frames(video)
    with progress_bars() as advance:
        summary = label_video(
            video,
            loaded,
            table,
            backends=backends,
            estimator=estimator,
            stride=stride,
            on_progress=lambda frames: advance("label", frames, total, "frames"),
        )
    shares = ", ".join(f"{name} {count}" for name, count in summary.counts.items() if count)
    out.print(f"{summary.rows} of {summary.frames} frames labelled ({shares})", soft_wrap=True)
    if estimator is not None:
        out.print(f"flow: {estimator.implementation}, parameters {estimator.parameters.name}")
    out.print(f"{summary.elapsed_s:.1f} s, {summary.realtime_factor:.2f} times real time; labels: {table}")


@cage.command("init")
def cage_init(
    config: Annotated[Path, typer.Argument(help="TOML file to write; must not exist.")],
    bundle: BundlePath,
    name: Annotated[str, typer.Option(help="The cage's name, as in its log's folder.")],
    log_dir: Annotated[Path, typer.Option(help="Folder of behaviour logs.")],
    video: Annotated[Path | None, typer.Option(help="Video file that stands in for a camera.")] = None,
    device: Annotated[str | None, typer.Option(help="Camera, e.g. /dev/v4l/by-id/...")] = None,
) -> None:
    """Write a commented configuration for one cage.

    Example: [bold]toolkit cage init cage3.toml --name cage3 --bundle bundle --log-dir logs --video cage3.mp4[/]
    """
    from toolkit.cage.config import write_config

    write_config(config, name=name, bundle=bundle, log_dir=log_dir, video=video, device=device)
    out.print(f"{config} written. Next: toolkit cage check {config}")


@cage.command("check")
def cage_check(config: CageConfig) -> None:
    """Check configuration, bundle, engine, camera and disk, and say each fault.

    Example: [bold]toolkit cage check cage3.toml[/]
    """
    from toolkit.cage.check import check
    from toolkit.cage.config import load_config

    findings = check(load_config(config))
    for finding in findings:
        mark = "[green]ok[/]    " if finding.ok else "[bold red]fault[/] "
        out.print(f"{mark} {finding.subject}: {finding.text}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@cage.command("run")
def cage_run(config: CageConfig) -> None:
    """Run the daemon until it is stopped (SIGTERM, SIGINT) or its video ends.

    Example: [bold]toolkit cage run cage3.toml[/]
    """
    from toolkit.cage.config import load_config
    from toolkit.cage.daemon import run, stop_on_signals

    settings = load_config(config)
    with stop_on_signals() as stop, progress_bars() as advance:
        summary = run(
            settings,
            stop=stop,
            on_progress=lambda p: advance("cage", p.frames, p.total_frames or 0, p.detail),
        )
    _print_lines(summary.lines())


@app.command()
def report(
    log: Annotated[Path, typer.Argument(help="A cage's folder of logs, or one log file.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the report.")],
    truth: Annotated[
        Path | None,
        typer.Option(help="Data set folder of the video that stood in for the camera, to compare the log with."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The bundle that made the log: its cross-validated scores go in.")
    ] = None,
) -> None:
    """Print a log's time budget, and write an ethogram picture and a one-page HTML report.

    Example: [bold]toolkit report logs/cage3 --out report[/]
    """
    from toolkit.report import time_budget_table, write_report

    written = write_report(log, folder, truth=truth, bundle=bundle)
    out.print(time_budget_table(written.budget))
    for path in written.logs:
        out.print(f"log: {path}", soft_wrap=True)
    out.print(f"ethogram: {written.ethogram}", soft_wrap=True)
    out.print(f"report: {written.page}", soft_wrap=True)


@app.command()
def doctor() -> None:
    """Say what this machine has, and what to do about what is missing.

    Example: [bold]toolkit doctor[/]
    """
    from toolkit.doctor import examine

    colours = {"ok": "green", "absent": "yellow", "broken": "bold red"}
    broken = False
    for finding in examine():
        broken |= finding.status == "broken"
        out.print(
            f"[{colours[finding.status]}]{finding.status:<6}[/] {finding.subject}: {finding.found}", soft_wrap=True
        )
        if finding.advice:
            out.print(f"       {finding.advice}", soft_wrap=True)
    if broken:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a mistake of the user's is one message and a non-zero exit, not a traceback."""
    try:
        app()
    except ToolkitError as error:
        print_error(error)
        sys.exit(error.exit_code)


def _dataset(folder: Path, behaviours: str | None, group: str | None) -> AnnotatedDataset:
    from toolkit.annotations import load_dataset

    names = [name.strip() for name in behaviours.split(",")] if behaviours else None
    return load_dataset(folder, behaviours=names, group_pattern=group)


def _train_config(options: dict[str, Any]) -> TrainConfig:
    """Return the configuration file's settings with the command line's options over them."""
    from toolkit.train.config import TrainConfig, read_train_config, train_config

    base = read_train_config(options["config"]) if options["config"] else TrainConfig()
    values = base.model_dump()
    for key in ("architecture", "epochs", "batch", "seed"):
        if options[key] is not None:
            values[key] = options[key]
    if options["flow_parameters"] is not None:
        values["flow"] = options["flow_parameters"]
    if options["stream"] is not None:
        choice = _one_of("--stream", options["stream"], ("rgb", "flow", "both"))
        values["streams"] = ("rgb", "flow") if choice == "both" else (choice,)
    for key in ("fps", "aspect"):
        if options[key] is not None:
            values["geometry"][key] = options[key]
    if options["working_size"] is not None:
        width, height = _whole_numbers("--working-size", options["working_size"].replace("x", ","), 2)
        values["geometry"] |= {"width": width, "height": height}
    if options["roi"] is not None:
        values["geometry"]["roi"] = _whole_numbers("--roi", options["roi"], 4)
    return train_config(values, "training settings")


def _whole_numbers(option: str, text: str, count: int) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise ConfigError(f"{option}: expected {count} whole numbers, found {text!r}.")
    return numbers


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> Any:
    raise_faults(
        ConfigError,
        "the command cannot be run",
        [] if value in choices else [f"{option}: expected {', '.join(choices)}; found {value!r}"],
    )
    return value


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)
