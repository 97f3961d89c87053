"""A daemon's health as Prometheus reads it: the text exposition format 0.0.4, base units, names `toolkit_cage_*`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, dict[str, str], float | None]
"""(suffix of the name, labels, value); a value of None is left out."""

Family = tuple[str, str, str, Sequence[Sample]]
"""(name without the prefix, type, help, samples); one without samples is left out."""


def metrics(status: Mapping[str, Any], *, well: bool, temperatures_c: Mapping[str, float]) -> str:
    """Return the metrics of a status.

    Parameters
    ----------
    status
        As `toolkit.cage.health.Health.status` gives it.
    well
        What ``/healthz`` says.
    temperatures_c
        Of the machine's thermal zones, degrees Celsius.
    """
    cage = {"cage": str(status["cage"])}
    return "".join(
        f"{line}\n"
        for name, kind, text, samples in _families(status, well, temperatures_c)
        for line in _family(f"toolkit_cage_{name}", kind, text, cage, samples)
    )


def _families(status: Mapping[str, Any], well: bool, temperatures_c: Mapping[str, float]) -> Iterator[Family]:
    def one(name: str, kind: str, text: str, value: float | None) -> Family:
        return name, kind, text, [("", {}, value)]

    yield one("healthy", "gauge", "1 where /healthz says 200.", int(well))
    yield one("frames_captured_total", "counter", "Frames that the camera delivered.", status["frames_captured"])
    yield one("frames_dropped_total", "counter", "Frames dropped because of overload.", status["frames_dropped"])
    yield one("frames_processed_total", "counter", "Frames through flow and clips.", status["frames_processed"])
    yield one("windows_skipped_total", "counter", "Windows that overload left out.", status["windows_skipped"])
    yield one("stride", "gauge", "Every n-th frame is classified now.", status["stride"])
    yield one("engine_failures_total", "counter", "Times the engines failed.", status["engine_failures"])
    yield one("engine_fallen_back", "gauge", "1 where other engines took over.", int(status["engine_fallen_back"]))
    yield one("source_restarts_total", "counter", "Times the camera was opened again.", status["source_restarts"])
    yield one("rows_total", "counter", "Rows in the log.", status["rows"])
    yield one("rows_refused_total", "counter", "Rows whose time was accounted for already.", status["rows_refused"])
    unobserved: list[Sample] = [("", {"reason": reason}, seconds) for reason, seconds in status["unobserved_s"].items()]
    yield "unobserved_seconds_total", "counter", "Time without rows.", unobserved
    yield (
        "stage_seconds",
        "summary",
        "Work by stage, all of it on frames (process), and the way from frame to row (frame_to_row).",
        [
            *_stages(status["stages"]),
            ("_sum", {"stage": "process"}, status["busy_s"]),
            ("_count", {"stage": "process"}, status["frames_processed"]),
            ("", {"stage": "frame_to_row", "quantile": "0.5"}, status["latency_p50_s"]),
            ("", {"stage": "frame_to_row", "quantile": "0.99"}, status["latency_p99_s"]),
            ("_sum", {"stage": "frame_to_row"}, status["latency_sum_s"]),
            ("_count", {"stage": "frame_to_row"}, status["latency_count"]),
        ],
    )
    yield one("queue_depth", "gauge", "Frames that wait to be processed.", status["queue_depth"])
    yield one("overloaded", "gauge", "1 while frames are dropped or windows left out.", int(status["overloaded"]))
    yield one("silent_seconds", "gauge", "Time since the camera's newest frame.", status["silent_s"])
    yield one("storage_free_bytes", "gauge", "Free space of the log's disk.", status["storage_free_bytes"])
    temperatures: list[Sample] = [("", {"zone": zone}, degrees) for zone, degrees in temperatures_c.items()]
    yield "temperature_celsius", "gauge", "Temperature of the machine's thermal zones.", temperatures
    yield one("clock_offset_seconds", "gauge", "Steps of the clock since the start.", status["clock_step_ns"] / 1e9)
    synchronised = status["clock_synchronised"]
    known = None if synchronised is None else int(synchronised)
    yield one("clock_synchronised", "gauge", "1 where the kernel holds the clock to be synchronised.", known)
    recording = status.get("recording")
    if recording is not None:
        active = int(recording["state"] == "recording")
        yield one("recording_active", "gauge", "1 while a file is being written.", active)
        paused = int(recording["fault"] is not None)
        yield one("recording_paused", "gauge", "1 while a fault keeps from recording.", paused)
        yield one("recording_frames_total", "counter", "Frames in recorded files.", recording["frames"])
        yield one("recording_dropped_total", "counter", "Frames the encoder was too slow for.", recording["dropped"])
        yield one("recording_stored_bytes", "gauge", "Size of the cage's recordings.", recording["stored_bytes"])
    mqtt = status.get("mqtt")
    if mqtt is not None:
        yield one("mqtt_connected", "gauge", "1 while the broker is there.", int(mqtt["connected"]))
        yield one("mqtt_queued", "gauge", "Bouts that wait for the broker.", mqtt["queued"])
        yield one("mqtt_sent_total", "counter", "Bouts that the broker acknowledged.", mqtt["sent"])
        yield one("mqtt_dropped_total", "counter", "Bouts that grew too old before.", mqtt["dropped"])
    info = {"bundle": status["bundle_sha256"], "state": status["state"]}
    engines = {"engine": " ".join(f"{stream}={engine}" for stream, engine in sorted(status["engines"].items()))}
    yield "info", "gauge", "What runs; always 1.", [("", info | engines, 1)]


def _stages(stages: Mapping[str, Mapping[str, float]]) -> Iterator[Sample]:
    for name, stage in stages.items():
        yield "_sum", {"stage": name}, stage["seconds"]
        yield "_count", {"stage": name}, stage["count"]


def _family(name: str, kind: str, text: str, cage: dict[str, str], samples: Sequence[Sample]) -> Iterator[str]:
    present = [(suffix, labels, value) for suffix, labels, value in samples if value is not None]
    if not present:
        return
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for suffix, labels, value in present:
        written = ",".join(f'{label}="{_escaped(content)}"' for label, content in (cage | labels).items())
        yield f"{name}{suffix}{{{written}}} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
