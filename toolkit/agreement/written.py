"""An agreement for people and for programs: lines to print, and the files of a folder."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from toolkit.agreement.compare import Agreement, BoundaryErrors
from toolkit.agreement.wording import defined, number, percent
from toolkit.files import atomic_write

SHOWN = 5
"""Disagreements that are printed."""


def write_agreement(agreement: Agreement, folder: Path) -> list[Path]:
    """Write ``agreement.json``, ``confusion.csv`` and ``disagreements.csv``; return their paths."""
    paths = [folder / name for name in ("agreement.json", "confusion.csv", "disagreements.csv")]
    with atomic_write(paths[0]) as beside:
        beside.write_text(json.dumps(_values(agreement), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    names = agreement.behaviours
    confusion = [[name, *map(str, row)] for name, row in zip(names, agreement.whole.confusion.tolist(), strict=True)]
    _write_csv(paths[1], ["a \\ b", *names], confusion)
    header = ["start_s", "stop_s", "length_s", "start_frame", "stop_frame", "a", "b"]
    _write_csv(paths[2], header, _disagreement_rows(agreement))
    return paths


def summary_lines(agreement: Agreement) -> list[str]:
    """Return what is printed: the whole, then each behaviour, then the longest disagreements."""
    whole = agreement.whole
    lines = [
        f"A: {agreement.a.source}",
        f"B: {agreement.b.source}",
        *(f"note: {note}" for note in agreement.notes),
        f"compared: {whole.frames} of {agreement.frames} frames, {whole.frames / agreement.fps:.1f} s; left out: "
        f"{agreement.only_a} that only A labels, {agreement.only_b} only B, {agreement.neither} neither",
        f"same label: {percent(whole.accuracy)}, Cohen's kappa {number(whole.kappa)}",
    ]
    if (collared := agreement.collared) is not None:
        lines.append(
            f"further than {1000 * agreement.collar_s:g} ms from A's boundaries: {collared.frames} frames, same label "
            f"{percent(collared.accuracy)}, Cohen's kappa {number(collared.kappa)}"
        )
    bout_f1 = zip(agreement.bouts.thresholds, agreement.bouts.pooled_f1, strict=True)
    lines += [
        "bout F1 by overlap: " + ", ".join(f"{threshold:g}: {number(f1)}" for threshold, f1 in bout_f1),
        "",
        *_columns(_behaviour_rows(agreement)),
        f"onset, offset: by how much B is later than A, of bouts that overlap by {agreement.boundary_iou:g} or more: "
        "mean, median, SD",
    ]
    if agreement.disagreements:
        rows = [("longest disagreements", "frames", "A", "B"), *_longest(agreement)]
        lines += ["", *_columns(rows)]
        if len(agreement.disagreements) > SHOWN:
            lines.append(f"... {len(agreement.disagreements)} in all")
    return lines


def _longest(agreement: Agreement) -> Iterable[tuple[str, ...]]:
    for one in agreement.disagreements[:SHOWN]:
        start, stop = one.start_frame / agreement.fps, one.stop_frame / agreement.fps
        yield f"{start:.2f} to {stop:.2f} s", f"{one.start_frame} to {one.stop_frame}", one.a, one.b


def _behaviour_rows(agreement: Agreement) -> list[tuple[str, ...]]:
    thresholds = agreement.bouts.thresholds
    header = ("behaviour", "A s", "B s", "B-A s", "B-A points", "F1", *(f"bouts {t:g}" for t in thresholds))
    rows = [(*header, "bouts A/B", "onset ms", "offset ms")]
    budgets, shares = agreement.budgets_s, agreement.budgets_s * agreement.fps / agreement.whole.frames
    for k, name in enumerate(agreement.behaviours):
        seconds = budgets[:, k]
        rows.append(
            (
                name,
                f"{seconds[0]:.1f}",
                f"{seconds[1]:.1f}",
                f"{seconds[1] - seconds[0]:+.1f}",
                f"{100 * (shares[1, k] - shares[0, k]):+.1f}",
                number(agreement.whole.f1[k]),
                *(number(f1) for f1 in agreement.bout_f1[:, k]),
                f"{agreement.bouts.truth[k]}/{agreement.bouts.predicted[k]}",
                _errors(agreement.onsets[name]),
                _errors(agreement.offsets[name]),
            )
        )
    return rows


def _values(agreement: Agreement) -> dict[str, Any]:
    """Return the agreement as JSON values; what is undefined is null."""
    whole, budgets = agreement.whole, agreement.budgets_s
    by_name = {
        name: {
            "seconds_a": float(budgets[0, k]),
            "seconds_b": float(budgets[1, k]),
            "seconds_difference": float(budgets[1, k] - budgets[0, k]),
            "points_difference": float(100 * agreement.fps * (budgets[1, k] - budgets[0, k]) / whole.frames),
            "f1": defined(whole.f1[k]),
            "bouts_a": int(agreement.bouts.truth[k]),
            "bouts_b": int(agreement.bouts.predicted[k]),
            "bout_f1": [defined(f1) for f1 in agreement.bout_f1[:, k]],
            "onset": _error_values(agreement.onsets[name]),
            "offset": _error_values(agreement.offsets[name]),
        }
        for k, name in enumerate(agreement.behaviours)
    }
    collared = agreement.collared
    return {
        "a": agreement.a.source,
        "b": agreement.b.source,
        "notes": list(agreement.notes),
        "fps": agreement.fps,
        "frames": agreement.frames,
        "compared": whole.frames,
        "only_a": agreement.only_a,
        "only_b": agreement.only_b,
        "neither": agreement.neither,
        "same": defined(whole.accuracy),
        "kappa": defined(whole.kappa),
        "collar": None
        if collared is None
        else {
            "ms": 1000 * agreement.collar_s,
            "compared": collared.frames,
            "same": defined(collared.accuracy),
            "kappa": defined(collared.kappa),
            "f1": {name: defined(f1) for name, f1 in zip(agreement.behaviours, collared.f1, strict=True)},
        },
        "bout_overlaps": list(agreement.bouts.thresholds),
        "bout_f1": [defined(f1) for f1 in agreement.bouts.pooled_f1],
        "boundary_overlap": agreement.boundary_iou,
        "behaviours": by_name,
        "disagreements": len(agreement.disagreements),
    }


def _disagreement_rows(agreement: Agreement) -> Iterable[list[str]]:
    for one in agreement.disagreements:
        seconds = [frame / agreement.fps for frame in (one.start_frame, one.stop_frame)]
        times = [f"{time:.3f}" for time in (*seconds, seconds[1] - seconds[0])]
        yield [*times, str(one.start_frame), str(one.stop_frame), one.a, one.b]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _error_values(errors: BoundaryErrors) -> dict[str, Any]:
    return {
        "pairs": len(errors.errors_ms),
        "mean_ms": defined(errors.mean_ms),
        "median_ms": defined(errors.median_ms),
        "sd_ms": defined(errors.sd_ms),
    }


def _errors(errors: BoundaryErrors) -> str:
    if not errors.errors_ms:
        return "-"
    sd = "-" if math.isnan(errors.sd_ms) else f"{errors.sd_ms:.0f}"
    return f"{errors.mean_ms:+.0f} {errors.median_ms:+.0f} {sd} (n {len(errors.errors_ms)})"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
