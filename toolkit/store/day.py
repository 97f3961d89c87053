"""A day's log as the store's tables: bouts, a summary of every second, coverage and provenance."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.behaviour_log import BehaviourLog, Quality
from toolkit.frames import NS_PER_S
from toolkit.store.tables import arrow, schema

_NS_PER_DAY = 86_400 * NS_PER_S


def day_tables(log: BehaviourLog) -> dict[str, Any]:
    """Return a pyarrow table for each of the store's tables.

    Parameters
    ----------
    log
        One UTC day of one cage.
    """
    return {
        "bouts": _bouts(log),
        "seconds": seconds_table(log),
        "observed": _spans("observed", observed_spans(log)),
        "unobserved": _unobserved(log),
        "sessions": _sessions(log),
    }


def observed_spans(log: BehaviourLog) -> NDArray[np.int64]:
    """Return (N, 2) int64 UTC ns, [start, stop): the time that rows stand for, as few disjoint spans."""
    starts, stops = log.time_ns, log.time_ns + log.duration_ns
    if not len(starts):
        return np.empty((0, 2), np.int64)
    apart = starts[1:] > stops[:-1]
    spans = np.column_stack([starts[np.r_[True, apart]], stops[np.r_[apart, True]]])
    if log.bouts:
        # A bout that crosses midnight is cut there, between two rows in two files.
        spans[0, 0] = min(spans[0, 0], log.bouts[0].start_ns)
        if log.bouts[-1].stop_ns > log.time_ns[-1]:
            spans[-1, 1] = log.bouts[-1].stop_ns
    return spans


def seconds_table(log: BehaviourLog) -> Any:
    """Return the summaries: a second's behaviour is that of most rows, of equals the ethogram's first."""
    pa = arrow()
    second = log.time_ns // NS_PER_S
    first = np.flatnonzero(np.r_[True, np.diff(second) != 0])[: len(second)]
    rows = np.diff(np.r_[first, len(second)])
    counts = np.stack([_sums(log.label == index, first) for index in range(len(log.ethogram))], axis=1)
    label = np.where(counts.max(axis=1, initial=0) > 0, counts.argmax(axis=1), -1)
    means = np.rint(_sums(log.probabilities, first) / rows[:, np.newaxis]).astype(np.uint8)
    own = means[np.arange(len(first)), label.clip(0)]
    behaviours = len(log.ethogram)
    offsets = np.arange(0, behaviours * len(first) + 1, behaviours, dtype=np.int32)
    columns = [
        pa.array(second[first] * 1_000_000, pa.timestamp("us", tz="UTC")),
        _names(log, label),
        pa.array(own, mask=label < 0),
        pa.array(_sums(log.duration_ns, first)),
        pa.array(rows.astype(np.int32)),
        pa.array((rows - counts.sum(axis=1)).astype(np.int32)),
        pa.array(_sums((log.quality & int(Quality.PADDED)) > 0, first).astype(np.int32)),
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(means.ravel())),
    ]
    return pa.Table.from_arrays(columns, schema=schema("seconds"))


def following(
    behaviour: NDArray[np.integer], start_ns: NDArray[np.int64], stop_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return (B,) int64 of each bout the behaviour that follows without a break, -1 for none."""
    return np.append(np.where(start_ns[1:] == stop_ns[:-1], behaviour[1:], -1), -1)[: len(behaviour)]


def _bouts(log: BehaviourLog) -> Any:
    pa = arrow()
    start_ns = np.array([bout.start_ns for bout in log.bouts], np.int64)
    stop_ns = np.array([bout.stop_ns for bout in log.bouts], np.int64)
    behaviour = np.array([bout.behaviour for bout in log.bouts], np.int64)
    columns = [
        _names(log, behaviour),
        *_span_columns(start_ns, stop_ns),
        pa.array([bout.frames for bout in log.bouts], pa.int32()),
        pa.array([bout.mean_probability for bout in log.bouts], pa.float32()),
        _names(log, following(behaviour, start_ns, stop_ns)),
        pa.array(start_ns % _NS_PER_DAY == 0),
    ]
    return pa.Table.from_arrays(columns, schema=schema("bouts"))


def _spans(table: str, spans: NDArray[np.int64]) -> Any:
    return arrow().Table.from_arrays(_span_columns(spans[:, 0], spans[:, 1]), schema=schema(table))


def _unobserved(log: BehaviourLog) -> Any:
    pa = arrow()
    spans = np.array([(gap.start_ns, gap.stop_ns) for gap in log.unobserved], np.int64).reshape(-1, 2)
    reasons = pa.array([gap.reason.value for gap in log.unobserved], pa.string())
    reasons = reasons.dictionary_encode().cast(pa.dictionary(pa.int16(), pa.string()))
    return pa.Table.from_arrays([*_span_columns(spans[:, 0], spans[:, 1]), reasons], schema=schema("unobserved"))


def _sessions(log: BehaviourLog) -> Any:
    pa = arrow()
    # A session that was killed has no end; its table has none either.
    ends = [session.stop_ns for session in log.provenance]
    rows = [
        {
            "uuid": session.uuid,
            "boot_id": session.boot_id,
            "host": session.host,
            "toolkit_version": session.toolkit_version,
            "bundle_name": session.bundle_name,
            "bundle_sha256": session.bundle_sha256,
            "engines": json.dumps(dict(session.engines)),
            "config_sha256": session.config_sha256,
            "config": json.dumps(dict(session.config)),
            "ethogram": log.ethogram.model_dump_json(),
            "level": session.level.value,
            "row_interval_ns": session.row_interval_ns,
            "start": session.start_ns // 1000,
            "stop": None if end is None else end // 1000,
            "start_ns": session.start_ns,
            "stop_ns": end,
            "stop_reason": session.stop_reason,
            "source": ", ".join(path.name for path in log.files),
        }
        for session, end in zip(log.provenance, ends, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=schema("sessions"))


def _span_columns(start_ns: NDArray[np.int64], stop_ns: NDArray[np.int64]) -> list[Any]:
    pa = arrow()
    moment = pa.timestamp("us", tz="UTC")
    return [pa.array(ns // 1000, moment) for ns in (start_ns, stop_ns)] + [pa.array(start_ns), pa.array(stop_ns)]


def _names(log: BehaviourLog, label: NDArray[np.integer]) -> Any:
    pa = arrow()
    indices = pa.array(label.astype(np.int16), mask=label < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(log.ethogram.names))


def _sums(values: NDArray[Any], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums of the runs that begin at `first`, along the first axis."""
    if not len(first):
        return np.empty((0, *values.shape[1:]), np.int64)
    sums: NDArray[np.int64] = np.add.reduceat(values, first, axis=0, dtype=np.int64)
    return sums
