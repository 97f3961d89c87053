"""Behaviour logs made without a cage, for the report's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolkit.behaviour_log import LogWriter, Quality, Reason, Session, read_log
from toolkit.behaviour_log.reader import BehaviourLog
from toolkit.bouts import DecisionFilter
from toolkit.ethogram import MOUSE_HOME_CAGE, Ethogram
from toolkit.report.from_logs import record_from_log
from toolkit.report.record import Bouts, CageRecord, Gap

START_NS = 1_763_900_000 * 1_000_000_000
INTERVAL_NS = 33_333_333


def write_log(
    folder: Path,
    labels: Sequence[int],
    *,
    gaps: Sequence[tuple[int, int, Reason]] = (),
    ethogram: Ethogram = MOUSE_HOME_CAGE,
    probability: Sequence[float] | None = None,
    config: str = "{}",
    cage: str = "cage-07",
    start_ns: int = START_NS,
    interval_ns: int = INTERVAL_NS,
    decide: DecisionFilter | None = None,
) -> Path:
    """Write a cage's log: a row a frame, but for the frames of `gaps` (first, stop, reason). Return its folder."""
    session = session_of(start_ns, interval_ns, ethogram, config)
    with LogWriter(folder, cage, session, lambda _: decide) as writer:
        missing = {first: (stop, reason) for first, stop, reason in gaps}
        frame = 0
        while frame < len(labels):
            if frame in missing:
                stop, reason = missing[frame]
                writer.unobserved(frame * interval_ns, stop * interval_ns, reason)
                frame = stop
                continue
            label = labels[frame]
            sure = 1.0 if probability is None else probability[frame]
            probabilities = np.full(len(ethogram), (1 - sure) / max(1, len(ethogram) - 1), dtype=np.float32)
            probabilities[max(label, 0)] = sure
            quality = Quality(0) if label >= 0 else Quality.UNCERTAIN
            writer.row(frame, frame * interval_ns, probabilities, None if label < 0 else label, quality)
            frame += 1
        writer.close("stopped")
    return folder / cage


def session_of(
    start_ns: int, interval_ns: int = INTERVAL_NS, ethogram: Ethogram = MOUSE_HOME_CAGE, config: str = "{}"
) -> Session:
    """Return the provenance of a log that no daemon wrote."""
    return Session(
        uuid="0b9c1c86-2f0e-4d4c-8f64-5f4f2e9a7d11",
        boot_id="5d1f7a52-bb1c-4f4b-8f3e-1f0a4d9f0c22",
        host="cage-nano-07",
        toolkit_version="0.1.0",
        bundle_name="demo",
        bundle_sha256="9f" * 32,
        engines={"rgb": "onnxruntime-1.23 cpu fp32", "flow": "onnxruntime-1.23 cpu fp32"},
        config_sha256="c4" * 32,
        config=config,
        ethogram=ethogram,
        utc_offset_ns=start_ns,
        row_interval_ns=interval_ns,
        start_ns=start_ns,
    )


def logged(folder: Path, labels: Sequence[int], **options: object) -> BehaviourLog:
    """Write a log and read it."""
    return read_log(write_log(folder, labels, **options))  # type: ignore[arg-type]


def recorded(folder: Path, labels: Sequence[int], **options: object) -> CageRecord:
    """Write a log and make its record."""
    return record_from_log(logged(folder, labels, **options))


def bouts(*rows: tuple[int, float, float], start_ns: int = 0) -> Bouts:
    """Return bouts of (behaviour, start s, stop s)."""
    table = np.array(rows, np.float64).reshape(-1, 3)
    starts, stops = (start_ns + np.rint(table[:, at] * 1e9).astype(np.int64) for at in (1, 2))
    return Bouts(table[:, 0].astype(np.int16), starts, stops)


def record(
    *rows: tuple[int, float, float],
    observed: Sequence[tuple[float, float]],
    gaps: Sequence[tuple[float, float, str]] = (),
    start_ns: int = 0,
    cage: str = "cage-07",
    ethogram: Ethogram = MOUSE_HOME_CAGE,
    dated: bool = True,
    interval_ns: int = INTERVAL_NS,
    files: tuple[str, ...] = ("a.sqlite",),
) -> CageRecord:
    """Return a record of bouts (behaviour, start s, stop s), observed spans and gaps, seconds from `start_ns`."""
    spans = start_ns + np.rint(np.array(observed, np.float64).reshape(-1, 2) * 1e9).astype(np.int64)
    unobserved = tuple(Gap(start_ns + round(a * 1e9), start_ns + round(b * 1e9), reason) for a, b, reason in gaps)
    return CageRecord(
        cage, ethogram, spans, unobserved, bouts(*rows, start_ns=start_ns), interval_ns, dated, files=files
    )


def plausible_labels(frames: int, seed: int) -> np.ndarray:
    """Bouts of log-normal length, rest the longest, as a mouse's."""
    random = np.random.default_rng(seed)
    share = np.array([0.07, 0.14, 0.16, 0.05, 0.24, 0.08, 0.1, 0.16])
    median_s = np.array([3.0, 5.0, 4.0, 2.0, 1.5, 1.2, 20.0, 1.8])
    labels: list[int] = []
    previous = -1
    while len(labels) < frames:
        behaviour = int(random.choice(8, p=share))
        if behaviour != previous:
            labels += [behaviour] * max(4, int(random.lognormal(np.log(median_s[behaviour]), 0.6) * 30))
            previous = behaviour
    return np.array(labels[:frames], dtype=np.int16)
