"""What the lab sees of logs and label files: time budgets, ethograms, mean days, groups compared, and a page."""

from toolkit.report.page import ReportFiles, ReportOptions, write_report
from toolkit.report.time_budget import BehaviourTime, TimeBudget, shares_table, time_budget, time_budget_table

__all__ = [
    "BehaviourTime",
    "ReportFiles",
    "ReportOptions",
    "TimeBudget",
    "shares_table",
    "time_budget",
    "time_budget_table",
    "write_report",
]
