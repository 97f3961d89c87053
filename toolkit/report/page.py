"""The report of one log: a page that needs nothing but itself, the ethogram as a picture, the budget as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from toolkit import __version__
from toolkit.behaviour_log import BehaviourLog, LoggedSession, read_log
from toolkit.bouts import BoutRules
from toolkit.bundle import Bundle, load_bundle
from toolkit.errors import InputError, MissingDependency
from toolkit.files import atomic_write
from toolkit.report.agreement import agreement_with, annotated_source
from toolkit.report.bout_length_picture import draw_bout_lengths
from toolkit.report.confidence import UNSURE_BELOW, confidence
from toolkit.report.crossval_picture import confusion_figure
from toolkit.report.ethogram_picture import draw_ethogram
from toolkit.report.figures import png_uri, save_png, svg_uri
from toolkit.report.logged_bouts import logged_bouts
from toolkit.report.time_budget import TimeBudget, time_budget, write_time_budget
from toolkit.report.wording import duration, number, utc

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ReportFiles:
    """What was written, from what."""

    page: Path
    """``report.html``: one file, no network."""
    ethogram: Path
    """``ethogram.png``, 300 dots per inch."""
    time_budget: Path
    """``time_budget.csv``, times in seconds."""
    budget: TimeBudget
    logs: tuple[Path, ...]
    """The log's files."""


def write_report(
    log_path: Path,
    out: Path,
    *,
    truth: Path | None = None,
    bundle: Path | None = None,
    rules: BoutRules | None = None,
) -> ReportFiles:
    """Write a log's report into a folder, which is made if it is missing; older files of the report are replaced.

    Parameters
    ----------
    log_path
        One day's file, or a cage's folder.
    out
        Folder for ``report.html``, ``ethogram.png`` and ``time_budget.csv``. Nothing is written unless all can be made.
    truth
        Data set folder with annotations of the video that stood in for the camera, to compare the log to.
    bundle
        The bundle that wrote the log, to quote its cross-validated scores.
    rules
        Stitching and minimum length of the bouts; None leaves the log's own.

    Raises
    ------
    LogError
        If the log cannot be read, or holds no observed time.
    InputError
        If the annotations or the bundle are not of this log.
    MissingDependency
        If matplotlib or Jinja is not installed.
    """
    template = _template()
    log = read_log(log_path)
    budget = time_budget(log, rules)
    bouts = logged_bouts(log, rules)
    agreement = agreement_with(log, bouts, annotated_source(log, truth)) if truth is not None else None
    model = _bundle_of(log, bundle) if bundle is not None else None
    picture = draw_ethogram(log, budget, bouts, truth=agreement.truth if agreement else None)
    page = template.render(
        log=log,
        budget=budget,
        confidence=confidence(log),
        unsure_below=UNSURE_BELOW,
        agreement=agreement,
        bundle=model,
        rules=rules or BoutRules(),
        sessions=[_session_lines(session) for session in log.provenance],
        ethogram_uri=png_uri(picture),
        lengths_uri=svg_uri(draw_bout_lengths(bouts, log.ethogram)),
        confusion_uri=svg_uri(confusion_figure(agreement.confusion, log.ethogram)) if agreement else None,
        version=__version__,
        made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
    )
    files = ReportFiles(out / "report.html", out / "ethogram.png", out / "time_budget.csv", budget, log.files)
    out.mkdir(parents=True, exist_ok=True)
    save_png(picture, files.ethogram)
    write_time_budget(budget, files.time_budget)
    with atomic_write(files.page) as beside:
        beside.write_text(page, encoding="utf-8")
    return files


def _template() -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "reports need Jinja, which is not installed here. Install it: pip install 'toolkit[report]'"
        ) from error
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "number": number, "utc": utc}
    return environment.get_template("report.html.jinja")


def _bundle_of(log: BehaviourLog, path: Path) -> Bundle:
    bundle = load_bundle(path)
    hashes = {session.bundle_sha256 for session in log.provenance}
    if bundle.sha256 not in hashes:
        raise InputError(
            f"{path}: is not the bundle that wrote the log of cage {log.cage} (its hash is {bundle.sha256[:12]}..., "
            f"the log names {', '.join(f'{found[:12]}...' for found in sorted(hashes))}). Name that one, or none."
        )
    return bundle


def _session_lines(session: LoggedSession) -> list[tuple[str, str]]:
    """Return what made the rows of one start of the daemon, as (name, value)."""
    ended = "running, or killed" if session.stop_ns is None else f"{utc(session.stop_ns)} ({session.stop_reason})"
    return [
        ("session", session.uuid),
        ("time", f"{utc(session.start_ns)} to {ended}"),
        ("host", f"{session.host}, boot {session.boot_id}"),
        ("toolkit", session.toolkit_version),
        ("bundle", f"{session.bundle_name}, SHA-256 {session.bundle_sha256}"),
        *((f"engine, {stream}", identity) for stream, identity in session.engines.items()),
        ("configuration", f"SHA-256 {session.config_sha256}"),
        ("row interval", f"{session.row_interval_ns / 1e6:.2f} ms"),
    ]
