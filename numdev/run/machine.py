"""Recorded machines: the battery on a real processor, kept, and run again where another processor is shown as that one.

"Your bits, on my machine" is a claim about processors that are not here; a record is how it is checked against one that was.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numdev
from numdev import cpu
from numdev.cpu.machine import Record
from numdev.engines.protocol import stack_digest
from numdev.errors import InvalidInput, NumdevError, Problem
from numdev.run.causes import SAME, Compared, compare
from numdev.run.measured import TIMEOUT, Say, emulated, measure
from numdev.spec.stack import Stack
from numdev.stacks import known_site, site_for


@dataclass(frozen=True)
class Replay:
    """A record run again here. silicon: the entries of the fingerprints that differ. new: operations that it lacks."""

    shown: cpu.Shown
    silicon: tuple[str, ...]
    compared: tuple[Compared, ...]
    new: dict[str, tuple[str, ...]]

    @property
    def same(self) -> bool:
        return all(one.outcome == SAME for one in self.compared)


def record(stacks: list[Stack], cache: Path, say: Say, emulator: str = "") -> Record:
    """This machine, or a processor that QEMU has in software, with the battery's digests for each stack.

    Args:
        emulator: the processor's name in QEMU, or "" for the real one.

    Raises:
        StackFailed: the battery does not run.
        EngineUnavailable: there is no QEMU.
    """
    cpu.need_x86("`numdev platform record`")
    say(f"capturing {f'{emulator} of QEMU' if emulator else 'this machine'}")
    processor = emulated(emulator) if emulator else cpu.Shown(None, None)
    captured = _emulated_capture(processor) if isinstance(processor, cpu.Emulated) else cpu.capture()
    return Record(captured, {stack.name: measure(stack, processor, cache, say) for stack in stacks})


def replay(record: Record, name: str, stacks: list[Stack], cache: Path, say: Say) -> Replay:
    """Shows this host as a recorded machine, runs the same again and compares each operation's bytes.

    Args:
        name: the record's path, as a profile's name.
        stacks: of those that the record has.

    Raises:
        ProfileRefused: this host cannot show that machine; with the features it lacks.
        InvalidInput: a stack is not in the record, or not as it was recorded.
    """
    shown = cpu.shown(name, cpu.host(), cpu.BEST)
    comparable(record, name, stacks, cache, say)
    silicon = cpu.silicon(record.capture.fingerprint, cpu.capture().fingerprint)
    both = bool(record.capture.fingerprint)
    compared: list[Compared] = []
    new: dict[str, tuple[str, ...]] = {}
    for stack in stacks:
        before, now = record.stacks[stack.name], measure(stack, shown, cache, say)
        compared += compare(stack.name, before, now, silicon if both else None)
        new[stack.name] = tuple(sorted(now.operations.keys() - before.operations.keys()))
    return Replay(shown, tuple(silicon), tuple(compared), new)


def comparable(record: Record, name: str, stacks: list[Stack], cache: Path, say: Say) -> None:
    """Raises InvalidInput, with all problems, where the stacks are not those that were recorded."""
    problems = []
    for stack in stacks:
        if stack.name not in record.stacks:
            there = f"it has {', '.join(sorted(record.stacks))}"
            problems.append(Problem(f"{name}: stacks.{stack.name}", "was not recorded", there))
        elif record.stacks[stack.name].stack != digest_of(stack, cache, say):
            what = "was recorded with other software: the stack's digest is another"
            problems.append(Problem(f"{name}: stacks.{stack.name}", what, "record the machine again"))
    if problems:
        raise InvalidInput("The record cannot be compared.", problems)


def digest_of(stack: Stack, cache: Path, say: Say) -> str:
    """The stack's digest as it is in every cell's; what is not in the cache is built."""
    site = known_site(stack, cache) or site_for(stack, cache, say)
    return stack_digest(stack, site.digest)


def _emulated_capture(processor: cpu.Emulated) -> cpu.Capture:
    """The capture that numdev itself makes on one of QEMU's processors."""
    with tempfile.TemporaryDirectory(prefix="numdev-") as name:
        file = Path(name) / "capture.json"
        argv = [
            processor.emulator.path,
            "-cpu",
            processor.argument,
            sys.executable,
            "-m",
            "numdev",
            "platform",
            "capture",
            str(file),
        ]
        path = [str(Path(numdev.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        knobs = {name for name, _ in cpu.knobs.set_in(os.environ)}
        environment = {key: value for key, value in os.environ.items() if key not in knobs}
        environment["PYTHONPATH"] = ":".join(path)
        done = subprocess.run(argv, env=environment, capture_output=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()[-500:]
            raise NumdevError(
                f"{processor.argument} of QEMU cannot be captured.", said, "`qemu-x86_64-static -cpu help` lists them."
            )
        captured = cpu.read_capture(file)
    # /proc/cpuinfo is the real machine's, and its microcode with it.
    facts = {key: value for key, value in captured.facts.items() if key != "microcode"}
    return cpu.Capture(captured.leaves, {**facts, "emulator": f"QEMU {processor.argument}"}, captured.fingerprint)
