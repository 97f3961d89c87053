"""Training: from an annotated data set to a run folder, a cross-validation, and a bundle."""

from toolkit.train.bundling import export_run
from toolkit.train.crossval import CrossValidation, cross_validate
from toolkit.train.progress import Progress
from toolkit.train.runs import RunSummary, train

__all__ = ["CrossValidation", "Progress", "RunSummary", "cross_validate", "export_run", "train"]
