"""What is said of a cell with other bytes: what differs first, and the likeliest cause, claiming no more than is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numdev.analysis.trace import trace
from numdev.bundle.differing import (
    CPU,
    DISPATCH,
    LEVEL,
    SILICON,
    STACK,
    SYSTEM,
    WORKER,
    WORKLOAD,
    Difference,
    Records,
    Sides,
    read_back,
    silicon_known,
    told,
)
from numdev.bundle.stranger import plain
from numdev.run.runfile import RunCell
from numdev.run.traced import tapped
from numdev.store import Record

UNEXPLAINED = "unexplained"
# Which of several differences is thought of first. numdev's own code changes with each version, and seldom what is computed.
_LIKELY = (LEVEL, WORKLOAD, STACK, CPU, DISPATCH, SILICON, WORKER, SYSTEM)
_WORDS = {
    LEVEL: "the cells are not set alike",
    WORKLOAD: "it is not the same workload",
    STACK: "other software",
    WORKER: "numdev itself runs cells by other code",
    CPU: "libraries were told of another CPU",
    DISPATCH: "a library chose other code under the same CPU",
    SILICON: "processors that compute differently",
    SYSTEM: "another system",
}
# These do not say what they chose.
_SILENT = ("onnxruntime", "openvino", "litert")


@dataclass(frozen=True)
class Verdict:
    """first: the first factor that differs, "" where none does. cause: the likely one. why: in a sentence. layer: where it begins."""

    first: str
    cause: str
    why: str
    layer: str


def verdict(
    found: Sequence[Difference], harmless: Mapping[Difference, int], records: Records, sides: Sides, runs: int
) -> Verdict:
    """What to say of a cell.

    Args:
        harmless: how many cells of the same workload and stack have the same bytes although they differ in this, too.
        runs: replicates of the side that has fewer.
    """
    layer = where(records, sides)
    if not found:
        why = "all that is recorded of both is the same"
        if not told(records):
            why += "; which CPU they were shown is not recorded of both"
        if not silicon_known(records, sides):
            why += "; no fingerprint tells whether the silicon is"
        if runs < 2:
            why += "; of one run it is not known whether it is noise (`repeats`)"
        return Verdict("", UNEXPLAINED, why, layer)
    ordered = sorted(found, key=lambda one: _LIKELY.index(one.factor))
    innocent = [one for one in ordered if harmless.get(one)]
    likely = next((one for one in ordered if one not in innocent), ordered[0])
    words, more = _words(likely, {one.factor for one in found}, records)
    why = f"{words} ({likely.what}){more}"
    rest = [one for one in ordered if one is not likely]
    if likely.factor in (LEVEL, STACK, CPU) and (chosen := next((one for one in rest if one.factor == DISPATCH), None)):
        why += f", and {chosen.what}"
        rest.remove(chosen)
    elif likely.factor == CPU and str(records[0].factors.get("stack", "")).startswith(_SILENT):
        why += ", and this stack's library does not say what it chose"
    if likely in innocent:
        why += (
            f"; but {_cells(harmless[likely])} of this stack and workload differ in that too, and have the same bytes"
        )
    elif not rest:
        why += "; nothing else that is recorded differs"
    others = [one for one in rest if one not in innocent]
    if others:
        why += f"; also {' and '.join(map(_named, others))}"
    if cleared := [one for one in rest if one in innocent]:
        count = min(harmless[one] for one in cleared)
        which = " and ".join(map(_named, cleared))
        why += f"; {which} alone changed nothing in {_cells(count)} of this stack and workload"
    return Verdict(found[0].factor, likely.factor, why, layer)


def _words(likely: Difference, factors: set[str], records: Records) -> tuple[str, str]:
    """What to say of a cause before what differs, and after it."""
    words = _WORDS[likely.factor]
    if likely.factor == DISPATCH:
        if STACK in factors:
            words = "other software made another choice"
        elif CPU in factors:
            words = "a library chose other code, and was told of another CPU"
        elif not told(records):
            return "a library chose other code", ", under a CPU that is not recorded of both"
    # Where something chose otherwise, that stands beside it.
    if likely.factor in (SILICON, SYSTEM) and DISPATCH not in factors:
        if not read_back(records):
            return words, ", and no library says of both what it chose"
        words = f"the same dispatch, as far as libraries tell it, on {words}"
    return words, ""


def _named(one: Difference) -> str:
    """A difference in a word; of levels there may be several, so that it is said which."""
    return one.what if one.factor == LEVEL else one.factor


def _cells(count: int) -> str:
    return f"{count} cell" + ("" if count == 1 else "s")


def where(records: Records, sides: Sides) -> str:
    """The first layer that differs, where both sides looked at layers; or why it is not known."""
    taps = [record.tap for record in records]
    if not all(taps):
        which = [side.name for side, tap in zip(sides, taps, strict=True) if not tap]
        who = "on neither side" if len(which) == 2 else f"not {which[0]}"
        return f"not known: layers were looked at {who} (`tap: layers` in the matrix)"
    seen = [tapped(_cell(record), side.name, record) for record, side in zip(records, sides, strict=True)]
    loads = {
        layer.sample: side.load
        for record, side in zip(records, sides, strict=True)
        if record.tap
        for layer in record.tap.layers
        if layer.sample
    }
    found = trace("", seen, lambda sample: loads[sample](sample), {seen[0].workload: (sides[0].name, sides[1].name)})
    pairs = found.workloads[0].pairs if found.workloads else ()
    if not pairs:
        return f"not known: {plain('; '.join(one.reason or one.status for one in seen if not one.seen))}"
    if not pairs[0].first:
        return "not known: none of the layers that were looked at differs first"
    unseen = f", or in {len(pairs[0].unseen)} before it that were not looked at" if pairs[0].unseen else ""
    op = next((step.op for step in pairs[0].layers if step.name == pairs[0].first), "")
    return plain(f"{pairs[0].first} ({op})", 120) + unseen


def _cell(record: Record) -> RunCell:
    return RunCell(
        digest=record.digest,
        workload="both",
        factors={key: str(level) for key, level in record.factors.items()},
        replicate=1,
        reference=False,
    )
