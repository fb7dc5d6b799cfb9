"""Silicon is told from dispatch, and outputs that lean on approximate instructions from those that do not."""

from __future__ import annotations

from itertools import product

import numpy as np

from numdev.analysis import Observation, OutputRef, answer

NATIVE, EMULATED = "native", "emulated"
TENSORS = {str(number): np.array([float(number)], np.float32) for number in range(9)}
HASWELL = {"OpenBLAS": "Haswell", "numpy": "X86_V3"}


def run(silicon: str, stack: str = "one", dispatch=HASWELL, status: str = "ok", **outputs: str) -> Observation:
    refs = tuple(OutputRef(name, "float32", (1,), tensor) for name, tensor in outputs.items())
    factors = {"stack": stack, "profile": "haswell", "silicon": silicon}
    return Observation("w", factors, 1, status, "", refs, False, f"{stack} {silicon}", dispatch)


def said(*observations: Observation) -> list[str]:
    found = answer(observations, TENSORS.__getitem__, baseline={}, order={"silicon": [NATIVE, EMULATED]}, labels={})
    return [one.text for one in found.workloads[0].sentences if one.about == "silicon"]


def test_outputs_that_lean_are_named_and_so_are_those_that_do_not():
    effect, leaning, steady = said(run(NATIVE, root="1", ramp="2"), run(EMULATED, root="3", ramp="2"))
    assert effect == "the 2 levels differ; 1 of 1 pair differ"
    assert leaning == (
        "at equal dispatch (as OpenBLAS, numpy say) root leans on instructions that processors approximate differently "
        "(rcpps, rsqrtps, ...): they will differ between Intel and AMD"
    )
    assert steady == "ramp does not"


def test_it_says_where():
    runs = [
        run(silicon, stack, root="1" if stack == "new" or silicon == NATIVE else "2")
        for stack, silicon in product(["old", "new"], [NATIVE, EMULATED])
    ]
    assert any("on stack old: they will differ" in text or "on old: they will differ" in text for text in said(*runs))


def test_equal_bytes_are_told_as_such():
    texts = said(run(NATIVE, root="1"), run(EMULATED, root="1"))
    assert texts == [
        "no effect (1 pair)",
        "at equal dispatch (as OpenBLAS, numpy say) the same bytes: nothing here leans on approximate instructions",
    ]


def test_another_choice_is_not_silicon_alone():
    other = {"OpenBLAS": "Nehalem", "numpy": "X86_V3"}
    texts = said(run(NATIVE, root="1"), run(EMULATED, dispatch=other, root="2"))
    assert texts[1:] == [
        "not silicon alone in 1 pair: the libraries chose otherwise on the two sides (OpenBLAS Haswell | Nehalem)"
    ]
    assert not any("lean" in text for text in texts)


def test_another_choice_is_told_even_where_the_bytes_are_equal():
    texts = said(run(NATIVE, root="1"), run(EMULATED, dispatch={}, root="1"))
    assert any("numpy X86_V3 | not read" in text for text in texts)


def test_what_was_not_read_back_is_said():
    texts = said(run(NATIVE, dispatch={}, root="1"), run(EMULATED, dispatch={}, root="2"))
    assert texts[1].startswith("at equal dispatch (not read back in 1 pair) root leans on")


def test_it_is_hardware_and_neither_stack_nor_dispatch():
    found = answer(
        [run(NATIVE, root="1"), run(EMULATED, root="2")],
        TENSORS.__getitem__,
        baseline={},
        order={},
        labels={},
        notes=["Emulated by a test."],
    )
    assert any(text.startswith("Hardware (silicon): changes 1 of 1 workload") for text in found.short)
    assert found.short[-1] == "Emulated by a test."


def test_one_level_or_a_gap_says_nothing_of_outputs():
    assert said(run(NATIVE, root="1")) == ["not varied (only native)"]
    texts = said(run(NATIVE, root="1"), run(EMULATED, status="unsupported"))
    assert len(texts) == 1
    assert texts[0].startswith("not identified")


def test_another_end_is_not_another_bit():
    """A program that was compiled for AVX asks nobody: under a profile it finds AVX all the same, in an emulator it does not."""
    texts = said(run(NATIVE, status="signal:6"), run(EMULATED, status="signal:4"))
    assert texts[1:] == [
        "ends otherwise in 1 pair (signal:6 | signal:4): a profile hides instructions, and an emulator is without them"
    ]
    both = said(
        run(NATIVE, root="1"),
        run(EMULATED, root="1"),
        run(NATIVE, "two", root="1"),
        run(EMULATED, "two", status="timeout"),
    )
    assert any("same bytes" in text for text in both)
    assert (
        "ends otherwise in 1 pair (ok | timeout): an emulator is slow, and may need a longer `limits.timeout`" in both
    )
    assert len(said(run(NATIVE, status="oom"), run(EMULATED, status="oom"))) == 1, "the same end says nothing"


def test_outputs_are_named_and_not_counted():
    odd, steady = [f"odd{place}" for place in range(9)], [f"same{place}" for place in range(9)]
    names = [*odd, *steady]
    texts = said(
        run(NATIVE, **dict.fromkeys(names, "1")), run(EMULATED, **dict.fromkeys(odd, "2"), **dict.fromkeys(steady, "1"))
    )
    assert f"say) {', '.join(odd)} lean on" in texts[1]
    assert texts[2] == f"{', '.join(steady)} do not"
