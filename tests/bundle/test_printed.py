"""What the commands print for machines is what docs/ say. Renew the schemas as numdev/bundle/printed.py says."""

from pathlib import Path

import numpy as np
import pytest

from numdev.bundle import printed
from numdev.engines import Played

DOCS = Path(__file__).resolve().parents[2] / "docs"
MATRIX = """
numdev: 1
factors: {stack: [one, two], threads: [1, 2]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
"""


@pytest.mark.parametrize("command", printed.COMMANDS)
def test_the_schemas_are_up_to_date(command):
    assert (DOCS / f"{command}.schema.json").read_text() == printed.schema(command)


def play(shift):
    return lambda stack, cell, table: Played({"y": np.full(3, shift, np.float32)})


def test_what_is_printed_has_every_field(playing):
    one, other = playing.bundle(MATRIX, play(0.0), "one"), playing.bundle(MATRIX, play(1.0), "other")
    commands = {"verify": (one,), "diff": (one, other), "rerun": (one, "--engine", "docker")}
    for command, arguments in commands.items():
        done = playing.numdev("bundle", command, *arguments, "--json")
        told = printed.COMMANDS[command].model_validate_json(done.out)
        assert told.text() == done.out.strip()


def test_what_merge_prints_has_every_field(bundled, playing, tmp_path):
    paths = [bundled("a"), bundled("b", shift=1.0)]
    done = playing.numdev("bundle", "merge", *paths, "--store", tmp_path / "both", "--json")
    told = printed.Merge.model_validate_json(done.out)
    assert (done.code, told.text()) == (0, done.out.strip())
    assert told.conflicts
