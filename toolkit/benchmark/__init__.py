"""How fast a bundle is on this machine: measured, written down, compared with an earlier time."""

from toolkit.benchmark.compare import regressions
from toolkit.benchmark.measure import bench
from toolkit.benchmark.report import BenchReport, read_bench_report
from toolkit.benchmark.source import open_source

__all__ = ["BenchReport", "bench", "open_source", "read_bench_report", "regressions"]
