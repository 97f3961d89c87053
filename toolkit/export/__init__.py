"""What other programs read: BORIS, DeepEthogram, NWB, CSV, and the store of Parquet."""

from toolkit.export.job import FORMATS, PARTIAL, Exported, ExportOptions, export_logs
from toolkit.export.piece import Piece

__all__ = ["FORMATS", "PARTIAL", "ExportOptions", "Exported", "Piece", "export_logs"]
