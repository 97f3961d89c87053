"""A builder that waits in the middle: ``build_on_command.py BUNDLE``. Prints ``building``, then waits for a line."""

from __future__ import annotations

import sys
from pathlib import Path

from toolkit.bundle import load_bundle
from toolkit.engine.build import BuildProgress, build_engines


def tell(progress: BuildProgress) -> None:
    if progress.stage == "verify" and not progress.done:
        print("building", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    built = build_engines(load_bundle(Path(sys.argv[1])), engine="onnxruntime", on_progress=tell)
    print(built[0].reason, flush=True)
