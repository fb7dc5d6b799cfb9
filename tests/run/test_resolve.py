"""What a matrix names is found, or all that is wrong with it is said at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from numdev.engines import MemoryEngine, Played
from numdev.errors import InvalidInput, StackFailed
from numdev.run import resolve

GOOD = (
    "factors: {stack: [ort-1], profile: [host, haswell]}\nworkloads: [{name: own, model: model.onnx, inputs: x.npz}]\n"
)


def test_everything_that_is_named(bench):
    found = bench.resolve(GOOD + "reference: ref\n")
    assert sorted(found.stacks) == ["ort-1", "ref"]
    assert sorted(found.profiles) == ["haswell", "host"]
    assert (found.profiles["host"].table, found.refused) == (None, {})
    assert list(found.workloads) == ["own"]


def test_a_reference_runs_as_host_whatever_the_matrix_shows(bench):
    found = bench.resolve(GOOD.replace("host, ", "") + "reference: ref\n")
    assert sorted(found.profiles) == ["haswell", "host"]


def test_all_problems_at_once(bench):
    with pytest.raises(InvalidInput) as caught:
        bench.resolve(
            "factors: {stack: [ort-1, nowhere-9, elsewhere], profile: [pentium, host]}\n"
            "reference: absent\n"
            "workloads:\n"
            "  - {name: one, model: missing.onnx, inputs: missing.npz}\n"
            "  - {name: two, module: 'gone.py:f', files: [gone.txt]}\n"
            "  - unknown-builtin\n"
        )
    text = str(caught.value)
    for word in (
        "nowhere-9", "elsewhere", "absent", "pentium", "missing.onnx", "missing.npz", "gone.py", "gone.txt", "unknown-builtin",
    ):  # fmt: skip
        assert any(word in str(problem) for problem in caught.value.problems), f"{word} is not in\n{text}"
    assert len(caught.value.problems) == len(set(caught.value.problems)) == 9
    assert "m.yaml: factors.profile" in text


def test_a_malformed_stack_is_named_with_its_file(bench):
    (bench.images / "ort-1" / "stack.yaml").write_text("base: bookworm\nbackend: fortran\npython: '3'\n")
    with pytest.raises(InvalidInput) as caught:
        bench.resolve(GOOD)
    assert len(caught.value.problems) >= 2
    assert all("ort-1/stack.yaml" in problem.where for problem in caught.value.problems)


def test_profiles_that_this_host_cannot_show_are_refused_and_not_fatal(bench):
    bench.host = replace(bench.host, refusal="it does not want to")
    found = bench.resolve(GOOD)
    assert found.refused == {"haswell": "it does not want to"}
    assert list(found.profiles) == ["host"]


def test_the_workers_code_has_a_digest(bench):
    first, second = bench.resolve(GOOD), bench.resolve(GOOD)
    assert first.worker == second.worker
    assert len(first.worker) == 64


def test_environments_are_all_tried_before_the_first_failure_is_raised(bench):
    tried, said = [], []

    class Engine(MemoryEngine):
        def environment(self, stack, say):
            tried.append(stack.name)
            raise StackFailed(f"{stack.name} fails")

    found = bench.resolve(GOOD.replace("[ort-1]", "[ort-1, ort-2, np-1]"))
    with pytest.raises(StackFailed, match="ort-1 fails"):
        resolve.environments(found, ["ort-1", "ort-2", "np-1"], Engine(lambda *_: Played()), said.append)
    assert tried == ["ort-1", "ort-2", "np-1"]
    assert "ort-2 fails" in said
