"""Two bundles beside each other: what was asked, on what it ran, and what became of each cell."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from numdev import cpu, digests
from numdev.bundle.compared import Pair, compare, tables
from numdev.bundle.differing import Side
from numdev.cpu.features import FEATURES
from numdev.engines import Played, memory
from numdev.store import Output, Record

MATRIX = """
numdev: 1
factors: {stack: [one, two], threads: [1, 2]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
"""


def player(shift=0.0, only="", **how):
    def play(stack, cell, table):
        value = {"two": 2.0}.get(stack, 1.0) + (shift if only in ("", stack) else 0)
        return Played({"y": np.full(3, value, np.float32)}, **how)

    return play


def diff(playing, one, other):
    done = playing.numdev("bundle", "diff", one, other, "--json")
    return done, json.loads(done.out) if done.out else None


def test_a_bundle_and_itself(playing):
    path = playing.bundle(MATRIX, player())
    done, data = diff(playing, path, path)
    assert (done.code, data["counts"], data["same"]) == (0, {"same": 4}, True)
    assert data["asked"] == data["platforms"] == data["matched"] == []
    assert set(map(tuple, data["letters"].values())) == {("A", "A"), ("B", "B")}


def test_a_pin_that_changed_is_named(playing, monkeypatch):
    one = playing.bundle(MATRIX, player(), "one")
    folder = playing.folder / "images" / "two"
    for file in folder.iterdir():
        file.write_text(file.read_text().replace("1.32.0", "1.20.1"))
    monkeypatch.setattr(
        memory, "stack_digest", lambda stack, site: digests.of_json([stack.name, stack.pins["onnxruntime"]])
    )
    other = playing.bundle(MATRIX, player(1, only="two"), "other")
    done, data = diff(playing, one, other)
    assert (done.code, data["counts"]) == (13, {"same": 2, "other": 2})
    assert "stack two: onnxruntime 1.32.0 | 1.20.1" in data["asked"]
    cell = next(cell for cell in data["cells"] if cell["outcome"] == "other")
    assert cell["first"] == "software stack"
    assert "onnxruntime 1.32.0 in A, 1.20.1 in B" in cell["cause"]["why"]
    text = playing.numdev("bundle", "diff", one, other).out
    assert "first differing factor: software stack" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_only_other_stack_of_a_backend_is_compared_with_it(playing):
    one = playing.bundle(MATRIX, player(), "one")
    (playing.folder / "images" / "two").rename(playing.folder / "images" / "three")
    other = playing.bundle(MATRIX.replace("two", "three"), player(1), "other")
    done, data = diff(playing, one, other)
    assert data["matched"] == ["stack: two of A is compared with three of B"]
    assert "stack: only in A two" in data["asked"]
    assert len(data["cells"]) == 4
    (playing.folder / "images" / "three" / "stack.yaml").write_text(
        (playing.folder / "images" / "three" / "stack.yaml")
        .read_text()
        .replace("backend: onnxruntime", "backend: numpy")
    )
    apart = playing.bundle(MATRIX.replace("two", "three"), player(), "apart")
    done, data = diff(playing, one, apart)
    assert (done.code, data["matched"], data["counts"]) == (4, [], {"same": 2})
    assert data["only"] == [["own two host", "own two host threads=2"], ["own three host", "own three host threads=2"]]


def test_what_was_asked_and_where_it_ran(playing, monkeypatch):
    one = playing.bundle(MATRIX, player(), "one")
    here = cpu.capture()
    monkeypatch.setattr(
        cpu,
        "capture",
        lambda: replace(here, fingerprint={**here.fingerprint, "rcpps": "other"}, facts={"kernel": "9.9"}),
    )
    (playing.folder / "model.onnx").write_bytes(b"another")
    other = playing.bundle(MATRIX.replace("threads: [1, 2]", "threads: [1, 4]") + "repeats: 3\n", player(), "other")
    done, data = diff(playing, one, other)
    assert done.code == 0 if not any(data["only"]) else 4
    assert "threads: only in A 2" in data["asked"]
    assert "workload own: another model or other inputs" in data["asked"]
    assert "repeats: 1 | 3" in data["asked"]
    assert any(line.startswith("silicon differs: rcpps") for line in data["platforms"])
    assert any(line.startswith("Linux: ") for line in data["platforms"])


def test_a_damaged_bundle_is_refused(playing):
    path = playing.bundle(MATRIX, player())
    data = path.read_bytes()
    at = data.index(b'"status":"ok"')
    path.write_bytes(data[:at] + b'"status":"no"' + data[at + 13 :])
    done, _ = diff(playing, path, path)
    assert done.code == 9
    assert "cells.jsonl" in done.err


def record(value: int, **how) -> Record:
    causes = {"stack": "s" * 64, "platform": "p" * 64, "table": "host", "workload": "w" * 64, "worker": "k" * 64}
    data = {
        "record": 1,
        "digest": digests.of_json([value, sorted(how.get("causes", {}).items())]),
        "workload": "own",
        "factors": {"stack": "one"},
        "replicate": 1,
        "status": "ok",
        "outputs": [Output(name="y", dtype="float32", shape=[1], tensor=f"{value:064x}")],
        **how,
    }
    return Record(**{**data, "causes": {**causes, **how.get("causes", {})}})


def compared(one: Record, other: Record, **known):
    pair = Pair("c", "own", {"stack": "one"}, [one], [other])
    return compare([pair], (Side("there", **known), Side("here", **known))).cells[0]


def table(*features: str) -> str:
    lines = {}
    for name in features:
        leaf, subleaf, register, bit = FEATURES[name]
        row = lines.setdefault((leaf, subleaf), [0, 0, 0, 0])
        row[register] |= 1 << bit
    rows = [f"{leaf:08x} {sub:08x} " + " ".join(f"{word:08x}" for word in row) for (leaf, sub), row in lines.items()]
    return "\n".join(["numdev-cpuid 1", *rows]) + "\n"


class TestCauses:
    def test_a_table_with_other_caches_and_flags_that_nobody_chooses_by(self):
        had = {"a" * 64: table("avx2", "rdrand") + "00000004 00000000 00000001 00000000 00000000 00000000\n", "b" * 64: table("avx2")}  # fmt: skip
        found = compared(record(1, causes={"table": "a" * 64}), record(2, causes={"table": "b" * 64}), table=had.get)
        assert "other answers in 0x4" in found.verdict.why

    def test_the_same_answers_on_two_kinds_of_host_are_no_difference(self):
        had = {
            "a" * 64: table("avx2", "fma", "rdrand"),
            "b" * 64: table("avx2", "fma").replace("cpuid 1", "cpuid 1\nrewritten"),
        }
        causes = {"table": "b" * 64, "worker": "2" * 64}
        found = compared(
            record(1, causes={"table": "a" * 64, "worker": "1" * 64}), record(2, causes=causes), table=had.get
        )
        assert found.verdict.first == found.verdict.cause == "numdev's code in the cell"

    def test_another_table_of_the_same_name(self):
        tables = {"a" * 64: table("avx2", "fma"), "b" * 64: table("fma")}
        found = compared(
            record(1, causes={"table": "a" * 64}),
            record(2, causes={"table": "b" * 64}),
            table=tables.get,
        )
        assert found.verdict.first == found.verdict.cause == "CPU as shown"
        assert "only there: avx2" in found.verdict.why

    def test_another_table_is_told_even_where_bytes_are_the_same(self):
        had = {"a" * 64: table("avx2", "fma"), "b" * 64: table("fma")}
        pairs = [
            Pair(
                name,
                "own",
                {"profile": name},
                [record(1, causes={"table": "a" * 64})],
                [record(1, causes={"table": to * 64})],
            )
            for name, to in (("haswell", "b"), ("zen2", "b"), ("zen1", "a"))
        ]
        sides = Side("there", table=had.get), Side("here", table=had.get)
        assert tables(pairs, sides) == ["Another CPUID table here under haswell, zen2: only there: avx2."]
        assert compare(pairs, sides).counts == {"same": 3}

    def test_another_real_processor_and_what_was_chosen_by_it(self):
        platform = {"brand": "Some CPU"}, {"brand": "Other CPU"}
        one, other = (
            record(
                at,
                causes={"platform": f"{at}" * 64},
                environment={"platform": platform[at]},
                realised={"torch_capability": f"AVX{at}"},
            )
            for at in (0, 1)
        )
        found = compared(one, other)
        assert [one.factor for one in found.differs] == ["CPU as shown", "dispatch"]
        assert "another processor: Some CPU there, Other CPU here" in found.verdict.why
        assert "and torch chose AVX0 there, AVX1 here" in found.verdict.why

    def test_the_recorded_processor_shown_without_something(self):
        here = record(2, causes={"table": "b" * 64}, environment={"profile": {"intersected": ["avx512f"]}})
        found = compared(record(1), here)
        assert found.verdict.first == "CPU as shown"
        assert "here without avx512f" in found.verdict.why
        whole = record(2, causes={"table": "b" * 64}, environment={"profile": {"dropped": ["pcid"]}})
        assert compared(record(1), whole).verdict.cause == "unexplained"

    def test_numdevs_own_code_is_blamed_last_but_for_the_system(self):
        one = record(1, realised={"libc": "glibc 2.36", "numpy_dispatch": ["A"]})
        other = record(2, causes={"worker": "n" * 64}, realised={"libc": "glibc 2.41", "numpy_dispatch": ["B"]})
        found = compared(one, other)
        assert found.verdict.first == "numdev's code in the cell"
        assert found.verdict.cause == "dispatch"
        assert "also numdev's code in the cell and system" in found.verdict.why

    @pytest.mark.parametrize("rounds", [["a" * 64, "a" * 64], ["a" * 64, "b" * 64]])
    def test_a_process_that_is_not_steady_is_noise(self, rounds):
        outcome = compared(record(1, rounds=rounds), record(1)).outcome
        assert outcome == ("same" if rounds[0] == rounds[1] else "noisy there")

    def test_hostile_records_say_nothing_that_breaks(self):
        wild = record(2, realised={"versions": [1], "numpy_dispatch": {"a": 1}, "libc": ["x"]}, environment={"profile": 3, "platform": 4}, causes={"table": 5, "stack": None})  # fmt: skip
        assert compared(record(1), wild).outcome == "other"
        assert compared(wild, record(1)).outcome == "other"
