"""Clips for a person to score, drawn from what a network labelled, and what the scores say of it (docs/review.md)."""

from toolkit.sampling.dataset import write_sample_dataset
from toolkit.sampling.draw import Drawn, DrawOptions, draw
from toolkit.sampling.kappa import SampleAgreement, sample_agreement
from toolkit.sampling.scored import Scored, is_sample, read_scored
from toolkit.sampling.sources import Source, open_source
from toolkit.sampling.told import sample_lines, write_sample_agreement
from toolkit.sampling.written import write_sample

__all__ = [
    "DrawOptions",
    "Drawn",
    "SampleAgreement",
    "Scored",
    "Source",
    "draw",
    "is_sample",
    "open_source",
    "read_scored",
    "sample_agreement",
    "sample_lines",
    "write_sample",
    "write_sample_agreement",
    "write_sample_dataset",
]
