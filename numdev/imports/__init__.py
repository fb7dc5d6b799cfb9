"""Measurements of others, as runs of an ordinary store."""

from numdev.imports.reports import Report
from numdev.imports.unannticipated import import_unannticipated

__all__ = ["Report", "import_unannticipated"]
