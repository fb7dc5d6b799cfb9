"""The coverage-guided fuzzer of what reads dumps and bundles: `make fuzz SECONDS=60`, for each. Ends with the fuzzer's own exit code.

Its seeds are made each time: dumps from the catalogue's profiles, in all forms that they have; a bundle by hand, with each of its
members. What it finds is left in build/fuzz, one file an input; `python tests/fuzz/dumps.py FILE` (or bundles.py) runs it again.
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
WORDS = {
    "dumps": [
        *(
            "CPUID ",
            "[SL 01]",
            "CPU 1:",
            "CPU#001 AffMask",
            "------[ Logical CPU #1 ]------",
            "CPUID Registers (CPU #1):",
        ),
        *("numdev-capture", "numdev-record", "leaves", "facts", "fingerprint", "stacks", "operations", "dispatch"),
        *("numdev-cpuid 1", "rewritten", "pass ", "mask ", "eax=0x", "\\xef\\xbb\\xbf", "\\xff\\xfe", "\\xfe\\xff"),
    ],
    "bundles": [
        *("SHA256SUMS", "one/", "ustar", "outputs/", "cells.jsonl", "facts.jsonl", "run.json", "missing", "unrealised"),
        *(
            "digest",
            "factors",
            "outputs",
            "signature",
            "causes",
            "declared",
            "environment",
            "realised",
            "rounds",
            "tap",
        ),
        *("@id", "@type", "hasPart", "CreateAction", "conformsTo", "payload", "signatures", "subject", "predicateType"),
        *(
            "NaN",
            "1e999",
            "-0.0",
            "null",
            "\\\\ud800",
            "[[[[[[[[",
            "{\\x22\\x22:",
            "--hash=sha256:",
            "pins:",
            "dockerfile:",
        ),
    ],
}


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


def of_bundles() -> list[bytes]:
    """The seeds of the other target."""
    return SimpleNamespace(**runpy.run_path(str(HERE / "bundle_properties.py"))).seeds()


LONGEST = {"dumps": 32768, "bundles": 65536}
SEEDS = {"dumps": seeds, "bundles": of_bundles}


def fuzz(seconds: int, target: str = "dumps") -> Told:
    """Fuzzes for so long, or to the first finding."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="numdev-fuzz-") as name:
        folder = Path(name)
        corpus, words = folder / "corpus", folder / "words"
        corpus.mkdir()
        for index, data in enumerate(SEEDS[target]()):
            (corpus / f"{index:03d}").write_bytes(data)
        words.write_text("".join(f'"{word}"\n' for word in WORDS[target]))
        argv = [sys.executable, str(HERE / f"{target}.py"), f"-max_total_time={seconds}", f"-dict={words}"]
        # An input that takes 5 s or more than 1 GiB is a finding; a larger dump than 32 KiB adds lines and no new ways.
        argv += ["-timeout=5", "-rss_limit_mb=1024", f"-max_len={LONGEST[target]}", "-print_final_stats=1"]
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
    parser.add_argument("--target", choices=SEEDS, action="append")
    asked = parser.parse_args()
    worst = 0
    for target in asked.target or SEEDS:
        told = fuzz(asked.seconds, target)
        if told.code:
            print(told.text[-6000:])
            print(f"Found something: see {FINDINGS}")
        said = f"{told.executions:,} executions, {told.per_second:,} a second, {told.coverage:,} edges covered"
        print(f"{target}: {said}", flush=True)
        worst = worst or told.code
    sys.exit(worst)


if __name__ == "__main__":
    main()
