"""Everything that a machine can prove of a bundle, in one run that goes on after whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from toolkit.benchmark.device_checks import Check, Device, checks_of
from toolkit.benchmark.device_report import DeviceReport, Figure, NotHere, Status, without_names
from toolkit.benchmark.machine import describe_machine, versions_here
from toolkit.doctor import examine

NOT_REACHED = "the run ended before"

OF_PERSONS = ("cameras",)
"""Findings that hold names which are nobody's business: a camera's serial number."""


def verify_device(device: Device, *, on_report: Callable[[DeviceReport], None]) -> DeviceReport:
    """Run every check of a device, and say what could not be.

    Parameters
    ----------
    on_report
        Told the report after each check, so that it is not lost if a driver ends the process; what was not reached yet
        says so.
    """
    checks = checks_of(device.bundle)
    created_utc = datetime.now(timezone.utc).isoformat(timespec="seconds")
    machine, versions = describe_machine(), versions_here()
    folders = (device.bundle.path.resolve().parent, device.bundle.path.parent)
    facts = {
        finding.subject: "present" if finding.subject in OF_PERSONS else without_names(finding.found, folders)
        for finding in examine()
        if finding.status != "absent" or finding.subject not in OF_PERSONS
    }
    figures: list[Figure] = []

    def report(*, finished: bool) -> DeviceReport:
        reached = {figure.check for figure in figures}
        waiting = [figure for check in checks if check.name not in reached for figure in _rest(check, (), NOT_REACHED)]
        return DeviceReport(
            created_utc=created_utc,
            finished=finished,
            bundle=device.bundle.manifest.name,
            bundle_sha256=device.bundle.sha256,
            machine=machine,
            versions=versions,
            facts=facts,
            figures=tuple(
                figure.model_copy(update={"value": without_names(figure.value, folders)})
                for figure in (*figures, *waiting)
            ),
            notes=tuple(dict.fromkeys(without_names(note, folders) for note in device.notes)),
            benchmarks=dict(device.benchmarks),
        )

    on_report(report(finished=False))
    for check in checks:
        figures += run_check(check, device)
        on_report(report(finished=check is checks[-1]))
    return report(finished=True)


def run_check(check: Check, device: Device) -> list[Figure]:
    """Run one check; what it raises becomes the figure that was due, and the rest were not measured."""
    found: list[Figure] = []
    try:
        for name, value in check.run(device):
            status: Status = "not measured" if isinstance(value, NotHere) else "measured"
            found.append(Figure(check=check.name, name=name, status=status, value=str(value)))
    except NotHere as reason:
        return [*found, *_rest(check, found, str(reason))]
    except Exception as error:  # noqa: BLE001  a report with a crash in it is worth more than none
        due = _rest(check, found, f"{type(error).__name__}: {error}", status="failed")[:1]
        return [*found, *due, *_rest(check, [*found, *due], "what comes before it failed")]
    return [*found, *_rest(check, found, "this bundle has none")]


def _rest(check: Check, found: Sequence[Figure], reason: str, status: Status = "not measured") -> list[Figure]:
    names = {figure.name for figure in found}
    return [
        Figure(check=check.name, name=name, status=status, value=reason) for name in check.figures if name not in names
    ]
