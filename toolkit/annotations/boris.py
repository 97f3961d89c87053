"""BORIS's exports of aggregated and of tabular events, as CSV or TSV, with the videos beside or below them.

Times are seconds on the observation's clock and become frames by the video's own rate. ``Image index`` is not used:
BORIS gives none to a bout that it closes itself (NA), and users found it apart from the time
(github.com/olivierfriard/BORIS, issue 758). BORIS closes a bout 1 ms before the bout that excludes it
(github.com/neuroinformatics-unit/movement, pull request 865), which rounds to the same frame.

What would need a guess is a fault: an observation that runs on over several videos or has a time offset, since its
clock is then not its video's; several subjects; two observations of one video.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from math import isfinite
from pathlib import Path, PureWindowsPath

from toolkit.annotations.boris_table import Event, first_player, is_export, read_events
from toolkit.annotations.checks import (
    MAX_RATE_DIFFERENCE,
    Stretch,
    checked_intervals,
    files_below,
    group_of,
    opened,
)
from toolkit.annotations.contract import VIDEO_SUFFIXES, AnnotatedVideo, Form, Reading, Request
from toolkit.annotations.names import ethogram_of, our_name
from toolkit.ethogram import MOUSE_HOME_CAGE

_MAX_LENGTH_DIFFERENCE_S, _MAX_LENGTH_DIFFERENCE = 0.1, 0.001
"""Seconds, or share of the length if that is more: BORIS takes the file's, whose sound may end after its pictures."""


def _find(folder: Path) -> list[Path]:
    return [path for path in files_below(folder, (".csv", ".tsv", ".txt")) if is_export(path)]


def _read(request: Request, files: list[Path]) -> Reading:
    faults: list[str] = []
    observations = [events for path in files for events in _observations(path, request, faults)]
    rows = [event for events in observations for event in events]
    states = {event.behaviour for event in rows if event.kind != "POINT" and not event.source}
    reading = Reading(ethogram_of(request.behaviours, states or MOUSE_HOME_CAGE.names), faults=faults)
    first: dict[Path, Event] = {}
    meant = request.meant(events[0].media for events in observations)
    for events in observations:
        if events[0].media not in meant:
            continue
        path = _video(events, request, reading)
        if path is None:
            continue
        if path in first:
            faults.append(
                f"{first[path].where} and {events[0].where}: observations {first[path].observation!r} and "
                f"{events[0].observation!r} are of one video, {path.name}; keep one"
            )
            continue
        first[path] = events[0]
        reading.skipped += request.renamed(events[0].media)
        _read_video(path, events, request, reading)
    reading.skipped += [
        f"{video.relative_to(request.folder)}: in no export"
        for video in files_below(request.folder, VIDEO_SUFFIXES)
        if request.video is None and video not in first
    ]
    return reading


def _observations(path: Path, request: Request, faults: list[str]) -> Iterator[list[Event]]:
    """Yield the events of each observation in a file, with our names of behaviours."""
    name = os.path.relpath(path, request.folder)
    try:
        events = read_events(path, name)
    except ValueError as error:
        faults.append(f"{name}: {error}")
        return
    events.sort(key=lambda event: event.observation)
    for _, rows in groupby(events, key=lambda event: event.observation):
        yield [replace(event, behaviour=our_name(event.behaviour, request.behaviours)) for event in rows]


def _video(events: Sequence[Event], request: Request, reading: Reading) -> Path | None:
    """Return the one video that an observation is of, or None and why not."""
    head = events[0]
    said = f"{head.where}: observation {head.observation!r}"
    if head.source:
        reading.skipped.append(f"{said} is not of a video ({head.source})")
        return None
    media = sorted({event.media for event in events})
    parts = max(len(media), len(first_player(head.fps)), len(first_player(head.length_s)))
    if parts > 1:
        reading.faults.append(
            f"{said} runs on over {parts} videos, so that its times are not theirs; export one observation per video"
        )
    elif not media[0]:
        reading.faults.append(f"{said} names no video; open its media in BORIS, then export again")
    elif any(event.offset_s and _number(event.offset_s) != 0 for event in events):
        reading.faults.append(f"{said} has a time offset of {head.offset_s} s; set it to 0 in BORIS and export again")
    elif len(subjects := sorted({event.subject or "No focal subject" for event in events})) > 1:
        reading.faults.append(f"{said} is of {len(subjects)} subjects ({', '.join(subjects)}); export one of them")
    else:
        return request.video or _found(media[0], said, request.folder, reading.faults)
    return None


