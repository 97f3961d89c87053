"""Labelled intervals of videos, and the forms in which a data set folder holds them (docs/annotations.md)."""

from toolkit.annotations.contract import (
    ANNOTATIONS,
    UNLABELLED,
    VIDEO_SUFFIXES,
    AnnotatedDataset,
    AnnotatedVideo,
    Interval,
    intervals_from_labels,
)
from toolkit.annotations.dataset import load_dataset
from toolkit.annotations.interval_table import write_interval_table
from toolkit.annotations.single import load_annotation

__all__ = [
    "ANNOTATIONS",
    "UNLABELLED",
    "VIDEO_SUFFIXES",
    "AnnotatedDataset",
    "AnnotatedVideo",
    "Interval",
    "intervals_from_labels",
    "load_annotation",
    "load_dataset",
    "write_interval_table",
]
