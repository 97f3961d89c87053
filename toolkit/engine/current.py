"""Engines at the start of the daemon: those that are installed where they are good, else built now, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from toolkit.bundle import Bundle
from toolkit.engine.build import BuildProgress, build_engines
from toolkit.engine.select import EngineChoice, stale_engines
from toolkit.errors import EngineMismatch, raise_faults

StalePolicy = Literal["rebuild", "refuse"]


def ensure_current(
    bundle: Bundle,
    *,
    engine: EngineChoice = "auto",
    stale: StalePolicy = "rebuild",
    on_progress: Callable[[BuildProgress], None] | None = None,
    warn: Callable[[str], None],
) -> None:
    """Build a bundle's engines unless those that are installed are for this bundle, version and device.

    Parameters
    ----------
    stale
        ``rebuild`` tells `warn` every reason, a line each, and builds; ``refuse`` raises with them.
    on_progress
        Told how far a build is; what it raises stops it.

    Raises
    ------
    EngineMismatch
        If engines are stale and `stale` is ``refuse``.
    EngineError, MissingDependency
        If engines cannot be built, or not run here.
    """
    reasons = stale_engines(bundle, engine=engine)
    if stale == "refuse":
        summary = f"{bundle.path}: engines are stale, and rebuilding is off. Run: toolkit build-engine {bundle.path}"
        raise_faults(EngineMismatch, summary, reasons)
    if reasons:
        for reason in reasons:
            warn(f"building the engines of {bundle.manifest.name}: {reason}")
        build_engines(bundle, engine=engine, only_if_stale=True, on_progress=on_progress)
