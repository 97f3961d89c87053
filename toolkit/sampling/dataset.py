"""A scored sample as a data set to train on: each clip a video of its own, so that no network's clip crosses two."""

from __future__ import annotations

import shutil
from pathlib import Path

from toolkit.annotations import ANNOTATIONS, AnnotatedVideo, write_interval_table
from toolkit.errors import InputError
from toolkit.files import atomic_directory
from toolkit.frames import probe
from toolkit.sampling.scored import Scored


def write_sample_dataset(scored: Scored, folder: Path) -> tuple[int, int]:
    """Write ``videos/`` and ``annotations.csv`` of the clips that say something; return their and their frames' number.

    Raises
    ------
    InputError
        If the folder exists, or nothing was scored.
    VideoError
        If a clip is not there.
    """
    clips = [clip for clip in scored.clips if clip.intervals]
    if not clips:
        raise InputError(f"{scored.folder}: nothing was scored. Expected behaviours in its scoring.csv.")
    frames = sum(one.stop_frame - one.start_frame for clip in clips for one in clip.intervals)
    with atomic_directory(folder) as beside:
        (beside / "videos").mkdir()
        videos = []
        for clip in clips:
            fps = float(probe(clip.path).fps)
            copy = Path(shutil.copy2(clip.path, beside / "videos" / clip.name))
            videos.append(AnnotatedVideo(copy, clip.cage, fps, clip.frames, clip.intervals))
        write_interval_table(beside / ANNOTATIONS, videos)
    return len(clips), frames
