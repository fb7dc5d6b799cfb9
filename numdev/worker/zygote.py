"""A process that has imported the framework and nothing else, from which cells are forked.

    python -m numdev_worker.zygote JOB OUT

It reads the id of a cell from standard input, answers `pid N`, and when that process has ended `end STATUS`, with
its wait status. Importing a framework costs many times what a small cell does; a fork shares it and still gives every cell
a process of its own.
"""

from __future__ import annotations

import os
import sys

from . import backends, cell
from .job import Job, die_with_parent


def main(folder: str, out: str) -> None:
    die_with_parent()
    job = Job(folder, out)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # Nothing that a framework prints may look like an answer.
    os.dup2(2, 1)
    try:
        backends.backend(job.backend).preload()
    except BaseException as error:
        answers.write("failed " + " ".join(f"{type(error).__name__}: {error}".split())[:2000] + "\n")
        return
    answers.write("ready\n")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            die_with_parent()
            answers.close()
            cell.run(job, line.strip())
            os._exit(0)
        answers.write(f"pid {pid}\n")
        answers.write(f"end {os.waitpid(pid, 0)[1]}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
