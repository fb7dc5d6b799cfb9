"""The job folder as the worker sees it; docs/architecture.md has its layout."""

from __future__ import annotations

import ctypes
import json
import os
import signal
from typing import Any, Dict, List, Optional

PROTOCOL = 1


class Job:
    """job.json and the folders beside it."""

    def __init__(self, folder: str, out: str) -> None:
        self.folder = os.path.abspath(folder)
        self.out = os.path.abspath(out)
        with open(os.path.join(self.folder, "job.json"), encoding="utf-8") as file:
            data = json.load(file)
        if data["protocol"] != PROTOCOL:
            raise SystemExit(f"job.json is of protocol {data['protocol']}, this worker speaks {PROTOCOL}")
        self.backend: str = data["backend"]
        self.memory: int = data["memory"]
        # The words before every interpreter: an emulator, which does not follow a program into those it starts.
        self.prefix: List[str] = data.get("prefix", [])
        self.cells: Dict[str, Dict[str, Any]] = {cell["id"]: cell for cell in data["cells"]}
        self.workloads: Dict[str, Dict[str, Any]] = data["workloads"]
        table = os.path.join(self.folder, "table.txt")
        self.table: Optional[str] = table if os.path.exists(table) else None

    def result_folder(self, cell: str) -> str:
        return os.path.join(self.out, cell)


def write_result(folder: str, result: Dict[str, Any]) -> None:
    """Writes result.json whole or not at all: a cell that is killed while writing has no result."""
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, ".result.json")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(result, file, sort_keys=True)
    os.replace(temporary, os.path.join(folder, "result.json"))


def die_with_parent() -> None:
    """Has the kernel end this process when the one that started it ends, however that happens."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
