"""How well labels agree with an observer's: one home for training, validation and reports."""

from toolkit.scoring.bouts import (
    IOU_THRESHOLDS,
    BoutScores,
    MatchedBouts,
    bout_scores,
    matched_bouts,
    pooled_bout_scores,
)
from toolkit.scoring.calibration import (
    CALIBRATION_BINS,
    Reliability,
    best_temperature,
    negative_log_likelihood,
    reliability,
)
from toolkit.scoring.frames import (
    FrameScores,
    accuracy,
    cohen_kappa,
    confusion_matrix,
    frame_scores,
    mean_accuracy,
    pooled_accuracy,
)
from toolkit.scoring.resampling import FEWEST_GROUPS, RESAMPLES, bootstrap_intervals, resampled_groups

__all__ = [
    "CALIBRATION_BINS",
    "FEWEST_GROUPS",
    "IOU_THRESHOLDS",
    "RESAMPLES",
    "BoutScores",
    "FrameScores",
    "MatchedBouts",
    "Reliability",
    "accuracy",
    "best_temperature",
    "bootstrap_intervals",
    "bout_scores",
    "cohen_kappa",
    "confusion_matrix",
    "frame_scores",
    "matched_bouts",
    "mean_accuracy",
    "negative_log_likelihood",
    "pooled_accuracy",
    "pooled_bout_scores",
    "reliability",
    "resampled_groups",
]
