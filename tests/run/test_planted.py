"""From the matrix to the answer: where bytes follow a rule, the answer is that rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numdev import cpu
from numdev.engines import MemoryEngine, Played

STACKS, PROFILES, THREADS = ["ort-1", "ort-2"], ["host", "x86-64-v2", "haswell", "x86-64-v4"], [1, 2]
TEXT = """
factors: {stack: [ort-1, ort-2], profile: [host, x86-64-v2, haswell, x86-64-v4], threads: [1, 2]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
repeats: 2
"""
LEVELS = list(itertools.product(STACKS, PROFILES, THREADS))
PLENTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def engine(bench, rule) -> MemoryEngine:
    """Cells whose only number is rule(stack, profile, threads, replicate); a text is a status."""
    names = {cpu.shown(name, bench.host).table.text(): name for name in PROFILES[1:]}

    def player(stack, cell, table):
        profile = names[table] if table else "host"
        value = rule(stack, profile, cell["threads"], cell["replicate"])
        if isinstance(value, str):
            return Played(status=value, reason="planted")
        realised = {"cpuid": {"traps": 1, "mismatches": []}} if table else {}
        return Played({"y": np.array([value], np.float32)}, realised=realised)

    return MemoryEngine(player)


def ask(bench, rule, text=TEXT):
    """The only workload's answer, from a run into a store of its own."""
    count = len(list(bench.folder.glob("store-*")))
    answer = bench.run(text, engine(bench, rule), bench.store(f"store-{count}")).answer
    assert len(answer.workloads) == 1
    return answer, answer.workloads[0]


def classes(found) -> set[frozenset]:
    return {
        frozenset((each["stack"], each["profile"], int(each["threads"])) for each in one.levels)
        for one in found.classes
    }


def partition(rule: dict) -> set[frozenset]:
    return {frozenset(key for key, other in rule.items() if other == value) for value in set(rule.values())}


@PLENTY
@given(st.lists(st.integers(0, 3), min_size=len(LEVELS), max_size=len(LEVELS)))
def test_any_rule_is_found(bench, values):
    rule = dict(zip(LEVELS, values, strict=True))
    answer, found = ask(bench, lambda stack, profile, threads, replicate: rule[stack, profile, threads])
    assert classes(found) == partition(rule)
    assert answer.deviates is (len(set(values)) > 1)
    assert answer.complete
    assert found.without_class == ()


@pytest.mark.parametrize("wanted", [(), ("stack",), ("profile",), ("threads",), ("stack", "threads"), ("stack", "profile", "threads")])  # fmt: skip
def test_exactly_the_factors_of_the_rule_have_an_effect(bench, wanted):
    scale = {"stack": 1, "profile": 10, "threads": 100}

    def rule(stack, profile, threads, replicate):
        given = {"stack": STACKS.index(stack), "profile": PROFILES.index(profile), "threads": threads}
        return 1 + sum(scale[name] * given[name] for name in wanted)

    answer, found = ask(bench, rule)
    assert {effect.factor: effect.status for effect in found.effects} == {
        factor: "depends" if factor in wanted else "no effect" for factor in scale
    }
    assert answer.deviates is bool(wanted)


def test_a_split_by_simd_level_is_explained_by_it(bench):
    simd = {"host": bench.host.simd, **{name: cpu.load(name).simd for name in PROFILES[1:]}}
    numbers = {level: index for index, level in enumerate(sorted(set(simd.values())))}
    _, found = ask(bench, lambda stack, profile, *_: 1 + numbers[simd[profile]])
    effect = next(each for each in found.effects if each.factor == "profile")
    assert "simd" in effect.explained_by
    assert {frozenset(group) for group in effect.groups} == {
        frozenset(name for name in PROFILES if simd[name] == level) for level in numbers
    }


def test_runs_that_differ_are_noise_and_no_class(bench):
    answer, found = ask(bench, lambda stack, profile, threads, replicate: replicate if threads == 2 else 0)
    assert {(each.kind, each.levels["threads"]) for each in found.without_class} == {("noisy", "2")}
    assert len(found.without_class) == 8
    assert classes(found) == {frozenset(key for key in LEVELS if key[2] == 1)}
    assert answer.deviates


def test_what_fails_is_an_outcome_and_the_answer_is_not_complete(bench):
    answer, found = ask(bench, lambda stack, profile, *_: "signal:6" if profile == "haswell" else 1)
    assert {(one.name, one.failed, one.cells) for one in found.classes} == {("A", False, 12), ("signal:6", True, 4)}
    assert answer.missing == {"signal:6": 8}
    assert not answer.complete


def test_the_last_bit_is_a_class_of_its_own(bench):
    after = float(np.nextafter(np.float32(1), np.float32(2)))
    answer, found = ask(bench, lambda stack, *_: after if stack == "ort-2" else 1.0)
    assert len(found.classes) == 2
    other = next(one for one in found.classes if one.size is not None and one.name != found.against)
    assert other.size.max_ulp == 1
    assert answer.deviates
