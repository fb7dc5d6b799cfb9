"""Matrix files: what they mean, and everything that can be wrong with them."""

import itertools
import json
from pathlib import Path

import pytest

from numdev.errors import InvalidInput
from numdev.spec import matrix as module
from numdev.spec.cell import DEFAULTS
from numdev.spec.matrix import is_reference, load_matrix, schema

ROOT = Path(__file__).resolve().parents[2]
VALID = """
numdev: 1
factors:
  stack: [ort-1, ort-2]
  profile: [host, haswell]
  threads: [1, 2]
workloads:
  - cnn-small
  - {name: mine, model: m.onnx, inputs: m.npz}
repeats: 3
reference: reference
baseline: {stack: ort-2}
limits: {memory: 1GiB, timeout: 30s, pids: 100, cpus: 2}
"""


@pytest.fixture
def write(tmp_path):
    def writing(text: str) -> Path:
        path = tmp_path / "m.yaml"
        path.write_text(text)
        return path

    return writing


@pytest.fixture
def problems(write):
    """What is wrong with a matrix, without the file's name, which every problem must begin with."""

    def of(text: str) -> list[str]:
        path = write(text)
        with pytest.raises(InvalidInput) as caught:
            load_matrix(path)
        assert caught.value.code == 3
        found = [str(problem) for problem in caught.value.problems]
        assert found
        assert all(one.startswith(f"{path}") for one in found)
        return [one.removeprefix(f"{path}: ") for one in found]

    return of


@pytest.mark.parametrize("path", sorted((ROOT / "matrices").glob("*.yaml")), ids=lambda path: path.name)
def test_the_matrices_here_are_valid(path):
    matrix = load_matrix(path)
    assert matrix.name == path.stem
    stacks = {cell.stack for cell in matrix.cells} | ({matrix.reference} if matrix.reference else set())
    assert all((ROOT / "images" / name / "stack.yaml").is_file() for name in stacks)


def test_the_schema_is_up_to_date():
    """Renew: numdev matrix schema > docs/matrix.schema.json"""
    text = (ROOT / "docs" / "matrix.schema.json").read_text()
    assert text == json.dumps(schema(), indent=1, sort_keys=True) + "\n"


