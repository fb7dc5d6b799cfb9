"""The CPU a program is shown: profiles, this host, and the CPUID table that one becomes on the other."""

from numdev.cpu import knobs
from numdev.cpu.capture import capture, differences, profile_of, read_capture
from numdev.cpu.host import Host, host
from numdev.cpu.profile import HOST, Profile, load, names
from numdev.cpu.realised import contradictions
from numdev.cpu.table import BEST, CPUID, INTERSECT, REFUSE, REWRITE, RUNGS, Shown, find, replica, shown

__all__ = [
    "BEST",
    "CPUID",
    "HOST",
    "INTERSECT",
    "REFUSE",
    "REWRITE",
    "RUNGS",
    "Host",
    "Profile",
    "Shown",
    "capture",
    "contradictions",
    "differences",
    "find",
    "host",
    "knobs",
    "load",
    "names",
    "profile_of",
    "read_capture",
    "replica",
    "shown",
]
