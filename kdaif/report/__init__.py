"""The report of a finished job: one page a person reads from the top, and the same figures as JSON."""

from kdaif.report.facts import Weighed, most_harmful, weighed
from kdaif.report.report import ClassRow, Report
from kdaif.report.write import write_report

__all__ = ["ClassRow", "Report", "Weighed", "most_harmful", "weighed", "write_report"]
