"""What the tables of a cage's configuration have in common, wherever each is defined."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, ValidationInfo


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: no such user's home. Write the path in full") from None
    return path if folder is None else Path(os.path.normpath(folder / path))


PathBesideFile = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path; a relative one counts from the folder of the configuration file."""


# The docstring under each field is also its comment in the file that `write_config` writes.
STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
