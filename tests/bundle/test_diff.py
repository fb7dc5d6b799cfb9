"""Two bundles beside each other: what was asked, on what it ran, and what became of each cell."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu, digests
from numdev.bundle.compared import Pair, compare, tables
from numdev.bundle.create import Options, create
from numdev.bundle.differing import Side, effective
from numdev.bundle.merge import merge
from numdev.cpu.features import FEATURES
from numdev.cpu.table import build
from numdev.engines import Played, memory
from numdev.store import Output, Record, Store

MACHINES = Path(__file__).resolve().parents[1] / "machines"
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
    assert (done.code, data["only"], data["matched"]) == (0, [[], []], ["threads: 2 of A is compared with 4 of B"])
    assert "threads: only in A 2" in data["asked"]
    assert "workload own: another model or other inputs" in data["asked"]
    assert "repeats: 1 | 3" in data["asked"]
    assert any(line.startswith("silicon differs: rcpps") for line in data["platforms"])
    assert any(line.startswith("Linux: ") for line in data["platforms"])


def test_levels_that_were_matched_are_a_difference(playing, monkeypatch):
    """Also where something else differs, that cells of equal levels differ in, too, and keep their bytes."""

    def play(stack, cell, table):
        return Played({"y": np.full(3, cell["threads"], np.float32)})

    one = playing.bundle(MATRIX, play, "one")
    here = cpu.capture()
    monkeypatch.setattr(cpu, "capture", lambda: replace(here, facts={**here.facts, "kernel": "9.9"}))
    other = playing.bundle(MATRIX.replace("threads: [1, 2]", "threads: [1, 4]"), play, "other")
    done, data = diff(playing, one, other)
    assert (done.code, data["counts"]) == (13, {"same": 2, "other": 2})
    for cell in data["cells"][1::2]:
        assert cell["first"] == cell["cause"]["factor"] == "level"
        assert "not set alike (threads 2 in A, 4 in B)" in cell["cause"]["why"]
        assert "system alone changed nothing in 1 cell" in cell["cause"]["why"]
    assert "first differing factor: level" in playing.numdev("bundle", "diff", one, other).out


def test_a_factor_that_one_does_not_name_is_at_its_default(playing):
    one = playing.bundle(MATRIX.replace("threads: [1, 2]", "threads: [1]"), player(), "one")
    other = playing.bundle(MATRIX.replace(", threads: [1, 2]", ""), player(1), "other")
    _, data = diff(playing, one, other)
    assert data["counts"] == {"other": 2}
    assert {cell["cause"]["factor"] for cell in data["cells"]} == {"unexplained"}


def on(monkeypatch, machine: str):
    """As if this machine were one of tests/machines."""
    captured = cpu.read_capture(MACHINES / f"{machine}.json")
    monkeypatch.setattr(cpu, "host", lambda: cpu.Host(captured.leaves, ""))
    monkeypatch.setattr(cpu, "capture", lambda: captured)


def test_the_real_processor_beside_a_profile_is_another_cpu(playing, monkeypatch):
    on(monkeypatch, "intel-6-207-2")

    def play(stack, cell, table):
        realised = {"numpy_dispatch": ["X86_V3" if table else "X86_V4"]}
        shown = {"cpuid": {"traps": 9, "mismatches": []}} if table else {}
        return Played({"y": np.full(3, bool(table), np.float32)}, realised={**realised, **shown})

    matrix = MATRIX.replace("threads: [1, 2]", "profile: [host]")
    paths = [playing.bundle(matrix, play, "own"), playing.bundle(matrix.replace("host", "haswell"), play, "shown")]
    for order, said in (
        (paths, "the processor's own in A, haswell in B; SIMD: AVX-512 AMX | AVX2; only in A: amx_bf16"),
        (paths[::-1], "haswell in A, the processor's own in B; SIMD: AVX2 | AVX-512 AMX; only in B: amx_bf16"),
    ):
        _, data = diff(playing, *order)
        cell = data["cells"][0]
        assert cell["first"] == cell["cause"]["factor"] == "CPU as shown"
        assert said in cell["cause"]["why"]
        assert "under the same CPU" not in cell["cause"]["why"]


def test_hosts_of_one_kind_have_captures_of_their_own(playing, bundled, tmp_path):
    """Two merged runs of the same two machines, of one kind: each with its own kernel."""
    paths = []
    for name, kernels, shift in (("p", ("6.1", "6.2"), 0.0), ("q", ("6.3", "6.4"), 1.0)):
        # A host is called by the name of its bundle.
        parts = [bundled(host, shift=shift, facts={"kernel": at}) for host, at in zip("ab", kernels, strict=True)]
        merge(parts, tmp_path / name)
        paths.append(tmp_path / f"{name}.bundle.tar")
        create(Store.open(tmp_path / name), "m", paths[-1], tmp_path / "cache", Options())
        for host in "ab":
            shutil.rmtree(tmp_path / f"made-{host}")
    _, data = diff(playing, *paths)
    for end, said in (("a", "Linux 6.1 in A, 6.3 in B"), ("b", "Linux 6.2 in A, 6.4 in B")):
        found = [cell for cell in data["cells"] if cell["factors"]["host"].endswith(end) and cell["differs"]]
        assert found
        assert {one["what"] for cell in found for one in cell["differs"]} == {said}
    told = [line for line in data["platforms"] if "Linux" in line]
    assert [line.partition(": ")[2] for line in told] == ["Linux: 6.1 | 6.3", "Linux: 6.2 | 6.4"]
    # A machine of the same kind, that is the only one: it is beside each of them.
    _, data = diff(playing, paths[0], tmp_path / "a.bundle.tar")
    told = [line for line in data["platforms"] if "Linux" in line]
    assert [line.partition(": ")[2] for line in told] == ["Linux: 6.1 | 6.3", "Linux: 6.2 | 6.3"]


def test_what_was_noisy_is_not_the_same(playing):
    """In A it cannot be compared; in B alone it is other. A run that fails where another one does not is noise, as in the answer."""

    def noisy(stack, cell, table):
        return Played({"y": np.full(3, cell["replicate"], np.float32)})

    def flaky(stack, cell, table):
        return player()(stack, cell, table) if cell["replicate"] == 1 else Played(status="failed", reason="crash")

    steady, *others = (
        playing.bundle(f"{MATRIX}repeats: 2\n", how, name)
        for how, name in ((player(), "steady"), (noisy, "noisy"), (flaky, "flaky"))
    )
    for other in others:
        done, data = diff(playing, other, steady)
        assert (done.code, data["counts"], data["same"]) == (4, {"noisy there": 4}, False)
        done, data = diff(playing, steady, other)
        assert (done.code, data["counts"], data["same"]) == (13, {"noisy here": 4}, False)
    reason = data["cells"][0]["reason"]
    assert reason == (
        "1 result in 2 runs in B; 1 of 2 runs in B ended otherwise: failed: crash; 1 result in 2 runs in A, which is among them"
    )
    assert set(map(tuple, data["letters"].values())) == {("A", "~"), ("B", "~")}


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


def compared(one: Record, other: Record, levels=None, **known):
    pair = Pair("c", "own", {"stack": "one"}, [one], [other], levels=levels)
    return compare([pair], (Side("there", **known), Side("here", **known))).cells[0]


def openblas(kernel: str) -> dict:
    return {"blas": [{"internal_api": "openblas", "architecture": kernel}]}


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
        def here(profile, **facts):
            profile = {"profile": profile, "rung": "cpuid", **facts}
            return record(2, causes={"table": "b" * 64, "platform": "q" * 64}, environment={"profile": profile})

        found = compared(record(1), here(f"platforms/{'p' * 64}.json", intersected=["avx512f"]))
        assert found.verdict.first == "CPU as shown"
        assert "here without avx512f" in found.verdict.why
        whole = here(f"platforms/{'p' * 64}.json", dropped=["pcid"])
        assert compared(record(1), whole).verdict.cause == "unexplained"
        emulated = here(f"platforms/{'p' * 64}.json", rung="emulate", not_shown=["caches", "topology"])
        assert "here with the emulator's own caches, topology" in compared(record(1), emulated).verdict.why
        # Any other profile is not that processor.
        assert "the processor's own there, haswell here" in compared(record(1), here("haswell")).verdict.why

    def test_a_table_that_says_what_the_processor_does_is_the_same_cpu(self):
        real = cpu.read_capture(MACHINES / "amd-25-17-1.json")
        text = build(cpu.profile_of(real, "mine.json"), cpu.Host(real.leaves, "")).text()
        known = {"capture": lambda platform, host: real, "table": {"b" * 64: text}.get}
        here = record(2, causes={"table": "b" * 64}, environment={"profile": {"profile": "mine.json", "rung": "cpuid"}})
        assert compared(record(1), here, **known).verdict.cause == "unexplained"

    def test_under_knobs_cpuid_is_the_processors_own(self):
        def knobs(value, platform, kernel, **variables):
            profile = {"profile": "haswell", "rung": "knobs", "variables": variables}
            causes = {"table": digests.of_json(variables), "platform": platform * 64}
            environment = {"profile": profile, "platform": {"brand": f"CPU {platform}"}}
            return record(value, causes=causes, environment=environment, realised=openblas(kernel))

        found = compared(knobs(1, "a", "Haswell"), knobs(2, "b", "Zen"))
        assert found.verdict.first == found.verdict.cause == "CPU as shown"
        assert "another processor: CPU a there, CPU b here" in found.verdict.why
        found = compared(knobs(1, "a", "Haswell", X="1"), knobs(2, "a", "Zen", X="2"))
        assert found.verdict.cause == "CPU as shown"
        assert "told of another CPU (knobs: X 1 there, 2 here), and OpenBLAS chose" in found.verdict.why
        # A table's CPUID there, the processor's own here, under the same profile.
        shown = record(1, causes={"table": "t" * 64}, environment={"profile": {"profile": "haswell", "rung": "cpuid"}})
        assert (
            "haswell there, the processor's own here; knobs: X"
            in compared(shown, knobs(2, "a", "Zen", X="1")).verdict.why
        )
        pairs = [Pair("c", "own", {"profile": "haswell"}, [knobs(1, "a", "Zen", X="1")], [knobs(1, "b", "Zen")])]
        assert tables(pairs, (Side("there"), Side("here"))) == []

    def test_of_imported_records_no_cpu_is_known(self):
        one, other = (
            record(at, realised=openblas(kernel)).model_copy(update={"causes": {"imported": "elsewhere"}})
            for at, kernel in ((1, "Haswell"), (2, "Zen"))
        )
        found = compared(one, other)
        assert found.verdict.cause == "dispatch"
        assert (
            "chose other code (OpenBLAS chose Haswell there, Zen here), under a CPU that is not recorded"
            in found.verdict.why
        )
        # Nor where it is known of one side only.
        for known in (
            record(2, realised=openblas("Zen")),
            record(2, causes={"table": "t" * 64}, realised=openblas("Zen")),
        ):
            assert [one.factor for one in compared(one, known).differs] == ["dispatch"]
        unknown = record(2, causes={"platform": ""}, realised=openblas("Zen"))
        assert [one.factor for one in compared(record(1, realised=openblas("Zen")), unknown).differs] == []
        levels = {"profile": "host", "threads": "1"}, {"profile": "haswell", "threads": "1"}
        assert compared(one, other, levels).differs[0].what == "profile host there, haswell here"
        silent = one.model_copy(update={"realised": {}, "outputs": other.outputs})
        assert "which CPU they were shown is not recorded of both" in compared(one, silent).verdict.why

    def test_what_one_side_read_back_is_no_other_choice(self):
        found = compared(
            record(1, realised={**openblas("Zen"), "torch_capability": "AVX2"}), record(2, realised=openblas("Zen"))
        )
        assert found.verdict.cause == "unexplained"

    @pytest.mark.parametrize(
        ("realised", "said"),
        [
            ((openblas("Zen"), openblas("Zen")), "the same dispatch, as far as libraries tell it, on {}"),
            (({}, {}), "{}, and no library says of both what it chose"),
            ((openblas("Zen"), {}), "{}, and no library says of both what it chose"),
        ],
    )
    def test_the_same_dispatch_is_said_only_where_it_was_read_back(self, realised, said):
        for facts, prints, words in (
            (("1", "2"), ("1", "1"), "another system{}"),
            (("1", "1"), ("1", "2"), "processors that compute differently{}"),
        ):
            had = {
                side * 64: cpu.Capture({}, {"kernel": fact}, {"rcpps": told})
                for side, fact, told in zip("ab", facts, prints, strict=True)
            }
            causes = {"table": "t" * 64}
            one, other = (
                record(at, causes={**causes, "platform": side * 64}, realised=read)
                for at, (side, read) in enumerate(zip("ab", realised, strict=True))
            )
            why = compared(one, other, capture=lambda platform, host, had=had: had[platform]).verdict.why
            first, _, rest = why.partition(" (")
            assert said.format(words.format("")) == first + rest.partition(")")[2].partition(";")[0]

    def test_levels_are_cleared_one_by_one(self):
        levels = effective({"threads": "2", "batch": "1"}, {}), effective({"threads": "4", "batch": "1"}, {})
        both = levels[0], {**levels[1], "batch": "2"}
        pairs = [
            Pair(name, "own", {"stack": "one"}, [record(1)], [record(value)], levels=some)
            for name, value, some in (("a", 1, levels), ("b", 2, both))
        ]
        told = compare(pairs, (Side("there"), Side("here"))).cells[1].verdict
        assert told.cause == "level"
        assert "not set alike (batch 1 there, 2 here)" in told.why
        assert "threads 2 there, 4 here alone changed nothing in 1 cell" in told.why

    def test_the_architecture_is_that_of_the_record_where_a_run_does_not_name_it(self):
        levels = effective({}, {"architecture": "aarch64"}), effective({}, {})
        assert compared(record(1), record(2), levels).differs[0].what == "architecture aarch64 there, x86_64 here"

    def test_another_host_is_a_part_of_the_system(self):
        levels = effective({"host": "a"}, {}), effective({"host": "b"}, {})
        found = compared(record(1), record(2), levels)
        assert [(one.factor, one.what) for one in found.differs] == [("system", "host a there, b here")]

    def test_stacks_that_were_matched_have_a_difference_of_their_own(self):
        levels = effective({"stack": "one"}, {}), effective({"stack": "two"}, {})
        assert compared(record(1), record(2, causes={"stack": "t" * 64}), levels).verdict.first == "software stack"
        assert compared(record(1), record(2), levels).verdict.cause == "unexplained", "equal software by two names"

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

    def test_a_run_without_a_result_is_noise_but_where_nothing_was_computed(self):
        ended = {status: record(1, status=status, outputs=[]) for status in ("failed", "lost")}
        for status, outcome in (("failed", "noisy here"), ("lost", "same")):
            pair = Pair("c", "own", {}, [record(1), record(1)], [record(1), ended[status]])
            found = compare([pair], (Side("there"), Side("here"))).cells[0]
            assert found.outcome == outcome
            assert f"1 of 2 runs here ended otherwise: {status}" in found.reason

    def test_what_a_framework_lists_otherwise_is_the_same(self):
        had = [Output(name=name, dtype="float32", shape=[1], tensor=name * 64) for name in "ab"]
        assert compared(record(1, outputs=had), record(1, outputs=had[::-1])).outcome == "same"

    def test_hostile_records_say_nothing_that_breaks(self):
        wild = record(2, realised={"versions": [1], "numpy_dispatch": {"a": 1}, "libc": ["x"]}, environment={"profile": 3, "platform": 4}, causes={"table": 5, "stack": None})  # fmt: skip
        assert compared(record(1), wild).outcome == "other"
        assert compared(wild, record(1)).outcome == "other"
