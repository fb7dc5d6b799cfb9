"""The answer for people and for machines."""

from numdev.report.attribution import print_attribution
from numdev.report.text import print_answer

__all__ = ["print_answer", "print_attribution"]
