"""A bundle whose networks see brightness, and what labelling needs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bundles import DifferenceFlow, RecordingBackend, manifest
from toolkit.bundle import Bundle
from toolkit.engine.host import HostNetworks
from toolkit.labelling import LabelOptions, LabelSummary, Outputs, label_video, plan_outputs

FPS = 30


class BrightnessNetwork(RecordingBackend):
    """Says behaviour 7 (walk) for a bright centre frame and 6 (rest) for a dark one."""

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = np.zeros((1, 8), dtype=np.float32)
        logits[0, 7 if clips[0, 0, 8].mean() > 0 else 6] = 4.0
        self.clips.append(clips[:, :1, :1, :1, :1])
        return logits


def networks_of(bundle: Bundle) -> HostNetworks:
    backends = {"rgb": BrightnessNetwork(), "flow": RecordingBackend()}
    return HostNetworks(bundle.manifest, DifferenceFlow(), backends)


def bundle_in(folder: Path, sha256: str = "f" * 64) -> Bundle:
    return Bundle(folder, manifest(), sha256)


def label(video: Path, out: Path, **options: Any) -> tuple[LabelSummary, Outputs]:
    """Label one video; unlike the product's default, without judging the view of these flat pictures."""
    chosen = LabelOptions(**{"view_check": False, **options})
    ((_, outputs),) = plan_outputs([video], out, chosen)
    bundle = bundle_in(video.parent)
    summary = label_video(video, bundle, outputs, networks=networks_of(bundle), options=chosen)
    return summary, outputs


def lively(count: int, levels: tuple[int, int] = (60, 190), seed: int = 5) -> NDArray[np.uint8]:
    """Return (count, 48, 64, 3) frames of one scene with a sensor's noise, which the view's check believes."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(*levels, (12, 16, 3)).repeat(4, axis=0).repeat(4, axis=1)
    noisy = scene + rng.normal(0, 4.0, (count, *scene.shape))
    return noisy.round().clip(0, 255).astype(np.uint8)
