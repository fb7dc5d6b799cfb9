"""`numdev mitigate` over a memory engine: places (an environment variable) give different bytes until pins make them one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from numdev.engines import Played

MATRIX = """
numdev: 1
factors: {stack: [one], env.PLACE: [a, b, c]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
"""
# How far a place is from the first one.
STEP = {"a": 0.0, "b": 1e-4, "c": 2e-4}


@pytest.fixture
def mitigate(numdev, place, plays):
    """Runs `numdev mitigate m.yaml` with cells of one number, which `rule(place, pins)` adds to 0.4."""

    def run(rule, *arguments, matrix=MATRIX, seconds=lambda pins: 0.1):
        (place / "m.yaml").write_text(matrix)

        def player(stack, cell, table):
            pins = {key for key, level in cell["session"].items() if level == "1"}
            pins |= {"graph"} if cell["optimization"] == "off" else set()
            pins |= {"libm"} if "GLIBC_TUNABLES" in cell["environment"] else set()
            value = rule(cell["environment"].get("PLACE", "a"), pins)
            if isinstance(value, str):
                return Played(status=value, reason="planted")
            took = {"inference_seconds": [[9.0, one] for one in (0.01, seconds(pins), 9.0)]}
            return Played({"y": np.array([[0.4 + value, 0.1]], np.float32)}, realised=took)

        engines = plays(player)
        return numdev("mitigate", "m.yaml", *arguments), engines

    return run


def found(done, subject=0):
    return json.loads(done.out)["subjects"][subject]


def only(*needed):
    return lambda place, pins: 0.0 if set(needed) <= pins else STEP[place]


def test_two_pins_that_are_needed(mitigate):
    done, _ = mitigate(only("graph", "disable_prepacking"), "--json")
    assert done.code == 0, done.err
    one = found(done)
    assert one["base"]["classes"] == 3
    best = one["solutions"][0]
    assert (best["kind"], best["pins"], best["measured"]["classes"]) == ("pins", ["graph", "prepacking"], 1)
    assert best["measured"]["left"] is None
    assert one["others"] == []
    assert best["snippet"] == {
        "shell": [],
        "python": [
            "options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL",
            'options.add_session_config_entry("session.disable_prepacking", "1")',
        ],
    }
    short = json.loads(done.out)["short"]
    assert "graph + prepacking leaves one class of 3 over 3 cells" in short[0]
    assert "Without any one of these there are more." in short[0]


def test_none_suffices_and_rounding_is_what_is_left(mitigate):
    done, _ = mitigate(lambda place, pins: STEP[place] / (2 if "graph" in pins else 1), "--json")
    assert done.code == 0, done.err
    one = found(done)
    assert [solution["kind"] for solution in one["solutions"]] == ["rounding"]
    tried = [tuple(row["pins"]) for row in one["rows"] if not row["unsupported"]]
    assert ("graph", "prepacking", "deterministic", "x64quantprecision", "libm") in tried
    assert all(row["measured"]["classes"] == 3 for row in one["rows"] if not row["unsupported"])
    rounded = one["solutions"][0]
    assert rounded["decimals"] == 3
    assert rounded["measured"]["crossings"] == pytest.approx(0.2, rel=1e-3)
    assert rounded["snippet"]["python"][-1].startswith("y = numpy.round(y.astype(numpy.float64), 3)")
    short = json.loads(done.out)["short"]
    assert f"none of the {len(tried)} sets of pins that were tried leaves one class over 3 cells" in short[0]


def test_a_pin_that_makes_things_worse_is_not_part_of_it(mitigate):
    def rule(place, pins):
        harm = {"a": 1.0, "b": 2.0, "c": 3.0}[place] if "deterministic" in pins else 0.0
        return harm + only("graph", "libm")(place, pins)

    one = found(mitigate(rule, "--json")[0])
    assert one["solutions"][0]["pins"] == ["graph", "libm"]
    assert one["solutions"][0]["snippet"]["shell"] == [
        "export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F"
    ]


def test_ties_go_to_the_first_and_the_others_are_said(mitigate):
    done, _ = mitigate(lambda place, pins: 0.0 if pins & {"graph", "libm"} else STEP[place])
    assert "graph leaves one class of 3" in done.out
    assert "So does libm." in " ".join(done.out.split())


def test_costs_are_those_of_matched_cells(mitigate):
    done, _ = mitigate(only("graph"), "--json", seconds=lambda pins: 0.3 if "graph" in pins else 0.1)
    best = found(done)["solutions"][0]["measured"]
    assert best["slower"] == pytest.approx(3)
    assert best["seconds"] == pytest.approx(0.3), "the first inference, which prepares, does not count"
    assert best["change"]["max_abs"] == 0
    assert best["moved"] == 2


def test_a_change_of_the_decision_is_counted(mitigate):
    done, _ = mitigate(lambda place, pins: -0.35 if "graph" in pins else STEP[place], "--json")
    change = found(done)["solutions"][0]["measured"]["change"]
    assert (change["changed_top1"], change["samples"]) == (1, 1)
    assert change["max_abs"] == pytest.approx(0.35)


def test_one_class_needs_nothing_and_nothing_more_is_run(mitigate):
    done, engines = mitigate(lambda place, pins: 0.0, "--json")
    assert found(done)["rows"] == []
    assert found(done)["solutions"] == []
    assert "one class over 3 cells without any pin" in json.loads(done.out)["short"][0]
    assert sum(len(engine.launches) for engine in engines) == 1


def test_it_goes_on_from_what_is_stored(mitigate):
    first, engines = mitigate(only("graph"), "--json")
    ran = sum(len(engine.launches) for engine in engines)
    assert ran > 1
    again, engines = mitigate(only("graph"), "--json")
    assert again.out == first.out
    assert sum(len(engine.launches) for engine in engines) == 0


def test_a_pin_under_which_cells_fail_is_no_answer(mitigate):
    def rule(place, pins):
        return ("failed" if place == "b" else 0.0) if "graph" in pins else STEP[place]

    done, _ = mitigate(rule, "--json")
    one = found(done)
    graph = next(row for row in one["rows"] if row["pins"] == ["graph"])
    assert graph["measured"]["odd"] == ["b: failed (planted)"]
    assert all("graph" not in solution["pins"] for solution in one["solutions"])
    assert done.code == 0, "what fails under a pin is a finding"


def test_cells_without_a_result_before_any_pin_are_left_out_and_said(mitigate):
    done, _ = mitigate(lambda place, pins: "failed" if place == "c" else only("graph")(place, pins))
    assert done.code == 4
    assert "host c: failed (planted)" in done.out
    assert "graph leaves one class of 2 over 2 cells" in done.out
    assert "not complete" in done.err


def test_what_the_backend_cannot_do_is_said(mitigate):
    done, _ = mitigate(only("graph"))
    text = " ".join(done.out.split())
    assert "float64 not here" in text
    assert "onnxruntime has no precision 'float64'" in text


def test_threads_are_pinned_where_they_vary_and_only_there(mitigate):
    varied = MATRIX.replace("env.PLACE: [a, b, c]", "threads: [1, 2, 4]")
    done, _ = mitigate(lambda place, pins: 0.0, "--json", matrix=varied)
    assert found(done)["already"] == []
    assert found(mitigate(only("graph"), "--json")[0])["already"] == ["threads"]


def test_only_the_stack_that_was_asked_for(mitigate):
    both = MATRIX.replace("[one]", "[one, two]")
    assert [one["stack"] for one in json.loads(mitigate(only("graph"), "--json", matrix=both)[0].out)["subjects"]] == [
        "one",
        "two",
    ]
    done, _ = mitigate(only("graph"), "--stack", "two", "-k", "not PLACE", "--json", matrix=both)
    assert [one["stack"] for one in json.loads(done.out)["subjects"]] == ["two"]
    done, _ = mitigate(only("graph"), "--stack", "three", matrix=both)
    assert done.code == 3
    assert "Nothing matches" in done.err


def test_the_table_fits(mitigate):
    done, _ = mitigate(only("graph", "disable_prepacking"))
    lines = done.out.splitlines()
    pasted = [line for line in lines if line.startswith("  options.")]
    assert len(pasted) == 2
    assert max(len(line.rstrip()) for line in lines if line not in pasted) <= 80
    assert any(line.split()[:3] == ["nothing", "3", "0.0002"] for line in lines)
