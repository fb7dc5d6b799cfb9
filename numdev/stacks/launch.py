"""The launcher for jobs on this machine's own system, whose files are not known beforehand.

    python -m numdev.stacks.launch --table TABLE --sites SITES -- PROGRAM ARGUMENTS...

As `numdev.worker.launcher`, but it looks into every file that it does not know.
"""

from __future__ import annotations

import sys

from numdev.files import cache_dir
from numdev.stacks.sites import finder
from numdev.worker import launcher

if __name__ == "__main__":
    launcher.main(sys.argv[1:], finder(cache_dir(), lambda line: print(f"numdev: {line}", file=sys.stderr)))
