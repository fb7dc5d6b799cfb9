"""The target of the coverage-guided fuzzer for bundles. Run by run.py, needs atheris."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["numdev"]):
    from bundle_properties import one_input

if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
