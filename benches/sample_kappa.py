"""Is the kappa that a scored sample gives the whole time's? Many samples of one made-up week, scored by its truth.

The machine errs where it is unsure, in stretches of two seconds. Printed is the kappa of all rows, and over the samples
the mean and SD of the estimate, the mean of the clips' own kappa, and how often the 95 % interval holds the true one.

    python -m benches.sample_kappa --samples 200
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tests.sampling.parts import source
from tests.sampling.test_draw import bouts
from toolkit.annotations import Interval
from toolkit.ethogram import MOUSE_HOME_CAGE
from toolkit.sampling import DrawOptions, Scored, draw, sample_agreement
from toolkit.sampling.draw import Drawn
from toolkit.sampling.scored import ScoredClip
from toolkit.scoring import cohen_kappa

NAMES = MOUSE_HOME_CAGE.names
ROWS, TOGETHER = 210_000, 20
CASES = (
    ("behaviour", 0.5, 100),
    ("behaviour", 0.0, 100),
    ("time", 0.5, 100),
    ("time", 0.0, 100),
    ("behaviour", 0.5, 400),
)


def scored(number: int, drawn: Drawn, truth: int) -> ScoredClip:
    """Return a clip as a faultless scorer leaves it."""
    said = (Interval(10, 11, NAMES[truth]),)
    machine = NAMES[drawn.label]
    return ScoredClip(
        str(number), Path("none"), "a1", None, 20, 10, machine, drawn.stratum, drawn.stands_for_s, said, False
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200)
    samples = parser.parse_args().samples
    random = np.random.default_rng(3)
    machine = bouts(ROWS, 3)
    confidence = np.repeat(random.uniform(0.3, 1, ROWS // TOGETHER), TOGETHER).astype(np.float32)
    chance = np.repeat(random.random(ROWS // TOGETHER), TOGETHER)
    other = np.repeat(random.integers(0, 4, ROWS // TOGETHER), TOGETHER)
    truth = np.where(chance < confidence, machine, other)
    week = source(machine, confidence, days=7)
    whole = cohen_kappa(np.bincount(truth * 4 + machine, minlength=16).reshape(4, 4))
    for by, low_share, clips in CASES:
        estimates, raw, held = [], [], 0
        for seed in range(samples):
            options = DrawOptions(clips, by=by, low_share=low_share, seed=seed)  # type: ignore[arg-type]
            drawn = draw([week], options).clips
            made = tuple(scored(n, one, int(truth[one.span.centre_frame])) for n, one in enumerate(drawn))
            part = sample_agreement(Scored(Path("none"), MOUSE_HOME_CAGE, made)).whole
            estimates.append(part.kappa)
            raw.append(part.clips_kappa)
            low, high = part.kappa_interval or (np.nan, np.nan)
            held += low <= whole <= high
        print(
            f"--by {by} --low-share {low_share} --clips {clips}: true {whole:.3f}, estimate {np.mean(estimates):.3f} "
            f"SD {np.std(estimates, ddof=1):.3f}, kappa of clips {np.mean(raw):.3f}, interval held {held} of {samples}",
            flush=True,
        )
