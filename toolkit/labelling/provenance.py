"""What made a video's labels: written beside them last, and read to tell whether they need making again."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import av
from pydantic import BaseModel, ConfigDict, ValidationError

from toolkit import __version__
from toolkit.bundle import Bundle
from toolkit.errors import InputError
from toolkit.files import atomic_write, sha256_of_file
from toolkit.frames import probe
from toolkit.labelling.options import LabelOptions
from toolkit.labelling.outputs import Outputs

SCHEMA_VERSION = 1


class LabelProvenance(BaseModel):
    """What ``STEM.labels.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: int = SCHEMA_VERSION
    video: str
    """Whole path."""
    video_sha256: str
    video_bytes: int
    video_mtime_ns: int
    frames: int
    """Frames decoded."""
    fps: float
    """Nominal frames per second."""
    recorded_at: str | None
    """When the recording began, as the container says it (ISO 8601); None where it does not."""
    bundle: str
    bundle_sha256: str
    behaviours: tuple[str, ...]
    """The ethogram's names in order."""
    engines: dict[str, str]
    """What computed each stream and the flow."""
    options: LabelOptions
    rows: int
    """Rows of the table of frames."""
    unlabelled: dict[str, int]
    """Rows without a label, by what the view showed instead."""
    toolkit: str = __version__
    labelled_at: str
    """UTC, ISO 8601."""
    files: dict[str, int]
    """Bytes of each file that was written, by name."""


def write_provenance(outputs: Outputs, provenance: LabelProvenance) -> None:
    """Write the provenance, which says that the other files are complete."""
    with atomic_write(outputs.provenance) as beside:
        beside.write_text(provenance.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_provenance(path: Path) -> LabelProvenance | None:
    """Return what a provenance file says; None if it is absent, or not one of this version."""
    try:
        return LabelProvenance.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def is_done(video: Path, bundle: Bundle, outputs: Outputs, options: LabelOptions) -> bool:
    """Say whether a video's labels are there and were made of this file, by this bundle, with these options.

    A video of the same size and time of change is the same; else its content decides. Which machine or library made
    them does not count.

    Raises
    ------
    InputError
        If the labels are of another video.
    """
    made = read_provenance(outputs.provenance)
    if made is None:
        return False
    status = video.stat()
    untouched = (made.video_bytes, made.video_mtime_ns) == (status.st_size, status.st_mtime_ns)
    here = str(video.resolve()) == made.video
    same = (here and untouched) or sha256_of_file(video) == made.video_sha256
    if not same and not here:
        raise InputError(
            f"{video}: its labels would replace those of another video, {made.video}, in {outputs.labels}. Name "
            "another --out, or pass --overwrite."
        )
    complete = {path.name: path.stat().st_size for path in outputs.data if path.is_file()} == made.files
    return same and complete and made.bundle_sha256 == bundle.sha256 and made.options == options


def recorded_at(video: Path) -> str | None:
    """Return when the container says that the recording began, ISO 8601 in UTC; None where it does not say.

    Raises
    ------
    VideoError
        If the video cannot be read.
    """
    probe(video)
    with av.open(str(video)) as container:
        said = container.metadata.get("creation_time") or container.streams.video[0].metadata.get("creation_time")
    try:
        moment = datetime.fromisoformat(said.replace("Z", "+00:00")) if said else None
    except ValueError:
        return None
    # MP4's zero is 1904; a time zone is needed to know the moment.
    if moment is None or moment.tzinfo is None or moment.year < 1971:
        return None
    return moment.astimezone(timezone.utc).isoformat()


def now_utc() -> str:
    """Return the time, ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
