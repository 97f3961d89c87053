"""A scored sample's agreement for people and for programs: lines to print, and the files of a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.agreement.wording import defined, number, percent
from toolkit.files import atomic_write
from toolkit.sampling.kappa import Part, SampleAgreement
from toolkit.sampling.written import write_csv

_KAPPA_COLUMNS = (
    "cage",
    "period",
    "clips",
    "stands_for_s",
    "kappa",
    "kappa_low",
    "kappa_high",
    "same",
    "clips_kappa",
    "clips_same",
)


def sample_lines(agreement: SampleAgreement) -> list[str]:
    """Return what is printed: the whole, each behaviour, each cage, each day or week."""
    whole = agreement.whole
    lines = [
        f"sample: {agreement.scored.folder}",
        f"compared: {agreement.compared} of {len(agreement.scored.clips)} clips; left out: {agreement.unscored} not "
        f"scored, {agreement.cannot_say} of which the scorer cannot say, {agreement.no_label} without a label to judge",
    ]
    if agreement.left_out_s:
        lines.append(
            f"warning: of {_hours(agreement.left_out_s)} no clip was scored yet; what follows does not count it"
        )
    if not agreement.compared:
        return lines
    lines += [
        f"of the time that the clips stand for ({_hours(float(whole.seconds.sum()))}): same behaviour "
        f"{percent(whole.same)}, Cohen's kappa {number(whole.kappa)} (95 %: {_range(whole)})",
        f"of the clips as they are: same behaviour {percent(whole.clips_same)}, Cohen's kappa "
        f"{number(whole.clips_kappa)}",
        "",
        *_columns(_behaviour_rows(agreement)),
        "precision: of the time that the machine calls so, what the scorer does too; recall: the other way round",
        "",
        *_columns(_part_rows((*agreement.cages, *agreement.periods))),
    ]
    return lines


def write_sample_agreement(agreement: SampleAgreement, folder: Path) -> list[Path]:
    """Write ``agreement.json``, ``kappa.csv``, ``confusion.csv`` and ``disagreements.csv``; return their paths."""
    paths = [folder / name for name in ("agreement.json", "kappa.csv", "confusion.csv", "disagreements.csv")]
    names = agreement.scored.ethogram.names
    with atomic_write(paths[0]) as beside:
        beside.write_text(json.dumps(_values(agreement), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    write_csv(paths[1], _KAPPA_COLUMNS, [_kappa_row(part) for part in _parts(agreement)])
    confusion = [
        [kind, name, *(f"{value:.6g}" for value in row)]
        for kind, table in (("clips", agreement.whole.confusion), ("seconds", agreement.whole.seconds))
        for name, row in zip(names, table.tolist(), strict=True)
    ]
    write_csv(paths[2], ["of", "scorer \\ machine", *names], confusion)
    differing = [
        [clip.name, clip.cage, "" if clip.at is None else clip.at.isoformat(), clip.scored or "", clip.machine]
        for clip in agreement.scored.clips
        if clip.scored is not None and clip.scored != clip.machine
    ]
    write_csv(paths[3], ["clip", "cage", "utc", "scorer", "machine"], differing)
    return paths


def _parts(agreement: SampleAgreement) -> tuple[Part, ...]:
    return (agreement.whole, *agreement.cages, *agreement.periods)


def _behaviour_rows(agreement: SampleAgreement) -> list[tuple[str, ...]]:
    whole = agreement.whole
    rows: list[tuple[str, ...]] = [("behaviour", "clips scorer/machine", "time scorer/machine", "precision", "recall")]
    for k, name in enumerate(agreement.scored.ethogram.names):
        clips = f"{whole.confusion[k].sum()}/{whole.confusion[:, k].sum()}"
        time = f"{_hours(float(whole.seconds[k].sum()))}/{_hours(float(whole.seconds[:, k].sum()))}"
        rows.append((name, clips, time, number(float(whole.precision[k])), number(float(whole.recall[k]))))
    return rows


def _part_rows(parts: Sequence[Part]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("cage", "period", "clips", "kappa", "95 %", "same", "kappa of clips")]
    rows += [
        (
            part.cage,
            part.period,
            str(part.clips),
            number(part.kappa),
            _range(part),
            percent(part.same),
            number(part.clips_kappa),
        )
        for part in parts
    ]
    return rows


def _values(agreement: SampleAgreement) -> dict[str, Any]:
    """Return the agreement as JSON values; what is undefined is null."""
    return {
        "sample": str(agreement.scored.folder),
        "clips": len(agreement.scored.clips),
        "compared": agreement.compared,
        "unscored": agreement.unscored,
        "cannot_say": agreement.cannot_say,
        "no_label": agreement.no_label,
        "left_out_s": agreement.left_out_s,
        "per": agreement.per,
        "behaviours": list(agreement.scored.ethogram.names),
        "parts": [
            {
                "cage": part.cage,
                "period": part.period,
                "clips": part.clips,
                "stands_for_s": float(part.seconds.sum()),
                "kappa": defined(part.kappa),
                "kappa_interval": part.kappa_interval,
                "same": defined(part.same),
                "clips_kappa": defined(part.clips_kappa),
                "clips_same": defined(part.clips_same),
                "precision": [defined(float(value)) for value in part.precision],
                "recall": [defined(float(value)) for value in part.recall],
            }
            for part in _parts(agreement)
        ],
    }


def _kappa_row(part: Part) -> list[str]:
    low, high = part.kappa_interval or (float("nan"), float("nan"))
    numbers = (part.kappa, low, high, part.same, part.clips_kappa, part.clips_same)
    texts = ["" if math.isnan(value) else f"{value:.6f}" for value in numbers]
    return [part.cage, part.period, str(part.clips), f"{part.seconds.sum():.3f}", *texts]


def _range(part: Part) -> str:
    return "-" if part.kappa_interval is None else "{:.3f} to {:.3f}".format(*part.kappa_interval)


def _hours(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
