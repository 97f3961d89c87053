"""The behaviour log: one SQLite file per cage and UTC day."""

from toolkit.behaviour_log.coverage import Interval
from toolkit.behaviour_log.log_writer import LogWriter
from toolkit.behaviour_log.reader import BehaviourLog, LoggedSession, log_files, read_log
from toolkit.behaviour_log.retention import Retention, mark_exported
from toolkit.behaviour_log.schema import Level, Quality, Reason
from toolkit.behaviour_log.session import ClockReading, Session

__all__ = [
    "BehaviourLog",
    "ClockReading",
    "Interval",
    "Level",
    "LogWriter",
    "LoggedSession",
    "Quality",
    "Reason",
    "Retention",
    "Session",
    "log_files",
    "mark_exported",
    "read_log",
]
