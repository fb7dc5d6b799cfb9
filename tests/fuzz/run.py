"""The coverage-guided fuzzer of what reads dumps: `make fuzz SECONDS=60`. Ends with the fuzzer's own exit code.

Its seeds are written from the catalogue's profiles each time, in all forms that dumps have. What it finds is left in
build/fuzz, one file an input; `python tests/fuzz/dumps.py FILE` runs it again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from numdev import cpu
from numdev.cpu.capture import Capture
from numdev.cpu.host import Host
from numdev.cpu.machine import Measured, Record
from numdev.cpu.table import build

HERE = Path(__file__).resolve().parent
FINDINGS = HERE.parents[1] / "build" / "fuzz"
PROFILES = ("nehalem", "skylake-sp", "graniterapids", "zen2", "zen5")
WORDS = [
    *("CPUID ", "[SL 01]", "CPU 1:", "CPU#001 AffMask", "------[ Logical CPU #1 ]------", "CPUID Registers (CPU #1):"),
    *("numdev-capture", "numdev-record", "leaves", "facts", "fingerprint", "stacks", "operations", "dispatch"),
    *("numdev-cpuid 1", "rewritten", "pass ", "mask ", "eax=0x", "\\xef\\xbb\\xbf", "\\xff\\xfe", "\\xfe\\xff"),
]


@dataclass(frozen=True)
class Told:
    """What libFuzzer says at its end. coverage: edges of the Python code that were reached."""

    code: int
    executions: int
    per_second: int
    coverage: int
    text: str


def seeds() -> list[bytes]:
    """One input in each form, of each of some processors."""
    forms = SimpleNamespace(**runpy.run_path(str(HERE.parent / "cpu" / "forms.py")))
    host = Host({(0, 0): (0x24, 0, 0, 0), (0x80000000, 0): (0x80000021, 0, 0, 0)}, "")
    found: list[bytes] = []
    for name in PROFILES:
        leaves = forms.table_of(name, host)
        found += [forms.written(form, leaves, 2).encode() for form in forms.FORMS]
        captured = Capture(leaves, {"kernel": "6.1.0"}, {"rcpps": "a" * 64})
        measured = Measured(stack="a" * 64, battery="b" * 64, dispatch={"x": "y"}, operations={"numpy exp": "c" * 64})
        found += [json.dumps(one.json()).encode() for one in (captured, Record(captured, {"numpy-2.4": measured}))]
        found.append(build(cpu.load(name), host, rewritten=True).text().encode())
    found.append(forms.written("aida64", leaves).replace("\n", "\r\n").encode("utf-16"))
    return found


def fuzz(seconds: int) -> Told:
    """Fuzzes for so long, or to the first finding."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="numdev-fuzz-") as name:
        folder = Path(name)
        corpus, words = folder / "corpus", folder / "words"
        corpus.mkdir()
        for index, data in enumerate(seeds()):
            (corpus / f"{index:03d}").write_bytes(data)
        words.write_text("".join(f'"{word}"\n' for word in WORDS))
        argv = [sys.executable, str(HERE / "dumps.py"), f"-max_total_time={seconds}", f"-dict={words}"]
        # An input that takes 5 s or more than 1 GiB is a finding; a larger dump than 32 KiB adds lines and no new ways.
        argv += ["-timeout=5", "-rss_limit_mb=1024", "-max_len=32768", "-print_final_stats=1"]
        argv += [f"-artifact_prefix={FINDINGS}/", str(corpus)]
        path = [str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": ":".join(path)}
        done = subprocess.run(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 120, check=False
        )
    text = done.stdout.decode("utf-8", "replace")

    def last(pattern: str) -> int:
        return int((re.findall(pattern, text) or ["0"])[-1])

    return Told(
        done.returncode,
        last(r"number_of_executed_units: ([0-9]+)"),
        last(r"average_exec_per_sec: +([0-9]+)"),
        last(r"cov: ([0-9]+)"),
        text,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    told = fuzz(parser.parse_args().seconds)
    if told.code:
        print(told.text[-6000:])
        print(f"Found something: see {FINDINGS}")
    print(f"{told.executions:,} executions, {told.per_second:,} a second, {told.coverage:,} edges covered")
    sys.exit(told.code)


if __name__ == "__main__":
    main()
