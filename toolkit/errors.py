"""Every error the toolkit raises on purpose, so that a command can tell a user's mistake from a bug.

::

    ToolkitError
    ├── InputError            something the user gave: a file, an argument, a key
    │   ├── VideoError        unreadable, empty, truncated or variable-frame-rate video
    │   ├── AnnotationError   unknown behaviour, bad interval, missing video
    │   ├── DatasetError      a data set that cannot be trained or cross-validated on
    │   ├── ConfigError       unknown key, wrong type or value in a configuration
    │   └── BundleError       a bundle that fails its hashes or its schema
    ├── EngineError           an engine that cannot be built, loaded or run
    │   └── EngineMismatch    an engine made for another bundle, version or device
    ├── FlowError             optical flow that cannot be computed
    ├── CameraError           a camera that cannot be opened or stopped delivering
    ├── LogError              a behaviour log that cannot be opened, written or read
    │   └── LogBusy           another daemon writes it
    └── MissingDependency     an optional package that this command needs

A message says what was expected, what was found and what to do next. The command line prints it without a
traceback and exits with `ToolkitError.exit_code`.
"""

from __future__ import annotations

from collections.abc import Sequence


class ToolkitError(Exception):
    """Root of the tree. `exit_code` is the process's exit status when it reaches the command line."""

    exit_code = 1


class InputError(ToolkitError):
    """Something the user gave cannot be used."""


class VideoError(InputError):
    """A video is unreadable, empty, truncated, or its frame rate varies."""


class AnnotationError(InputError):
    """An annotation names an unknown behaviour, a missing video, or an impossible interval."""


class DatasetError(InputError):
    """A data set cannot be trained or cross-validated on."""


class ConfigError(InputError):
    """A configuration has an unknown key, or a value of the wrong type or range."""


class BundleError(InputError):
    """A bundle fails its hashes, its schema, or lacks a file."""


class EngineError(ToolkitError):
    """An engine cannot be built, loaded or run."""


class EngineMismatch(EngineError):
    """An engine was made for another bundle, library version or device."""


class FlowError(ToolkitError):
    """Optical flow cannot be computed."""


class CameraError(ToolkitError):
    """A camera cannot be opened, or stopped delivering frames."""


class LogError(ToolkitError):
    """A behaviour log cannot be opened, written or read."""


class LogBusy(LogError):
    """Another daemon writes the behaviour log: what lies beside it is that daemon's."""


class MissingDependency(ToolkitError):
    """An optional package is needed and absent; the message says how to install it."""


def raise_faults(error: type[ToolkitError], summary: str, faults: Sequence[str]) -> None:
    """Raise `error` with every fault on its own line, or return when there is none.

    Parameters
    ----------
    error
        The class to raise.
    summary
        One line naming what was checked, e.g. ``"annotations.csv cannot be used"``.
    faults
        One sentence each.
    """
    if faults:
        raise error("\n".join([f"{summary}:", *(f"  - {fault}" for fault in faults)]))
