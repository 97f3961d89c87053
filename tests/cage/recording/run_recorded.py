"""A daemon that records all the time until it is killed: ``run_recorded.py FOLDER``. Prints its committed rows."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cage.parts import config, parts
from tests.cage.recording.coded import CodedCamera
from toolkit.cage.daemon import run, stop_on_signals
from toolkit.cage.summary import Progress


def tell(progress: Progress) -> None:
    print(progress.rows, flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    recording = {"mode": "continuous", "folder": folder / "video", "min_free_gb": 0.0}
    with stop_on_signals() as stop:
        run(config(folder, recording=recording), stop=stop, on_progress=tell, parts=parts(CodedCamera(None)))