def _found(media: str, said: str, folder: Path, faults: list[str]) -> Path | None:
    """Return the file of that name in the data set, wherever it lay on the annotator's machine."""
    # Reads / and \ alike: annotators' machines are often not this one's kind.
    name = PureWindowsPath(media).name
    named = [path for path in files_below(folder, (Path(name).suffix.lower(),)) if path.name == name]
    if len(named) > 1 and folder / media in named:
        named = [folder / media]
    if len(named) == 1:
        return named[0]
    where = ", ".join(str(path.relative_to(folder)) for path in named)
    faults.append(
        f"{said}: video {name!r} is " + (f"there {len(named)} times: {where}" if named else f"not in {folder}")
    )
    return None


def _read_video(path: Path, events: Sequence[Event], request: Request, reading: Reading) -> None:
    video = opened(path, group_of(path, request, path.stem), reading.faults)
    reading.skipped += _points(events)
    stretches = list(_bouts(events, reading.faults))
    if video is None:
        return
    reading.faults += _differences(events[0], video)
    if intervals := checked_intervals(stretches, video, reading.ethogram, reading.faults):
        reading.videos.append(replace(video, intervals=intervals))
    elif not stretches:
        reading.skipped.append(f"{os.path.relpath(path, request.folder)}: no state event")


def _points(events: Sequence[Event]) -> Iterator[str]:
    points = [event for event in events if event.kind == "POINT"]
    for behaviour in sorted({point.behaviour for point in points}):
        mine = [point for point in points if point.behaviour == behaviour]
        more = f" (and {len(mine) - 1} more)" if len(mine) > 1 else ""
        yield f"{mine[0].where}{more}: {behaviour} is a point event, which has no length"


def _bouts(events: Sequence[Event], faults: list[str]) -> Iterator[Stretch]:
    """Yield the bouts of state events: a row each if aggregated, else from each START to its STOP."""
    open_since: dict[tuple[str, tuple[str, ...]], tuple[Event, float]] = {}
    timed = []
    for event in events:
        start, stop = _number(event.start_s), _number(event.stop_s)
        said = f"{event.where}: {event.behaviour}"
        if event.kind not in (("STATE", "POINT") if event.aggregated else ("START", "STOP", "POINT")):
            expected = "STATE or POINT" if event.aggregated else "START, STOP or POINT"
            faults.append(f"{said}: expected {expected}, found {event.kind!r}")
        elif event.kind == "POINT":
            continue
        elif start is None:
            faults.append(f"{said}: expected a time in seconds, found {event.start_s!r}")
        elif event.aggregated and stop is None:
            faults.append(f"{said} starts at {start:g} s and does not stop")
        elif event.aggregated:
            yield Stretch(event.where, start, stop or 0.0, event.behaviour, seconds=True)
        else:
            timed.append((event, start))
    for event, time in sorted(timed, key=lambda pair: pair[1]):
        key = (event.behaviour, event.modifiers)
        begun = open_since.pop(key, None)
        if event.kind == "START" and begun:
            faults.append(f"{begun[0].where}: {event.behaviour} starts at {begun[1]:g} s and again at {time:g} s")
        if event.kind == "START":
            open_since[key] = (event, time)
        elif begun:
            yield Stretch(begun[0].where, begun[1], time, event.behaviour, seconds=True)
        else:
            faults.append(f"{event.where}: {event.behaviour} stops at {time:g} s and did not start")
    for event, time in open_since.values():
        faults.append(f"{event.where}: {event.behaviour} starts at {time:g} s and does not stop")


def _differences(event: Event, video: AnnotatedVideo) -> Iterator[str]:
    """Yield where the rate and the length in an export are not its video's."""
    (fps_text,), (length_text,) = first_player(event.fps), first_player(event.length_s)
    for text, what in ((fps_text, "frame rate"), (length_text, "length in seconds")):
        if text and _number(text) is None:
            yield f"{event.where}: expected a {what}, found {text!r}"
    fps, length_s = _number(fps_text), _number(length_text)
    if fps is not None and abs(fps - video.fps) > MAX_RATE_DIFFERENCE * video.fps:
        yield (
            f"{event.where}: {fps:g} frames per second were annotated, {video.path.name} has {video.fps:g}; "
            "use the very file that was annotated"
        )
    own_s = video.frames / video.fps
    if length_s is not None and abs(length_s - own_s) > max(_MAX_LENGTH_DIFFERENCE_S, _MAX_LENGTH_DIFFERENCE * own_s):
        yield (
            f"{event.where}: {length_s:g} s were annotated, {video.path.name} lasts {own_s:g} s ({video.frames} "
            "frames); use the very file that was annotated"
        )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


BORIS = Form("events exported by BORIS", _find, _read)
