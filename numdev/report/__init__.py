"""The answer for people and for machines."""

from numdev.report.text import print_answer

__all__ = ["print_answer"]
