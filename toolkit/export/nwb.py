"""NWB with ndx-ethogram: one file per cage, its behaviours, bouts, and the spans over which they were looked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from toolkit import __version__
from toolkit.errors import InputError, MissingDependency
from toolkit.export.piece import Gap, Piece, moment
from toolkit.frames import NS_PER_S

_METHOD = "automated"


def write_nwb(pieces: Sequence[Piece], path: Path) -> None:
    """Write one cage's pieces, in time order and of one ethogram.

    Times are seconds from ``session_start_time``, the whole UTC second in which the first piece begins. Bouts that two
    days share at midnight are one. ``processing/behavior`` holds the ``Ethogram``, the ``EthogramBouts`` with its
    ``observation_intervals``, and the unobserved time with its reasons.

    Raises
    ------
    InputError
        If the pieces have no date.
    MissingDependency
        If pynwb or ndx-ethogram is not installed.
    """
    pynwb, ethograms = _libraries()
    first = pieces[0]
    if not all(piece.dated for piece in pieces):
        raise InputError(
            f'{first.file}: nobody knows when this recording was made, and NWB demands it. Put "recorded_at": '
            '"YYYY-MM-DDTHH:MM:SS+HH:MM" into its .labels.json, or take --format csv.'
        )
    zero_ns = first.start_ns // NS_PER_S * NS_PER_S
    file = pynwb.NWBFile(
        session_description=f"Behaviour of cage {first.cage}, labelled by {_bundles(pieces)}",
        # The same pieces give the same identifier.
        identifier=str(uuid5(NAMESPACE_URL, f"{first.cage} {first.start_ns} {pieces[-1].stop_ns}")),
        session_start_time=moment(zero_ns),
        source_script="toolkit logs export",
        source_script_file_name=", ".join(piece.file.name for piece in pieces),
        subject=pynwb.file.Subject(subject_id=first.cage, description="the animal in this cage"),
    )
    module = file.create_processing_module("behavior", "Behaviour as bouts of an ethogram")
    catalogue = _catalogue(ethograms, first)
    observed = _intervals(pynwb, "observation_intervals", "Time over which labels were assessed")
    for start_ns, stop_ns in _observed(pieces):
        observed.add_row(start_time=_s(start_ns - zero_ns), stop_time=_s(stop_ns - zero_ns))
    unobserved = _intervals(pynwb, "unobserved_intervals", "Time without labels: nothing is known of the behaviour")
    unobserved.add_column("reason", "Why there are no labels")
    for gap in _gaps(pieces):
        unobserved.add_row(
            start_time=_s(gap.start_ns - zero_ns), stop_time=_s(gap.stop_ns - zero_ns), reason=gap.reason
        )
    bouts = ethograms.EthogramBouts(
        name="bouts",
        description="Bouts of behaviour; of each the mean probability over its frames where it is known",
        labeling_method=_METHOD,
        source_software=f"toolkit {__version__}",
        parameters=json.dumps([dict(piece.made_by) for piece in pieces]),
        observation_intervals=observed,
        ethogram=catalogue,
    )
    bouts.add_column("mean_probability", "Mean probability of the label over the bout's frames; NaN: not known")
    for start_ns, stop_ns, label, probability in _bouts(pieces):
        bouts.add_row(
            start_time=_s(start_ns - zero_ns),
            stop_time=_s(stop_ns - zero_ns),
            label=label,
            mean_probability=probability,
        )
    for table in (catalogue, observed, unobserved, bouts):
        # An empty table has no types to store.
        if len(table):
            module.add(table)
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)


def _libraries() -> tuple[Any, Any]:
    try:
        import ndx_ethogram
        import pynwb
    except ImportError as error:
        raise MissingDependency(
            "NWB needs pynwb and ndx-ethogram, which are not installed here. Install them: pip install 'toolkit[nwb]'"
        ) from error
    return pynwb, ndx_ethogram


def _catalogue(ethograms: Any, piece: Piece) -> Any:
    catalogue = ethograms.Ethogram(name="ethogram", description="What the networks tell apart", exclusive=True)
    catalogue.add_column("behavior_type", "state or point")
    for behaviour in piece.ethogram.behaviours:
        catalogue.add_row(
            behavior=behaviour.name, definition=behaviour.definition or "not defined", behavior_type="state"
        )
    return catalogue


def _intervals(pynwb: Any, name: str, description: str) -> Any:
    return pynwb.epoch.TimeIntervals(name=name, description=description)


def _bouts(pieces: Sequence[Piece]) -> list[tuple[int, int, str, float]]:
    joined: list[tuple[int, int, str, float]] = []
    frames = 0
    for piece in pieces:
        for position, bout in enumerate(piece.bouts):
            label = piece.ethogram.names[bout.behaviour]
            start_ns, probability = bout.start_ns, bout.mean_probability
            if position == 0 and joined and joined[-1][1:3] == (bout.start_ns, label):
                start_ns, _, _, before = joined.pop()
                probability = (before * frames + probability * bout.frames) / (frames + bout.frames)
                frames += bout.frames
            else:
                frames = bout.frames
            joined.append((start_ns, bout.stop_ns, label, probability))
    return joined


def _observed(pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for piece in pieces:
        for start_ns, stop_ns in piece.observed.tolist():
            # Where a day ends between two rows, they are less than a row's time apart.
            if spans and start_ns - spans[-1][1] <= piece.frame_interval_ns:
                start_ns = spans.pop()[0]
            spans.append((start_ns, stop_ns))
    return spans


def _gaps(pieces: Sequence[Piece]) -> list[Gap]:
    gaps: list[Gap] = []
    for before, piece in zip([None, *pieces[:-1]], pieces, strict=True):
        if before is not None and piece.start_ns - before.stop_ns > piece.frame_interval_ns:
            gaps.append(Gap(before.stop_ns, piece.start_ns, "no-record"))
        gaps += piece.unobserved
    return gaps


def _bundles(pieces: Sequence[Piece]) -> str:
    names = {session["bundle"] for piece in pieces for session in piece.made_by.get("sessions", [piece.made_by])}
    return ", ".join(sorted(names))


def _s(time_ns: int) -> float:
    return time_ns / NS_PER_S
