"""Reports: one file to read, print and pass on."""

from neva.reports.report import Report, make_report

__all__ = ["Report", "make_report"]