def test_the_example_of_the_docs(write):
    text = (ROOT / "docs" / "matrices.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]
    matrix = load_matrix(write(example))
    assert len(matrix.cells) == 2 * (2 * 3 * 2 * 2) - 2 * 2 * 2 + 1
    assert set(module.MatrixFile.model_fields) == {
        line.split(":")[0] for line in example.split("\n") if line[:1].isalpha()
    }
    assert all(
        f"| `{key}` |" in text for key in (*module.MatrixFile.model_fields, *module.Limits.model_fields, *DEFAULTS)
    )


def test_the_schema_knows_every_key():
    assert set(schema()["properties"]) == set(module.MatrixFile.model_fields)
    assert schema()["additionalProperties"] is False


def test_a_matrix_is_the_product_of_its_factors(write):
    matrix = load_matrix(write(VALID))
    expected = [
        (workload, {**DEFAULTS, "stack": stack, "profile": profile, "threads": threads})
        for workload, stack, profile, threads in itertools.product(
            ["cnn-small", "mine"], ["ort-1", "ort-2"], ["host", "haswell"], [1, 2]
        )
    ]
    assert [(cell.workload, dict(cell.factors)) for cell in matrix.cells] == expected
    assert (matrix.repeats, matrix.reference, matrix.baseline) == (3, "reference", {"stack": "ort-2"})
    assert matrix.limits.model_dump() == {"memory": "1GiB", "timeout": "30s", "pids": 100, "cpus": 2}
    assert matrix.workloads["mine"].model == "m.onnx"


def test_exclude_removes_what_matches_all_of_a_rule(write):
    rules = "exclude:\n- {stack: ort-1, profile: [haswell]}\n- {workload: mine, threads: [1, 2], profile: host}\n"
    cells = load_matrix(write(VALID + rules)).cells
    left = {(cell.workload, cell.stack, cell.profile, cell.factors["threads"]) for cell in cells}
    assert left == {
        ("cnn-small", "ort-1", "host", 1),
        ("cnn-small", "ort-1", "host", 2),
        *itertools.product(["cnn-small"], ["ort-2"], ["host", "haswell"], [1, 2]),
        *itertools.product(["mine"], ["ort-2"], ["haswell"], [1, 2]),
    }


def test_exclude_may_name_a_default(write):
    text = "numdev: 1\nfactors: {stack: [a]}\nworkloads: [x, y]\nexclude: [{batch: all, workload: x}]\n"
    assert [cell.workload for cell in load_matrix(write(text)).cells] == ["y"]


def test_include_adds_one_cell_with_the_first_level_of_what_it_leaves_out(write):
    rule = "include: [{workload: mine, stack: torch, threads: 8, env.MODE: fast}]\n"
    cells = load_matrix(write(VALID + rule)).cells
    assert len(cells) == 17
    expected = {**DEFAULTS, "stack": "torch", "profile": "host", "threads": 8, "env.MODE": "fast"}
    assert (cells[-1].workload, dict(cells[-1].factors)) == ("mine", expected)


@pytest.mark.parametrize(
    ("rules", "more"),
    [
        ("[{workload: mine, stack: ort-1}]", 0),
        ("[{workload: mine, stack: x}, {stack: x, workload: mine, threads: 1}]", 1),
        (
            "[{workload: mine, stack: x, env.A: a, env.B: b}, {workload: mine, stack: x, env.B: b, env.A: a}]",
            1,
        ),
    ],
)
def test_an_included_cell_is_there_once(write, rules, more):
    assert len(load_matrix(write(f"{VALID}include: {rules}\n")).cells) == 16 + more


def test_include_brings_an_excluded_cell_back(write):
    text = VALID + "exclude: [{stack: ort-1}]\ninclude: [{workload: mine, stack: ort-1, threads: 2}]\n"
    back = [cell for cell in load_matrix(write(text)).cells if cell.stack == "ort-1"]
    assert [(cell.workload, cell.profile, cell.factors["threads"]) for cell in back] == [("mine", "host", 2)]


def test_nothing_left_is_an_error(problems):
    assert problems(VALID + "exclude: [{stack: [ort-1, ort-2]}]\n") == ["exclude: leaves nothing to run (exclude less)"]


def test_all_problems_of_the_file_at_once(problems):
    text = """
numdev: 2
factors: {stack: ort-1}
workload: [cnn-small]
workloads: []
repeats: 0
reference: 5
limits: {memory: 4GB, timeout: 90, pids: 1, cpu: 2}
"""
    found = problems(text)
    assert [one.split(": ")[0] for one in found] == [
        "factors.stack",
        "limits.cpu",
        "limits.memory",
        "limits.pids",
        "limits.timeout",
        "numdev",
        "reference",
        "repeats",
        "workload",
        "workloads",
    ]
    assert "limits.memory: '4GB' is not an amount of memory: write for example 512MiB or 4GiB" in found
    assert 'limits.timeout: must be text, not 90 (put it in quotes: "...")' in found


def test_all_problems_of_the_levels_and_workloads_at_once(problems):
    text = """
numdev: 1
factors:
  profile: [1, host]
  threads: [0, "1", 5000, 2, 2]
  batch: [all, some, 3]
  optimization: [fast, "off"]
  precision: []
  colour: [red]
  session.x: [0, "a b"]
  env.: ["1"]
workloads: [cnn-small, cnn-small, model.onnx, {name: X, model: m.bin}]
"""
    assert problems(text) == [
        "factors.batch: 'some' is not a whole number from 1 to 4096",
        f"factors.colour: unknown factor ({module._FACTORS})",
        f"factors.env.: unknown factor ({module._FACTORS})",
        "factors.optimization: 'fast' is not one of all, basic, extended, off",
        "factors.precision: has no levels (give at least one, or leave the factor out)",
        "factors.profile: must be text, not 1: put it in quotes",
        "factors.session.x: 'a b' has characters that a level cannot have",
        "factors.session.x: must be text, not 0: put it in quotes",
        "factors.stack: missing (name at least one stack of images/)",
        "factors.threads: '1' is not a whole number from 1 to 4096",
        "factors.threads: 0 is not a whole number from 1 to 4096",
        "factors.threads: 5000 is not a whole number from 1 to 4096",
        "factors.threads: a level stands twice (remove one)",
        "workloads.1: a second workload called 'cnn-small' (give it another `name`)",
        "workloads.2: 'model.onnx' is no name of a built-in workload "
        "(for a model of your own write {name: ..., model: ..., inputs: ...})",
        "workloads.3: the name 'X' must be lower-case letters, digits, '.', '_' and '-'; "
        "the format of 'm.bin' is not known from its ending: give `format`; a model needs inputs or images",
    ]


def test_rules_that_name_nothing_are_mistakes(problems):
    text = (
        VALID.replace("baseline: {stack: ort-2}", "baseline: {stack: ort-3, workload: mine}")
        + """
exclude:
  - {}
  - {stack: ort-9, workload: other}
  - {colour: red, threads: ["1", 3]}
include:
  - {workload: mine}
  - {workload: yours, stack: new, threads: 0}
"""
    )
    assert problems(text) == [
        "baseline.stack: 'ort-3' is not a level here (there are: ort-1, ort-2)",
        f"baseline.workload: unknown factor ({module._FACTORS})",
        "exclude.0: is empty (name at least one factor, or remove it)",
        "exclude.1.stack: 'ort-9' is not a level here (there are: ort-1, ort-2)",
        "exclude.1.workload: 'other' is not a level here (there are: cnn-small, mine)",
        f"exclude.2.colour: unknown factor ({module._FACTORS})",
        "exclude.2.threads: '1' is not a level here (there are: 1, 2)",
        "exclude.2.threads: 3 is not a level here (there are: 1, 2)",
        "include.0: must name a workload and a stack",
        "include.1.threads: 0 is not a whole number from 1 to 4096",
        "include.1.workload: 'yours' is not a level here (there are: cnn-small, mine)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("1GiB", "1TB", "is not an amount of memory"),
        ("30s", "30", "must be text"),
        ("30s", "30 sec", "is not a length of time"),
        ("pids: 100", "pids: 15", "greater than or equal to 16"),
        ("cpus: 2", "cpus: 0", "greater than or equal to 1"),
        ("cpus: 2", "cpus: two", "must be a whole number"),
        ("repeats: 3", "repeats: 1001", "less than or equal to 1000"),
        ("repeats: 3", "repeats: true", "must be a whole number"),
    ],
)
def test_limits(problems, old, new, what):
    (found,) = problems(VALID.replace(old, new))
    assert what in found


