"""What the lab sees of a log: time budgets, ethograms, and a page with both."""

from toolkit.report.page import ReportFiles, write_report
from toolkit.report.time_budget import BehaviourTime, TimeBudget, time_budget, time_budget_table

__all__ = ["BehaviourTime", "ReportFiles", "TimeBudget", "time_budget", "time_budget_table", "write_report"]
