"""The battery together with what the libraries in its process chose: one stack's part of a machine's record.

python -m numdev_worker.measure OUT TABLE|-|emulated [MODEL INPUTS]...
"""

from __future__ import annotations

import json
import sys
from typing import List

import numpy as np

from . import battery, defects, readback


def main(arguments: List[str]) -> None:
    """Writes {"operations": {name: digest}, "realised": see readback.py, "defects": those of an emulator}.

    `-` stands for the real processor, `emulated` for an emulator's.
    """
    out, table, *models = arguments
    with np.errstate(all="ignore"):
        operations = battery.run(models)
    found = {
        "operations": operations,
        "realised": readback.read(None if table in ("-", "emulated") else table, emulated=table == "emulated"),
        "defects": defects.found() if table == "emulated" else [],
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(found, file, sort_keys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
