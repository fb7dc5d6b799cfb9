"""`numdev compare`: files, cells, runs; what it says of bad input; its exit codes."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numdev.analysis.comparison import Limits
from numdev.engines import Played
from numdev.errors import InvalidInput
from numdev.run import compared
from numdev.store import Store

ONE = np.float32([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1.5]])


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name: str, *arrays, **named) -> str:
    if name.endswith(".npz"):
        np.savez(name, *arrays, **named)
    else:
        np.save(name, arrays[0])
    return name


def stepped(array: np.ndarray, steps: int = 1) -> np.ndarray:
    return (array.view(np.int32) + steps).view(np.float32)


class TestFiles:
    def test_the_same(self, numdev, here):
        save("a.npy", ONE)
        done = numdev("compare", "a.npy", "a.npy", "--fail-on-deviation", "--max-abs", "0")
        assert done.code == 0
        assert "the same: types, shapes and all bytes" in done.out
        assert "within the limits" in done.out

    def test_sizes_in_80_columns(self, numdev, here):
        save("a.npy", ONE)
        save("b.npy", stepped(ONE))
        done = numdev("compare", "a.npy", "b.npy")
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80
        assert "float32, 2x6: 12 of 12 elements differ in their bytes" in done.out
        assert "matching significand bits: 23 at least, 23.0 on average" in done.out
        assert "top-1 changed in 0 of 2 rows, top-5 in 0" in done.out
        assert "they differ" in done.out

    @pytest.mark.parametrize(
        ("limits", "code"),
        [
            ((), 0),
            (("--fail-on-deviation",), 5),
            (("--max-ulp", "1"), 0),
            (("--max-ulp", "0"), 5),
            (("--max-abs", "1e-6"), 0),
            (("--max-abs", "1e-8"), 5),
            (("--max-rel", "2e-7"), 0),
            (("--max-rel", "1e-9"), 5),
            (("--max-ulp", "1", "--max-rel", "1e-9"), 5),
            (("--max-ulp", "1", "--fail-on-deviation"), 5),
        ],
    )
    def test_exit_codes(self, numdev, here, limits, code):
        save("a.npy", ONE)
        save("b.npy", stepped(ONE))
        done = numdev("compare", "a.npy", "b.npy", *limits)
        assert done.code == code
        found = json.loads(numdev("compare", "a.npy", "b.npy", *limits, "--json").out)
        assert (found["version"], found["deviates"], found["limited"]) == (
            1,
            True,
            any("max" in each for each in limits),
        )
        assert bool(found["exceeded"]) == (code == 5 and limits != ("--fail-on-deviation",) and len(limits) != 3)

    def test_what_no_limit_lets_pass(self, numdev, here):
        save("a.npz", x=np.float32([1, 0]), n=np.int8([1]))
        save("b.npz", x=np.float32([np.nan, 1e-30]), n=np.int8([2]), more=ONE)
        found = json.loads(numdev("compare", "a.npz", "b.npz", "--max-ulp", "9", "--max-rel", "9", "--json").out)
        assert found["exceeded"] == [
            "n: there is no ULP distance between these types",
            "x: 1 NaN or infinite on one side only",
            "x: 1 left zero, which no relative deviation describes",
            f"x: max ulp {found['arrays'][1]['size']['max_ulp']} > 9",
            "more: only one side has it",
        ]
        assert found["missing"] == [[], ["more"]]

    def test_nan_everywhere(self, numdev, here):
        save("a.npy", np.full(4, np.nan, np.float32))
        done = numdev("compare", "a.npy", "a.npy")
        assert "no element is finite on both sides: there is no size" in done.out
        save("b.npy", np.zeros(4, np.float32))
        assert "4 NaN on one side only" in numdev("compare", "a.npy", "b.npy").out

    def test_empty(self, numdev, here):
        save("a.npy", np.zeros((0, 3), np.float32))
        done = numdev("compare", "a.npy", "a.npy", "--fail-on-deviation")
        assert done.code == 0
        assert "0x3: both are empty" in done.out

    def test_other_shapes_and_types(self, numdev, here):
        save("a.npy", ONE)
        save("b.npy", ONE.T.copy())
        done = numdev("compare", "a.npy", "b.npy", "--fail-on-deviation")
        assert done.code == 5
        assert "not comparable: shape 6x2 against 2x6" in done.out
        assert numdev("compare", "a.npy", "b.npy", "--max-abs", "99").code == 5
        save("b.npy", ONE.astype(np.float64))
        done = numdev("compare", "a.npy", "b.npy", "--fail-on-deviation")
        assert done.code == 5
        assert "float32 against float64, 2x6: 0 of 12 elements are other numbers" in done.out
        assert numdev("compare", "a.npy", "b.npy", "--max-abs", "0").code == 0

    def test_nothing_in_common(self, numdev, here):
        save("a.npz", x=ONE, y=ONE)
        save("b.npz", z=ONE, w=ONE)
        done = numdev("compare", "a.npz", "b.npz")
        assert done.code == 4
        assert "nothing was compared" in done.out
        assert "Only in A: x, y" in done.out

    def test_single_arrays_are_compared_whatever_their_names(self, numdev, here):
        save("a.npz", x=ONE)
        save("b.npy", ONE)
        assert "the same" in numdev("compare", "a.npz", "b.npy").out

    def test_bfloat16(self, numdev, here):
        bits = np.uint16([0x3F80, 0x3F81])
        save("a.npy", bits)
        np.save("b.npy", (bits + np.uint16(1)).view("V2"))
        done = numdev("compare", "a.npy", "b.npy", "--bfloat16", "--max-ulp", "1")
        assert done.code == 0
        assert "bfloat16, 2: 2 of 2 elements differ" in done.out
        done = numdev("compare", "a.npy", "b.npy")
        assert "uint16 against bfloat16, 2: 2 of 2 elements are other numbers" in done.out

    def test_top_k(self, numdev, here):
        save("a.npy", ONE)
        save("b.npy", ONE[:, ::-1].copy())
        assert "top-2 in 2" in numdev("compare", "a.npy", "b.npy", "--top-k", "2").out

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda path: None, ["does not exist"]),
            (lambda path: path.mkdir(), ["is not a regular file"]),
            (lambda path: path.write_bytes(b""), ["no .npy of numbers"]),
            (lambda path: path.write_bytes(os.urandom(500)), ["no .npy of numbers"]),
            (lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True), ["type object"]),
            (lambda path: np.save(path, np.array([(1, 2)], "i4,i4")), ["is of type"]),
            (lambda path: np.save(path, np.array(["a"])), ["type <U1"]),
            (lambda path: path.write_bytes(_npy(ONE)[:-1]), ["47 bytes of data"]),
            (lambda path: path.write_bytes(_npy(ONE) + b"x"), ["49 bytes of data"]),
            (lambda path: path.write_bytes(_npy(ONE).replace(b"(2, 6)", b"(2,-6)")), ["no .npy of numbers"]),
            (lambda path: path.write_bytes(_npy(ONE).replace(b"(2, 6), }", b"(9**9,)} ")), ["no .npy of numbers"]),
            (lambda path: path.write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"(" * 100_000), ["no .npy of numbers"]),
        ],
    )  # fmt: skip
    def test_damaged(self, numdev, here, make, words):
        save("a.npy", ONE)
        make(here / "b.npy")
        for order in (("a.npy", "b.npy"), ("b.npy", "a.npy")):
            done = numdev("compare", *order)
            assert done.code == 3, done.out
            assert [word for word in ["b.npy", *words] if word not in done.err] == []
            assert done.out == ""

    def test_a_damaged_npz(self, numdev, here):
        save("a.npz", x=ONE)
        data = (here / "a.npz").read_bytes()
        (here / "b.npz").write_bytes(data[:-30])
        done = numdev("compare", "a.npz", "b.npz")
        assert done.code == 3
        assert "no .npz" in done.err

    @pytest.mark.parametrize("limit", [("--max-abs", "-1"), ("--max-rel", "nan"), ("--max-abs", "inf")])
    def test_limits_that_are_none(self, numdev, here, limit):
        save("a.npy", ONE)
        done = numdev("compare", "a.npy", "a.npy", *limit)
        assert done.code == 3
        assert limit[0] in done.err


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_damage_is_said(tmp_path_factory, data):
    """Files with some bytes changed, cut or added: arrays of numbers, or a clear error."""
    folder = tmp_path_factory.mktemp("damaged")
    suffix = data.draw(st.sampled_from(["npy", "npz"]))
    path = folder / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, ONE)
    else:
        np.savez(path, x=ONE, y=ONE[0])
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(whole)
    try:
        found = compared.find(str(path), folder)
    except InvalidInput as error:
        said = str(error)
    else:
        said = path.name
        assert compared.compare(found, found, Limits(), 5).deviates is False
    assert path.name in said


def _npy(array: np.ndarray) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def digest(folder, **factors: str) -> str:
    return next(
        record.digest
        for record in Store.open(folder / "numdev-store").records()
        if all(record.factors[key] == level for key, level in factors.items())
    )


def two_runs(place, numdev, plays, players, text="stack: [one, two], threads: [1, 2]"):
    """Runs `m` and `n` of the same matrix, with a player each; their stores are apart, for equal causes run once."""
    for name, player in zip("mn", players, strict=True):
        matrix = (
            (place / "m.yaml").read_text()
            if name == "n"
            else (place / "m.yaml").read_text().replace("stack: [one, two]", text)
        )
        (place / f"{name}.yaml").write_text(matrix)
        plays(player)
        numdev("matrix", "run", f"{name}.yaml", "--store", name)


class TestCells:
    def test_by_their_first_letters(self, numdev, plays, place):
        plays(lambda stack, *_: Played({"y": ONE if stack == "one" else stepped(ONE)}))
        numdev("matrix", "run", "m.yaml")
        one, two = digest(place, stack="one"), digest(place, stack="two")
        done = numdev("compare", one[:8], two[:8], "--max-ulp", "1")
        assert done.code == 0
        assert f"A: cell {one[:8]} (own, one, replicate 1)" in done.out
        assert "y " in done.out
        assert numdev("compare", one[:8], one, "--fail-on-deviation").code == 0
        assert numdev("compare", one[:8], two[:8], "--fail-on-deviation").code == 5
        save("a.npy", ONE)
        assert "the same" in numdev("compare", one[:8], "a.npy").out

    def test_what_names_nothing(self, numdev, plays, place):
        plays()
        numdev("matrix", "run", "m.yaml")
        done = numdev("compare", "abcd", "m")
        assert done.code == 3
        assert "is no file, run or record" in done.err
        assert "runs in numdev-store: m" in done.err
        assert numdev("compare", "0" * 64, "m").code == 3
        assert numdev("compare", digest(place, stack="one"), "m").code == 3
        assert numdev("compare", "m", "elsewhere:m").code == 10

    def test_no_store(self, numdev, here):
        done = numdev("compare", "a", "b")
        assert done.code == 10
        assert "numdev-store is no store" in done.err

    def test_a_cell_without_outputs(self, numdev, plays, place):
        plays(lambda *_: Played(status="signal:6"))
        numdev("matrix", "run", "m.yaml")
        name = digest(place, stack="one")
        done = numdev("compare", name, name)
        assert done.code == 3
        assert "signal:6" in done.err

    def test_a_damaged_tensor(self, numdev, plays, place):
        plays()
        numdev("matrix", "run", "m.yaml")
        for path in (place / "numdev-store" / "tensors").rglob("*.npy"):
            path.write_bytes(path.read_bytes()[:-1])
        assert numdev("compare", digest(place, stack="one"), digest(place, stack="two")).code == 10


class TestRuns:
    def test_the_same(self, numdev, plays, place):
        plays()
        numdev("matrix", "run", "m.yaml")
        done = numdev("compare", "m", "m", "--fail-on-deviation")
        assert done.code == 0
        assert "2 cells in both runs: 2 the same bytes" in done.out
        assert "the classes of 2 cells agree (adjusted Rand index 1.000)" in done.out

    def test_other_bytes_and_other_partitions(self, numdev, plays, place):
        def first(stack, cell, table):
            return Played({"y": ONE if stack == "one" else stepped(ONE)})

        def second(stack, cell, table):
            return Played({"y": ONE if cell["threads"] == 1 else stepped(ONE, 3)})

        two_runs(place, numdev, plays, (first, second))
        done = numdev("compare", "m:m", "n:n")
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80
        assert "4 cells in both runs: 1 the same bytes, 3 differ" in done.out
        assert "do not agree (adjusted Rand index -0.500)" in done.out
        assert "one class only in A: own one 1 and own one 2" in done.out
        assert "one class only in B: own one 1 and own two 1" in done.out
        found = json.loads(numdev("compare", "m:m", "n:n", "--max-ulp", "2", "--json").out)
        assert found["exceeded"] == ["own one 2: max ulp 3 > 2"]
        assert found["agreements"][0]["partitions"]["cells"] == 4
        assert numdev("compare", "m:m", "n:n", "--max-ulp", "3").code == 0

    def test_cells_of_one_run_only_and_defaults(self, numdev, plays, place):
        """A factor that one matrix leaves out has its default there."""
        (place / "n.yaml").write_text(
            (place / "m.yaml").read_text().replace("[one, two]", "[one, two], threads: [1, 2]")
        )
        plays(lambda *_: Played({"y": ONE}))
        for name in "mn":
            assert numdev("matrix", "run", f"{name}.yaml").code == 0
        found = json.loads(numdev("compare", "m", "n", "--json").out)
        assert [each["outcome"] for each in found["cells"]] == ["same", "same"]
        assert found["only"] == [[], ["own one 2", "own two 2"]]
        assert found["deviates"] is False

    def test_ends_without_a_result(self, numdev, plays, place):
        def first(stack, *_):
            return Played({"y": ONE}) if stack == "one" else Played(status="signal:6")

        def second(stack, *_):
            return Played(status="unsupported", reason="so") if stack == "one" else Played(status="oom")

        two_runs(place, numdev, plays, (first, second), "stack: [one, two]")
        done = numdev("compare", "m:m", "n:n")
        assert done.code == 4
        assert "B unsupported so" in done.out
        assert "signal:6 against oom" in done.out
        assert numdev("compare", "m:m", "n:n", "--fail-on-deviation").code == 5
        assert numdev("compare", "m:m", "m:m", "--fail-on-deviation").code == 0

    def test_what_no_run_supports_is_no_gap(self, numdev, plays, place):
        plays(lambda stack, *_: Played({"y": ONE}) if stack == "one" else Played(status="unsupported", reason="so"))
        numdev("matrix", "run", "m.yaml")
        done = numdev("compare", "m", "m", "--fail-on-deviation")
        assert done.code == 0
        assert "1 without a result" in done.out

    def test_a_record_that_is_gone(self, numdev, plays, place):
        plays()
        numdev("matrix", "run", "m.yaml")
        gone = digest(place, stack="one")
        next((place / "numdev-store").rglob(f"{gone}-1.json")).unlink()
        done = numdev("compare", "m", "m", "--fail-on-deviation")
        assert done.code == 4
        assert "A lost not run" in done.out


BY = """numdev: 1
workloads: {own: own}
factors: {stack: stack, threads: threads}
levels: {stack: {one: two, two: one}}
"""


class TestMatched:
    """Runs whose cells have other names: here `one` of A is `two` of B."""

    @pytest.fixture
    def runs(self, place, numdev, plays):
        def first(stack, cell, table):
            return Played({"y": ONE if (stack, cell["threads"]) == ("one", 1) else stepped(ONE)})

        def second(stack, cell, table):
            return Played({"y": stepped(ONE, 5) if (stack, cell["threads"]) == ("two", 1) else stepped(ONE, 9)})

        two_runs(place, numdev, plays, (first, second))
        (place / "by.yaml").write_text(BY)
        return "m:m", "n:n"

    def test_side_by_side(self, numdev, place, runs):
        done = numdev("compare", *runs, "--by", "by.yaml", "--fail-on-deviation")
        assert done.code == 0, done.err
        assert max(map(len, done.out.splitlines())) <= 80
        lines = [line.split() for line in done.out.splitlines()]
        assert ["A", "1", "2", "B", "1", "2"] in lines
        assert ["one", "B", "A", "B", "A"] in lines
        assert ["two", "A", "A", "A", "A"] in lines
        assert "own = own: the same partition of 4 cells of B (adjusted Rand index 1.000)" in " ".join(done.out.split())

    def test_other_partitions(self, numdev, place, runs):
        (place / "by.yaml").write_text(BY.replace("one: two, two: one", "one: one, two: two"))
        done = numdev("compare", *runs, "--by", "by.yaml")
        assert done.code == 0
        assert "one class only in A: one 2 and two 1" in done.out
        assert "one class only in B: one 1 and one 2" in done.out
        assert numdev("compare", *runs, "--by", "by.yaml", "--fail-on-deviation").code == 5
        found = json.loads(numdev("compare", *runs, "--by", "by.yaml", "--json").out)
        assert found["deviates"] is True
        assert found["matched"][0]["index"] < 0
        assert found["cells"] == []

    def test_what_is_not_there_is_told(self, numdev, place, runs):
        (place / "by.yaml").write_text(BY.replace("two: one", "three: one").replace("own: own", "own: own, other: own"))
        done = numdev("compare", *runs, "--by", "by.yaml")
        assert done.code == 4
        assert "Named and not there: workload other of A, stack three of A" in done.out
        assert "Only in A: two 1, two 2" in done.out
        assert "Only in B: one 1, one 2" in done.out

    def test_what_does_not_fit(self, numdev, place, runs):
        (place / "by.yaml").write_text(BY.replace("threads: threads", "speed: threads"))
        done = numdev("compare", *runs, "--by", "by.yaml")
        assert done.code == 3
        assert "'speed' is no factor of m:m" in done.err
        assert numdev("compare", *runs, "--by", "missing.yaml").code == 3
        (place / "by.yaml").write_text(BY)
        done = numdev("compare", *runs, "--by", "by.yaml", "--max-ulp", "1")
        assert done.code == 3
        assert "leave the limits out" in done.err
        save("a.npy", ONE)
        done = numdev("compare", "a.npy", "a.npy", "--by", "by.yaml")
        assert done.code == 3
        assert "Only runs have cells to be matched" in done.err

    def test_one_level_of_what_only_a_varies_is_chosen_by_row(self, numdev, place, runs):
        rules = "exclude:\n  - {stack: one, threads: 2}\n  - {stack: [two], threads: 1}\n"
        by = "numdev: 1\nworkloads: {own: own}\nfactors: {stack: stack}\n" + rules + "whatever: [threads]\n"
        (place / "by.yaml").write_text(by)
        done = numdev("compare", *runs, "--by", "by.yaml", "--json")
        (found,) = json.loads(done.out)["matched"]
        assert (found["cells"], found["levels"]) == (4, {})
        assert [row["one"] for row in found["table"]] == [[["A"], ["B"]]]
        (place / "by.yaml").write_text(by.replace("{stack: one, threads: 2}", "{stack: one, threads: 3}"))
        done = numdev("compare", *runs, "--by", "by.yaml")
        assert done.code == 3
        assert "several cells in one place: own one host: 1, 2" in done.err
        (place / "by.yaml").write_text(by.replace("[two]", "[two, six]"))
        assert "Named and not there: stack six of A" in numdev("compare", *runs, "--by", "by.yaml").out
        (place / "by.yaml").write_text(by.replace("[threads]", "[threads, mood]"))
        assert "'mood' is no factor of m:m" in numdev("compare", *runs, "--by", "by.yaml").err
