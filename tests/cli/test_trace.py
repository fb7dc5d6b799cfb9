"""`numdev trace`: what it prints, its schema and its exit codes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from numdev.analysis.tracing import Trace
from numdev.engines import Played
from numdev.worker.layers import Layer

ONE = np.float32([1, 2, 3])


def play(stack, cell, table):
    other = ONE if stack == "one" else ONE + np.float32(2.0**-20)
    chain = [
        Layer("conv", "Conv", ["x"], lambda shapes: (27, 28)),
        Layer("relu", "Relu", ["conv"], lambda shapes: (0, 0)),
    ]
    return Played({"y": other}, layers=((chain[0], ONE), (chain[1], other)))


@pytest.fixture
def ran(numdev, plays, place):
    (place / "m.yaml").write_text((place / "m.yaml").read_text() + "tap: layers\n")
    plays(play)
    assert numdev("matrix", "run", "m.yaml").code == 0
    return place


def test_the_first_layer_is_named(numdev, ran):
    done = numdev("trace")
    assert done.code == 0
    assert "2 cells, 2 paths through 2 layers" in done.out
    assert "first layer with more than one class: relu" in done.out
    assert "the first layer that differs is relu (Relu), by up to 9.5e-07 abs, 8 ulp" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert numdev("trace", "--fail-on-deviation").code == 5


def test_between_and_json(numdev, ran):
    done = numdev("trace", "m", "--between", "two", "one", "--json")
    found = Trace.model_validate_json(done.out)
    (pair,) = found.workloads[0].pairs
    assert pair.between == ("two", "one")
    assert pair.first == "relu"
    assert json.loads(done.out)["workloads"][0]["pairs"][0]["layers"][1]["size"]["max_ulp"] == 8


def test_bad_input(numdev, ran):
    for arguments in (("--between", "three", "one"), ("--between", "(", "one"), ("-w", "none")):
        assert numdev("trace", *arguments).code == 3
    assert numdev("trace", "other").code == 10


def test_a_run_that_was_not_tapped(numdev, plays, place):
    plays(play)
    numdev("matrix", "run", "m.yaml")
    done = numdev("trace")
    assert done.code == 3
    assert "tap: layers" in done.err


def test_what_is_missing_is_said(numdev, plays, place):
    (place / "m.yaml").write_text((place / "m.yaml").read_text() + "tap: layers\n")
    plays(lambda stack, cell, table: Played({"y": ONE}, tapped="too deep"))
    assert numdev("matrix", "run", "m.yaml").code == 0
    done = numdev("trace")
    assert done.code == 4
    assert "tap of 2 cells: too deep" in done.out
