"""Two labellings of one video beside each other: two observers', or an observer's and a network's."""

from toolkit.agreement.compare import Agreement, Disagreement, compare
from toolkit.agreement.labelled import Labelled
from toolkit.agreement.names import Names, read_renames
from toolkit.agreement.sources import read_pair
from toolkit.agreement.written import summary_lines, write_agreement

__all__ = [
    "Agreement",
    "Disagreement",
    "Labelled",
    "Names",
    "compare",
    "read_pair",
    "read_renames",
    "summary_lines",
    "write_agreement",
]
