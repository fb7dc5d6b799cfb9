"""analyze and suggest: what they say of a run, and that the suggested matrix settles what was open."""

from __future__ import annotations

import json

import numpy as np
import pytest

from numdev.engines import Played
from numdev.spec.matrix import load_matrix

OWN = "workloads: [{name: own, model: model.onnx, inputs: x.npz}, {name: other, model: other.onnx, inputs: x.npz}]\n"
ALIASED = """
factors: {stack: [one, two], threads: [1, 2], optimization: [all, "off"]}
exclude: [{stack: one, threads: 2}, {stack: two, threads: 1}]
"""
RULES = {
    "stack": lambda stack, cell: stack == "two",
    "threads": lambda stack, cell: cell["threads"],
    "both": lambda stack, cell: cell["threads"] + 5 * (stack == "two"),
    "neither": lambda stack, cell: 0,
    "optimization": lambda stack, cell: cell["optimization"] == "off",
}


def player(rule):
    return lambda stack, cell, table: Played({"y": np.array([rule(stack, cell)], np.float32)})


def analysed(numdev, *arguments) -> dict:
    done = numdev("analyze", *arguments, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["version"] == 2
    return {one["workload"]: one for one in found["workloads"]}


def write(place, text, workloads=OWN):
    (place / "other.onnx").write_bytes(b"another one")
    (place / "m.yaml").write_text(f"numdev: 1\n{text}{workloads}")


@pytest.mark.parametrize("rule", RULES)
def test_the_suggested_matrix_runs_only_what_is_missing_and_then_all_is_identified(numdev, place, plays, rule):
    opened = plays(player(RULES[rule]))
    write(place, ALIASED)
    assert numdev("matrix", "run", "m.yaml").code == 0
    before = analysed(numdev)
    assert before["own"]["factors"]["stack"]["status"] == "not identified"
    assert before["own"]["factors"]["threads"]["not_identified"]["varies_with"] == [["stack"]]
    assert before["own"]["factors"]["optimization"]["status"] == ("cause" if rule == "optimization" else "no effect")
    assert len(before["own"]["missing_cells"]) == 1
    done = numdev("matrix", "suggest", "-o", "more.yaml")
    assert (done.code, done.out) == (0, "")
    assert "2 cells would tell of stack, threads." in done.err
    assert len(load_matrix(place / "more.yaml").cells) == 10
    assert numdev("matrix", "run", "more.yaml").code == 0
    ran = [cell for launch in opened[-1].launches for cell in launch_cells(launch)]
    assert len(ran) == 2
    for found in analysed(numdev, "more").values():
        statuses = {name: one["status"] for name, one in found["factors"].items()}
        causes = {"stack", "threads"} if rule == "both" else {rule} - {"neither"}
        varied = {"stack", "threads", "optimization"}
        assert {name for name, status in statuses.items() if status == "cause"} == causes
        assert {name for name, status in statuses.items() if status == "no effect"} == varied - causes
        assert found["sufficient"]["sets"] == [[name for name in statuses if name in causes]]
    again = numdev("matrix", "suggest", "more")
    assert (again.code, again.out) == (0, "")
    assert "All factors are identified: there is no cell to add." in again.err


def launch_cells(launch):
    return launch.seen


@pytest.fixture(autouse=True)
def _remember(monkeypatch):
    """What each container was asked for is read before its folder is gone."""
    from numdev.engines import MemoryEngine

    plain = MemoryEngine.run

    def run(self, launch, poll):
        object.__setattr__(launch, "seen", json.loads((launch.job / "job.json").read_text())["cells"])
        return plain(self, launch, poll)

    monkeypatch.setattr(MemoryEngine, "run", run)


def test_a_selection_of_a_matrix_is_added_to_as_well(numdev, place, plays):
    opened = plays(player(RULES["threads"]))
    write(place, "factors: {stack: [one, two], threads: [1, 2]}\n")
    chosen = "workload=own and (stack=one and threads=1 or stack=two and threads=2)"
    assert numdev("matrix", "run", "m.yaml", "-k", chosen).code == 0
    assert numdev("matrix", "suggest", "-o", "more.yaml").code == 0
    assert len(load_matrix(place / "more.yaml").cells) == 3
    assert numdev("matrix", "run", "more.yaml").code == 0
    assert len([cell for launch in opened[-1].launches for cell in launch.seen]) == 1
    found = analysed(numdev, "more")["own"]
    assert found["sufficient"]["sets"] == [["threads"]]
    assert found["factors"]["stack"]["status"] == "no effect"


def test_what_is_printed_fits_and_is_all_there(numdev, place, plays, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    plays(player(RULES["both"]))
    write(place, ALIASED)
    assert numdev("matrix", "run", "m.yaml").code == 0
    done = numdev("analyze")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    words = " ".join(done.out.split())
    for part in (
        "software stack cannot be told from threads; 1 cell would tell",
        "cells to add stack=one threads=2 optimization=all",
        "the class follows from software, or from threads; this design does not tell which",
        "noise was not measured",
    ):
        assert part in words


def test_factors_that_are_not_asked_for_are_one(numdev, place, plays):
    plays(player(RULES["both"]))
    write(place, 'factors: {stack: [one, two], threads: [1, 2], optimization: [all, "off"]}\n')
    assert numdev("matrix", "run", "m.yaml").code == 0
    found = analysed(numdev, "--factor", "threads")["own"]["factors"]
    assert set(found) == {"threads", "(others)"}
    assert found["threads"]["shapley"] == found["(others)"]["shapley"] == 0.5
    assert found["threads"]["alone"] == pytest.approx(1 / 3)
    assert found["threads"]["magnitude"]["alone"] == pytest.approx(1 / 26)
    assert {one["status"] for one in found.values()} == {"cause"}


def test_an_unknown_factor_is_named_with_those_there_are(numdev, plays):
    plays()
    assert numdev("matrix", "run", "m.yaml").code == 0
    done = numdev("analyze", "--factor", "color", "--factor", "stack")
    assert done.code == 3
    assert "--factor color: is no factor of this run (there are: stack, profile)" in done.err
    assert "--factor stack" not in done.err


def test_analyze_says_what_is_incomplete(numdev, plays):
    plays(lambda stack, *_: Played(status="failed", reason="x") if stack == "two" else Played({"y": np.zeros(2)}))
    assert numdev("matrix", "run", "m.yaml").code == 4
    done = numdev("analyze", "--json")
    assert done.code == 4
    (found,) = json.loads(done.out)["workloads"]
    assert found["cells"] == {"failed": 1, "ok": 1}


def test_a_run_of_an_older_numdev_has_no_matrix_to_add_to(numdev, place, plays):
    plays(player(RULES["both"]))
    write(place, ALIASED)
    assert numdev("matrix", "run", "m.yaml").code == 0
    path = place / "numdev-store" / "runs" / "m.json"
    data = json.loads(path.read_text())
    del data["source"]
    path.write_text(json.dumps(data))
    done = numdev("matrix", "suggest")
    assert done.code == 10
    assert "an older numdev wrote it" in done.err


def test_a_race_of_one_in_twenty_is_noise_and_not_a_cause(numdev, place, plays):
    """S15: three cells in fresh processes, 60 times each; in one of them every twentieth run differs."""

    def racing(stack, cell, table):
        return Played({"y": np.float32([stack == "two" and cell["replicate"] % 20 == 7])})

    plays(racing)
    write(
        place,
        "factors: {stack: [one, two], threads: [1, 2]}\nrepeats: 60\n",
        OWN.replace(", {name: other, model: other.onnx, inputs: x.npz}", ""),
    )
    assert numdev("matrix", "run", "m.yaml").code == 0
    found = analysed(numdev)["own"]
    assert found["cells"] == {"noisy": 2, "ok": 2}
    assert [one["runs"] for one in found["noise"]] == [{"A": 57, "~1": 3}] * 2
    assert {name: one["status"] for name, one in found["factors"].items()} == {
        "stack": "not identified", "profile": "not varied", "threads": "no effect",
    }  # fmt: skip
    assert found["missing_cells"] == [], "the cells that would tell are there, and noisy"
    assert "noise: 2 cells without a class, attributed to nothing" in found["verdict"]


def test_a_race_inside_the_process_is_told_apart(numdev, place, plays):
    def racing(stack, cell, table):
        later = [np.float32([stack == "two" and n % 20 == 7]) for n in range(1, cell["rounds"])]
        return Played({"y": np.float32([0])}, rounds=tuple({"y": one} for one in later))

    plays(racing)
    write(
        place,
        "factors: {stack: [one, two]}\nrepeats: 2\nrounds: 40\n",
        OWN.replace(", {name: other, model: other.onnx, inputs: x.npz}", ""),
    )
    assert numdev("matrix", "run", "m.yaml").code == 0
    found = analysed(numdev)["own"]
    assert found["cells"] == {"noisy": 1, "ok": 1}
    assert found["noise"] == [
        {"levels": {"stack": "two", "profile": "host"}, "runs": {"A": 2}, "inferences": {"A": 76, "~1": 4}}
    ]
    repeats = found["repeats"]
    assert (repeats["comparisons"], repeats["bound"]) == (2, None)
    assert (repeats["inside"], repeats["unsteady"], repeats["inside_bound"]) == (156, 1, None)


def records(place):
    return sorted((place / "numdev-store" / "records").glob("*/*.json"))


def test_a_damaged_record_is_named_and_nothing_is_claimed(numdev, place, plays):
    plays()
    assert numdev("matrix", "run", "m.yaml").code == 0
    path = records(place)[0]
    path.write_text(path.read_text().replace('"ok"', '"oom"'))
    done = numdev("analyze")
    assert (done.code, done.out) == (10, "")
    assert f"{path.relative_to(place)} is damaged" in done.err


def test_records_of_two_schemas_are_read_together(numdev, place, plays):
    """With `rounds` a record is of schema 2: an older one beside it is as good."""

    def steady(stack, cell, table):
        later = ({"y": np.zeros(3)},) * (cell["rounds"] - 1)
        return Played({"y": np.zeros(3)}, rounds=later)

    plays(steady)
    write(place, "factors: {stack: [one]}\n")
    assert numdev("matrix", "run", "m.yaml").code == 0
    write(place, "factors: {stack: [two]}\nrounds: 3\n")
    assert numdev("matrix", "run", "m.yaml").code == 0
    assert sorted(json.loads(path.read_text())["record"] for path in records(place)) == [1, 1, 2, 2]
    runs = place / "numdev-store" / "runs" / "m.json"
    run = json.loads(runs.read_text())
    older = [path for path in records(place) if json.loads(path.read_text())["record"] == 1]
    for path in older:
        data = json.loads(path.read_text())
        cell = {"digest": data["digest"], "workload": data["workload"], "replicate": 1, "reference": False}
        run["cells"].append({**cell, "factors": {"stack": "one", "profile": "host"}})
    run["factors"]["stack"] = ["one", "two"]
    runs.write_text(json.dumps(run))
    for found in analysed(numdev, "m").values():
        assert found["cells"] == {"ok": 2}
        assert found["factors"]["stack"]["status"] == "no effect"
        assert found["repeats"]["inside"] == 2
