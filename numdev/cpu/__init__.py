"""The CPU a program is shown: profiles, this host, and the CPUID table that one becomes on the other."""

from numdev.cpu import emulated, foreign, knobs
from numdev.cpu.capture import Capture, capture, profile_of, read_capture
from numdev.cpu.differences import differences, essence, silicon, tables
from numdev.cpu.emulated import Emulated
from numdev.cpu.foreign import Foreign
from numdev.cpu.host import VENDORS, Host, OtherHost, host, need_x86, only_here
from numdev.cpu.knobbed import Knobbed, in_words, obedience
from numdev.cpu.ladder import EMULATE, KNOBS, RUNGS, contradictions, enforced, pair
from numdev.cpu.profile import HOST, Profile, load, names
from numdev.cpu.realised import dispatch
from numdev.cpu.table import BEST, CPUID, INTERSECT, REFUSE, REWRITE, Shown, file_of, find, replica, shown

__all__ = [
    "BEST",
    "CPUID",
    "EMULATE",
    "HOST",
    "INTERSECT",
    "KNOBS",
    "REFUSE",
    "REWRITE",
    "RUNGS",
    "VENDORS",
    "Capture",
    "Emulated",
    "Foreign",
    "Host",
    "Knobbed",
    "OtherHost",
    "Profile",
    "Shown",
    "capture",
    "contradictions",
    "differences",
    "dispatch",
    "emulated",
    "enforced",
    "essence",
    "file_of",
    "find",
    "foreign",
    "host",
    "in_words",
    "knobs",
    "load",
    "names",
    "need_x86",
    "obedience",
    "only_here",
    "pair",
    "profile_of",
    "read_capture",
    "replica",
    "shown",
    "silicon",
    "tables",
]
