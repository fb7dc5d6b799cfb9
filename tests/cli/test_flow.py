"""check, plan, run, report: what they say, and their exit codes where nothing is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

from numdev.cli import matrix as matrix_commands
from numdev.engines import MemoryEngine, Played
from numdev.errors import NoBase


def differ(stack, cell, table) -> Played:
    return Played({"y": np.array([len(stack), stack == "two"], np.float32)})


def test_check_runs_nothing(numdev, place):
    done = numdev("matrix", "check", "m.yaml")
    assert (done.code, done.out) == (0, "m.yaml is valid: 2 cells x 1 repeats, 1 workloads, 2 stacks.\n")
    assert not (place / "numdev-store").exists()


def test_plan_runs_and_makes_nothing(numdev, place):
    done = numdev("matrix", "plan", "m.yaml")
    assert done.code == 0
    assert "2 to run in 2 containers, 0 stored, 0 cannot run here." in done.out
    assert "Stacks that will be made first: one, two." in done.out
    assert not (place / "numdev-store").exists()
    assert not (place / "cache" / "sites").exists()


def test_run_answers_and_a_second_run_runs_nothing(numdev, plays):
    opened = plays()
    first = numdev("matrix", "run", "m.yaml")
    assert first.code == 0
    assert "own" in first.out
    assert "2 cells run: 2 ok." in first.err
    second = numdev("matrix", "run", "m.yaml")
    assert (second.code, second.out) == (0, first.out)
    assert "2 results are stored already." in second.err
    assert [len(engine.launches) for engine in opened] == [2, 0]


@pytest.mark.parametrize("options", [(), ("--json",), ("--fail-on-deviation",)])
def test_report_is_what_run_printed(numdev, plays, options):
    plays(differ)
    ran = numdev("matrix", "run", "m.yaml", *options)
    reported = numdev("report", *options)
    assert (reported.code, reported.out) == (ran.code, ran.out)
    assert len(ran.out) > 100
    assert numdev("report", "m", *options).out == ran.out


def test_json_is_the_whole_answer(numdev, plays):
    plays(differ)
    done = numdev("matrix", "run", "m.yaml", "--json")
    found = json.loads(done.out)
    assert done.code == 0
    assert (found["matrix"], found["engine"], found["not_run"]) == ("m", {"engine": "memory"}, 0)
    assert found["deviates"] is True
    assert len(found["workloads"][0]["classes"]) == 2


@pytest.mark.parametrize(("player", "code"), [(differ, 5), (lambda *_: Played({"y": np.zeros(2)}), 0)])
def test_fail_on_deviation(numdev, plays, player, code):
    plays(player)
    assert numdev("matrix", "run", "m.yaml", "--fail-on-deviation").code == code
    assert numdev("matrix", "run", "m.yaml").code == 0


def test_a_cell_without_a_result_is_4_and_named(numdev, plays):
    plays(
        lambda stack, *_: Played(status="failed", reason="so it is") if stack == "two" else Played({"y": np.zeros(2)})
    )
    done = numdev("matrix", "run", "m.yaml")
    assert done.code == 4
    assert "failed: own two host (repeat 1): so it is" in " ".join(done.err.split())
    assert "1 failed" in done.err
    plays()
    assert numdev("matrix", "run", "m.yaml").code == 4, "failures are not tried again unasked"
    assert numdev("matrix", "run", "m.yaml", "--retry").code == 0


def test_markup_in_a_reason_is_only_text(numdev, plays):
    plays(lambda *_: Played(status="failed", reason="[bold]x[/nonsense] [link=y]"))
    done = numdev("matrix", "run", "m.yaml")
    assert done.code == 4
    assert "[bold]x[/nonsense] [link=y]" in " ".join(done.err.split())


def test_a_store_with_several_runs_wants_a_name(numdev, place, plays):
    plays()
    (place / "n.yaml").write_text((place / "m.yaml").read_text())
    assert numdev("matrix", "run", "m.yaml").code == 0
    assert numdev("matrix", "run", "n.yaml").code == 0
    done = numdev("report")
    assert done.code == 3
    assert "there are: m, n" in done.err
    assert numdev("report", "n").code == 0
    unknown = numdev("report", "z")
    assert unknown.code == 10
    assert "there are: m, n" in unknown.err


def test_a_cell_as_reference_is_run_once(numdev, place, plays):
    (place / "m.yaml").write_text((place / "m.yaml").read_text() + "reference: {stack: two}\n")
    plays(lambda stack, *_: Played({"y": np.array([1, 1 + 2**-20 * (stack == "one")], np.float32)}))
    done = numdev("matrix", "run", "m.yaml")
    assert done.code == 0
    assert "the reference's bytes on two" in " ".join(done.out.split())
    assert "2 cells run: 2 ok." in done.err
    verdicts = [
        one["reference"]["verdict"] for one in json.loads(numdev("report", "--json").out)["workloads"][0]["classes"]
    ]
    assert verdicts == ["rounding", "the same"]


def test_schema_is_json(numdev):
    assert json.loads(numdev("matrix", "schema").out)["title"] == "numdev matrix"


class NoBaseEngine(MemoryEngine):
    """An engine that answers and has nothing to build on."""

    name = "docker"

    def environment(self, stack, say):
        raise NoBase("The base 'bookworm' cannot be made: there is no mmdebstrap.", remedy="Install it.")


@pytest.mark.parametrize(("engine", "code"), [("auto", 0), ("docker", 8)])
def test_without_a_base_auto_falls_back_and_says_so(numdev, place, monkeypatch, engine, code):
    monkeypatch.setattr(matrix_commands, "choose_engine", lambda name, cache: (NoBaseEngine(differ), ""))
    monkeypatch.setattr(matrix_commands, "open_engine", lambda name, cache: MemoryEngine(differ))
    done = numdev("matrix", "run", "m.yaml", "--engine", engine)
    assert done.code == code
    assert "there is no mmdebstrap" in done.err
    assert ("Running on the local engine instead" in done.err) == (engine == "auto")
