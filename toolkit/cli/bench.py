"""`toolkit bench` and `verify-device`: how fast a bundle is here, and everything that a machine can prove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import EngineOption, FlowOption, one_of, print_lines
from toolkit.errors import ConfigError, InputError
from toolkit.terminal import err, out, print_warning, progress_bars


def bench(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, its engines built.")],
    video: Annotated[Path | None, typer.Option(help="Video to run. (default: the bundle's golden sample)")] = None,
    engine: EngineOption = "auto",
    flow: FlowOption = "auto",
    stride: Annotated[str, typer.Option(help="Strides to measure, comma-separated.")] = "1,2,4,8",
    duration: Annotated[float, typer.Option(help="Seconds per stride; minutes show throttling.")] = 10.0,
    log_dir: Annotated[
        Path | None,
        typer.Option(help="Folder on the disk of the cages' logs. (default: for temporary files)"),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="JSON to write.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Markdown to write.")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="JSON of an earlier run: fail if this one is slower beyond noise.")
    ] = None,
) -> None:
    """Measure a bundle's latency, stage by stage and from frame to committed row, and how many cages it could serve.

    Example: [bold]toolkit bench bundle --json bench.json[/]
    """
    from toolkit.benchmark import bench, open_source, read_bench_report, regressions
    from toolkit.bundle import load_bundle
    from toolkit.engine.networks import open_networks
    from toolkit.engine.select import ENGINE_CHOICES
    from toolkit.flow.select import FLOW_CHOICES

    old = None if compare is None else read_bench_report(compare)
    loaded = load_bundle(bundle)
    source = open_source(loaded, video)
    networks = open_networks(
        loaded,
        engine=one_of("--engine", engine, ENGINE_CHOICES),
        flow=one_of("--flow", flow, FLOW_CHOICES),
        warn=print_warning,
    )
    with progress_bars() as advance:
        report = bench(
            loaded,
            networks,
            source,
            strides=_strides(stride),
            duration_s=duration,
            log_folder=log_dir,
            expected=None if old is None else old.setup,
            on_progress=advance,
        )
    print_lines(report.markdown().splitlines())
    for path, text in ((json, report.model_dump_json(indent=2) + "\n"), (markdown, report.markdown())):
        if path is not None:
            _write(path, text)
    if old is not None:
        worse = regressions(old, report)
        for regression in worse:
            err.print(f"regression: {regression}", soft_wrap=True, markup=False)
        if worse:
            raise typer.Exit(1)
        out.print(f"no regression beyond noise against {compare}", soft_wrap=True, markup=False)


def verify_device(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the report.")] = Path("device-report"),
    engine: EngineOption = "auto",
    flow: FlowOption = "auto",
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds for each stride's latency.")] = 10.0,
    sustained: Annotated[float, typer.Option(min=0, help="Seconds of full load that show throttling; 0: none.")] = 60.0,
) -> None:
    """Measure on this device all that a machine without it cannot say, and write one report to send back.

    Builds and verifies engines, compares flow on GPU and CPU, measures latency. What is wrong, and what could not be
    measured, is said and does not stop it; only what is wrong makes it fail. The report names no host and no person.

    Example: [bold]toolkit verify-device bundle[/]
    """
    from toolkit.benchmark.device_checks import Device
    from toolkit.benchmark.device_report import DeviceReport
    from toolkit.benchmark.device_verification import verify_device
    from toolkit.bundle import load_bundle
    from toolkit.engine.select import ENGINE_CHOICES
    from toolkit.flow.select import FLOW_CHOICES

    loaded = load_bundle(bundle)
    data, page = folder / "device-report.json", folder / "device-report.md"

    def write(report: DeviceReport) -> None:
        _write(data, report.model_dump_json(indent=2) + "\n")
        _write(page, report.markdown())

    with progress_bars() as advance:
        device = Device(
            loaded,
            one_of("--engine", engine, ENGINE_CHOICES),
            one_of("--flow", flow, FLOW_CHOICES),
            short_s=duration,
            sustained_s=sustained,
            on_progress=advance,
        )
        report = verify_device(device, on_report=write)
    print_lines(report.markdown().splitlines())
    print_lines([f"report, to be sent back: {page} and {data}"])
    for figure in report.failed:
        err.print(f"failed: {figure.check}, {figure.name}: {figure.value}", soft_wrap=True, markup=False)
    if report.failed:
        raise typer.Exit(1)


def _write(path: Path, text: str) -> None:
    from toolkit.files import atomic_write

    try:
        with atomic_write(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}). Free space, or choose another place."
        ) from error


def _strides(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--stride: expected whole numbers such as 1,2,4; found {text!r}.") from None
