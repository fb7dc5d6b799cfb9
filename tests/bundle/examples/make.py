"""Makes the stored example of this version of the format anew: `python tests/bundle/examples/make.py`.

An example of a version is made once, when that version is new: later numdevs have to read it as it is. Until the first release
that writes the version, it may be made again; its digest in test_examples.py then changes with it.
"""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

from numdev.bundle import layout
from numdev.bundle.create import Options, create
from numdev.bundle.verify import verify

HERE = Path(__file__).resolve().parent


def make(folder: Path) -> Path:
    """The example of this version, in `folder`."""
    made = runpy.run_path(str(HERE.parent / "conftest.py"))
    out = folder / f"v{layout.FORMAT}.bundle.tar"
    options = Options(title="An example of the format", authors=("A. Author",), license="CC-BY-4.0")
    with tempfile.TemporaryDirectory() as name:
        create(made["a_store"](Path(name) / "store"), "m", out, Path(name) / "cache", options)
    return out


if __name__ == "__main__":
    made = make(HERE)
    print(made, verify(made).digest)
