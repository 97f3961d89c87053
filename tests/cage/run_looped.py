"""A daemon to be stopped by a signal: ``run_looped.py FOLDER VIDEO``. Prints the number of rows when it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.cage.parts import config, parts
from toolkit.cage.cameras import VideoFileCamera
from toolkit.cage.daemon import run, stop_on_signals
from toolkit.cage.summary import Progress


def tell(progress: Progress) -> None:
    print(progress.rows, flush=True)


if __name__ == "__main__":
    camera = VideoFileCamera(Path(sys.argv[2]), realtime=True, loop=True)
    with stop_on_signals() as stop:
        # A commit an hour: whatever is in the log was written by the clean stop.
        summary = run(config(Path(sys.argv[1]), log={"flush_s": 60}), stop=stop, on_progress=tell, parts=parts(camera))
    print("ended", summary.rows, flush=True)