def test_too_many_cells_are_counted_not_made(problems):
    levels = ", ".join(map(str, range(1, 4001)))
    text = f"numdev: 1\nfactors: {{stack: [a], threads: [{levels}], batch: [{levels}]}}\nworkloads: [x]\n"
    assert problems(text) == ["factors: 16000000 cells, more than 100000 (split the matrix)"]


def test_as_many_cells_as_allowed(write, monkeypatch):
    monkeypatch.setattr(module, "CELL_LIMIT", 16)
    assert len(load_matrix(write(VALID)).cells) == 16


def test_versions_are_text(write):
    text = "numdev: 1\nfactors: {stack: [a], env.V: [2.10, 1.0, no]}\nworkloads: [x]\n"
    assert [cell.factors["env.V"] for cell in load_matrix(write(text)).cells] == ["2.10", "1.0", "no"]


REFERENCE_CELL = """
numdev: 1
factors: {stack: [a, b], threads: [1, 2], batch: [1, 4]}
workloads: [cnn-five]
exclude: [{stack: b, threads: 2}]
"""


def test_a_cell_can_be_the_reference(write):
    matrix = load_matrix(write(REFERENCE_CELL + "reference: {threads: 2}\n"))
    assert matrix.reference is None
    named = [cell for cell in matrix.cells if is_reference(cell, matrix.reference_cell)]
    assert [(cell.stack, cell.factors["threads"], cell.factors["batch"]) for cell in named] == [
        ("a", 2, 1),
        ("a", 2, 4),
    ]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{stack: b, threads: 2}", "reference: no cell has these levels"),
        ("{stack: c}", "reference.stack: 'c' is not a level here"),
        ("{batch: 1}", "reference.batch: each batch has a reference of its own"),
        ("{workload: cnn-five}", "reference.workload: unknown factor"),
        ("5", "reference: must be text or a mapping, not 5"),
    ],
)
def test_a_reference_that_is_no_cell(problems, rule, words):
    assert words in "\n".join(problems(f"{REFERENCE_CELL}reference: {rule}\n"))
