"""numdev in a process of its own, and the most memory that it had: `python tests/peak.py bundle verify FILE`.

The last line of its stderr is the number of MiB. It is the kernel's VmHWM and not getrusage's ru_maxrss: that one is
handed on by the process that started this one, so a test in a large pytest would measure pytest.
"""

import sys

from numdev.cli import main


def peak() -> int:
    """MiB that this program had in memory at most, since it was started."""
    with open("/proc/self/status") as status:
        (most,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(most) >> 10


if __name__ == "__main__":
    try:
        main()
    finally:
        print(peak(), file=sys.stderr)
