"""The report: a page that needs nothing but itself, and beside it every picture and every number in files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from toolkit import __version__
from toolkit.behaviour_log import read_log
from toolkit.bouts import BoutRules
from toolkit.bundle import Bundle, load_bundle
from toolkit.errors import ConfigError, InputError, MissingDependency
from toolkit.files import atomic_write, replace_directory
from toolkit.report.agreement import Agreement, agreement_with, annotated_source, truth_table
from toolkit.report.animals import Animal, load_animals
from toolkit.report.clock import NS_PER_H, LabClock
from toolkit.report.confidence import UNSURE_BELOW
from toolkit.report.crossval_picture import confusion_figure
from toolkit.report.drawing import done_in_order
from toolkit.report.figures import svg_uri
from toolkit.report.gallery import Gallery
from toolkit.report.inputs import Faults, Period, read_animals, sources
from toolkit.report.logged_bouts import logged_bouts
from toolkit.report.record import CageRecord
from toolkit.report.sections import CageSection, cage_section, overview
from toolkit.report.summary import PHASES, CageSummary, summarise
from toolkit.report.tables import budget_rows, phase_rows
from toolkit.report.time_budget import TimeBudget
from toolkit.report.transition_picture import DRAWN_FROM
from toolkit.report.wording import duration, number, when

_TEMPLATES = Path(__file__).parent / "templates"
MOST_SECTIONS = 12
"""Animals that have a section of their own on the page; of more, the page shows the overview, and files the rest."""


@dataclass(frozen=True)
class ReportOptions:
    """What a report is to show."""

    clock: LabClock = field(default_factory=LabClock)
    """Zone of days and clock times, and the light schedule."""
    zoned: bool = False
    """The user named the zone; without, local times in the table of animals are refused."""
    bin_ns: int = NS_PER_H
    """Length of the time bins."""
    rules: BoutRules = field(default_factory=BoutRules)
    """Stitching and minimum length of the bouts; none leaves them as they were logged."""
    period: Period = field(default_factory=Period)
    """What is left out before and after."""
    animals: Path | None = None
    """CSV of animals and groups."""
    cage_pattern: str | None = None
    """How a label file's name gives its cage."""
    inactive: tuple[str, ...] = ("rest",)
    """Behaviours that are not activity, for the actogram."""
    partial: bool = False
    """Report on what can be read, and say what is missing."""


@dataclass(frozen=True)
class ReportFiles:
    """What was written, from what."""

    page: Path
    """``report.html``: one file, no network."""
    figures: Path
    """Folder of PNG and SVG."""
    data: Path
    """Folder of CSV."""
    budgets: tuple[TimeBudget, ...]
    sources: tuple[str, ...]
    """Names of the files read."""
    missing: tuple[str, ...]
    """What a partial report could not take."""


def write_report(
    paths: Sequence[Path],
    out: Path,
    options: ReportOptions | None = None,
    *,
    truth: Path | None = None,
    bundle: Path | None = None,
    jobs: int = 1,
) -> ReportFiles:
    """Write a report into a folder, which is made if it is missing; an older report in it is replaced.

    Parameters
    ----------
    paths
        Day's files, cages' folders, folders of these, label files, folders of these.
    out
        Folder for ``report.html``, ``figures/`` and ``data/``. Nothing is written unless all can be made.
    truth
        Data set folder with annotations of the video that stood in for the camera, to compare a single log to.
    bundle
        The bundle that made the labels, to quote its cross-validated scores.
    jobs
        Animals that are drawn at once, each in a process.

    Raises
    ------
    LogError, InputError
        If something cannot be read, or (without `options.partial`) is missing; all faults together.
    MissingDependency
        If matplotlib or Jinja is not installed.
    """
    options = options or ReportOptions()
    template = _template()
    _check_out(out)
    faults = Faults(options.partial)
    animals = load_animals(options.animals, options.clock, zoned=options.zoned) if options.animals else []
    by_cage = sources(paths, options.cage_pattern, faults)
    faults.check(bool(by_cage))
    if truth is not None and len(by_cage) != 1:
        raise InputError(f"--truth compares one log with its video; {len(by_cage)} cages are named. Name one log.")
    with tempfile.TemporaryDirectory(prefix=".report.", dir=_existing_parent(out)) as staging:
        gallery = Gallery(Path(staging))
        agreement = _agreement(paths, truth, options.rules) if truth is not None else None

        def tasks() -> Iterator[Callable[[], CageSection]]:
            first: CageRecord | None = None
            for animal, record in read_animals(by_cage, animals, options.rules, options.period, faults):
                if fault := _unfit(record, first, options):
                    faults.found.append(fault)
                    continue
                first = first or record
                stays = sum(each.name == animal.name for each in animals)
                title = f"{animal.name}, cage {animal.cage}" if stays > 1 else animal.name
                yield partial(_section, title, gallery.room(title), animal, record, options, gallery, agreement)

        sections = list(done_in_order(tasks(), jobs))
        faults.check(bool(sections))
        summaries = [section.summary for section in sections]
        model = _bundle_of(summaries, bundle) if bundle is not None else None
        gallery.table("time_budget", budget_rows([(summary.name, summary.budget) for summary in summaries]))
        gallery.table("phases", phase_rows(summaries))
        page = template.render(
            sections=sections,
            shown=sections if len(sections) <= MOST_SECTIONS else [],
            overview=overview(summaries, options.clock, gallery) if len(sections) > 1 else None,
            ethogram=summaries[0].ethogram,
            options=options,
            phases=PHASES,
            missing=faults.found,
            unsure_below=UNSURE_BELOW,
            drawn_from=DRAWN_FROM,
            agreement=agreement,
            confusion_uri=svg_uri(confusion_figure(agreement.confusion, summaries[0].ethogram)) if agreement else None,
            bundle=model,
            version=__version__,
            made=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        )
        _publish(Path(staging), out, page)
    return ReportFiles(
        out / "report.html",
        out / "figures",
        out / "data",
        tuple(summary.budget for summary in summaries),
        tuple(dict.fromkeys(Path(name).name for summary in summaries for name in summary.files)),
        tuple(faults.found),
    )


