"""`toolkit build-engine`, `toolkit engine`: from a bundle to what this machine runs, and why it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.cli.options import EngineOption, one_of, print_lines
from toolkit.terminal import out, progress_bars


def build_engine(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    engine: EngineOption = "auto",
    precision: Annotated[str, typer.Option(help="fp16 or fp32, of TensorRT engines.")] = "fp16",
    max_batch: Annotated[int, typer.Option(min=1, help="Most clips per inference, of TensorRT engines.")] = 1,
    workspace_mib: Annotated[int, typer.Option(min=1, help="Most scratch memory of a TensorRT layer, MiB.")] = 1024,
    target: Annotated[
        str | None,
        typer.Option(help="Compute capability, e.g. sm86, to build for without its GPU (TensorRT for RTX only)."),
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("--validate", help="Labelled data set to score the engines on before they go in.")
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            "--validate-stride", min=1, help="Take every n-th labelled frame. (default: about 300 frames in all)"
        ),
    ] = None,
) -> None:
    """Build this machine's engines beside the bundle and verify them on its golden sample.

    With TensorRT and a GPU: strongly typed FP16 engines. Without: OpenVINO or ONNX Runtime on the CPU.

    Example: [bold]toolkit build-engine bundle[/]
    """
    from toolkit.bundle import load_bundle
    from toolkit.engine.build import build_engines
    from toolkit.engine.select import ENGINE_CHOICES
    from toolkit.engine.validation import Validation

    with progress_bars() as advance:
        built = build_engines(
            load_bundle(bundle),
            engine=one_of("--engine", engine, ENGINE_CHOICES),
            precision=one_of("--precision", precision, ("fp16", "fp32")),
            max_batch=max_batch,
            workspace_bytes=workspace_mib << 20,
            target=target,
            validation=None if dataset is None else Validation(dataset, stride),
            on_progress=lambda p: advance(p.stage, p.done, p.steps, ""),
        )
    for item in built:
        out.print(f"{item.stream}: {item.path}", soft_wrap=True, markup=False)
    out.print(built[0].reason, soft_wrap=True, markup=False)
    parity = built[0].sidecar.parity
    print_lines(parity.lines() if parity else ["not verified: built for another machine, it cannot run here"])


def diagnose(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    stream: Annotated[str | None, typer.Option(help="rgb or flow. (default: every stream of the bundle)")] = None,
    engine: Annotated[
        str, typer.Option(help="What runs the mixed graphs: auto, tensorrt, or onnxruntime, which simulates FP16.")
    ] = "auto",
    most: Annotated[int, typer.Option("--layers", min=0, help="Layers to list, largest values first; 0: all.")] = 12,
) -> None:
    """Find the layers that FP16 breaks, by bisecting on the bundle's golden sample.

    Example: [bold]toolkit engine diagnose bundle --stream flow[/]
    """
    from toolkit.bundle import load_bundle
    from toolkit.engine.diagnose import diagnose

    loaded = load_bundle(bundle)
    streams = loaded.manifest.streams
    chosen = one_of("--engine", engine, ("auto", "tensorrt", "onnxruntime"))
    names = streams if stream is None else [one_of("--stream", stream, streams)]
    with progress_bars() as advance:
        found = [
            diagnose(loaded, name, engine=chosen, on_progress=lambda what, done, all_: advance(what, done, all_, ""))
            for name in names
        ]
    for diagnosis in found:
        print_lines(diagnosis.lines(most=most))
