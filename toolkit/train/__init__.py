"""Training: from an annotated data set to a run folder, a cross-validation, and a bundle.

Names are imported when they are first used (PEP 562), so that the room's torch-free half, which reads stored
predictions, opens without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.train.bundling import export_run
    from toolkit.train.crossval import CrossValidation, cross_validate
    from toolkit.train.progress import Progress
    from toolkit.train.runs import RunSummary, train

__all__ = ["CrossValidation", "Progress", "RunSummary", "cross_validate", "export_run", "train"]

_HOMES = {
    "CrossValidation": "crossval",
    "Progress": "progress",
    "RunSummary": "runs",
    "cross_validate": "crossval",
    "export_run": "bundling",
    "train": "runs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