def _section(
    title: str,
    room: str,
    animal: Animal,
    record: CageRecord,
    options: ReportOptions,
    gallery: Gallery,
    agreement: Agreement | None,
) -> CageSection:
    summary = summarise(animal, record, options.clock, options.bin_ns)
    summary = replace(summary, budget=replace(summary.budget, cage=title))
    observer = truth_table(agreement) if agreement else None
    return cage_section(title, room, summary, record, options.clock, options.inactive, gallery, truth=observer)


def _unfit(record: CageRecord, first: CageRecord | None, options: ReportOptions) -> str | None:
    """Return why a record does not go with the report that was asked for."""
    if not record.dated and (options.clock.lights or options.period != Period()):
        return (
            f"cage {record.cage}: {', '.join(record.files)} does not say when it was recorded, and light phases, "
            '--from and --to are of clock time. Put "recorded_at": "YYYY-MM-DDTHH:MM:SS+HH:MM" into its .json, or '
            "report without them."
        )
    if first is not None and first.ethogram.names != record.ethogram.names:
        return (
            f"cage {record.cage}: has the behaviours {', '.join(record.ethogram.names)}, cage {first.cage} has "
            f"{', '.join(first.ethogram.names)}. Expected one ethogram. Report on them apart."
        )
    unknown = [name for name in options.inactive if name not in record.ethogram.names]
    if unknown and options.inactive != ReportOptions().inactive:
        raise ConfigError(
            f"--inactive: {', '.join(unknown)} is no behaviour of cage {record.cage}, which has "
            f"{', '.join(record.ethogram.names)}. Correct the name."
        )
    return None


def _agreement(paths: Sequence[Path], truth: Path, rules: BoutRules) -> Agreement:
    if len(paths) != 1:
        raise InputError(f"--truth compares one log with its video; {len(paths)} are named. Name one log.")
    log = read_log(paths[0])
    return agreement_with(log, logged_bouts(log, rules), annotated_source(log, truth))


def _bundle_of(summaries: Sequence[CageSummary], path: Path) -> Bundle:
    bundle = load_bundle(path)
    for summary in summaries:
        values = [value for block in summary.provenance for name, value in block if name.startswith("bundle")]
        if not any(bundle.sha256 in value for value in values):
            raise InputError(
                f"{path}: is not the bundle that wrote the labels of cage {summary.animal.cage} (its hash is "
                f"{bundle.sha256[:12]}..., they name {'; '.join(dict.fromkeys(values)) or 'none'}). Name that one, or "
                "none."
            )
    return bundle


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file. Expected a folder for the report.")
    taken = [name for name in ("figures", "data") if (out / name).exists()]
    if taken and not (out / "report.html").exists():
        raise InputError(
            f"{out}: has a folder {' and '.join(taken)} that no report wrote, and a report would replace it. Choose "
            "another --out."
        )


def _existing_parent(out: Path) -> Path:
    return next(parent for parent in out.absolute().parents if parent.is_dir())


def _publish(staging: Path, out: Path, page: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name in ("figures", "data"):
        replace_directory(staging / name, out / name)
    with atomic_write(out / "report.html") as beside:
        beside.write_text(page, encoding="utf-8")


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
    environment.filters |= {
        "duration": duration,
        "number": number,
        "when": when,
        "file_name": lambda path: Path(path).name,
    }
    return environment.get_template("report.html.jinja")
