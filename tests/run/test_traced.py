"""From a matrix with `tap: layers` to the trace: planted deviations are found, noise is not attributed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from numdev.engines import MemoryEngine, Played
from numdev.engines.outputs import read_result
from numdev.errors import InvalidInput
from numdev.run.traced import trace_of
from numdev.worker.layers import Layer

MATRIX = """
tap: layers
factors: {stack: [ort-1, ort-2], threads: [1, 2]}
workloads: [{name: own, model: model.onnx, inputs: x.npz}]
"""
NAMES = ["a", "b", "c", "d", "e"]
OPS = ["Conv", "Relu", "Conv", "MaxPool", "Gemm"]


def layers(values, left=()):
    """A chain of layers, each of 100 numbers; those in `left` are not looked at."""
    chain = [
        Layer(name, op, [NAMES[i - 1]] if i else ["x"], lambda shapes: (9, 9))
        for i, (name, op) in enumerate(zip(NAMES, OPS, strict=True))
    ]
    return tuple((layer, None if layer.name in left else value) for layer, value in zip(chain, values, strict=True))


def values(begin=9, step=1.0, end=9):
    """Layers that deviate from the `begin`th on to the `end`th: by `step` times as much in each."""
    ones = [np.full(100, 2, np.float32) for _ in NAMES]
    for index in range(begin, min(end, len(NAMES))):
        ones[index] = ones[index] + np.float32(2.0**-10 * step ** (index - begin))
    return ones


def player(other, where=lambda stack, cell: stack == "ort-2", **more):
    def play(stack, cell, table):
        mine = other if where(stack, cell) else values()
        return Played({"y": mine[-1]}, layers=layers(mine), **more)

    return play


def traced(bench, play, between=(), text=MATRIX):
    ran = bench.run(text, MemoryEngine(play))
    return trace_of(ran.run, ran.store, between)


@pytest.mark.parametrize("begin", range(len(NAMES)))
def test_a_planted_deviation_is_found_where_it_begins(bench, begin):
    found = traced(bench, player(values(begin)))
    assert found.complete
    (one,) = found.workloads
    assert one.first == NAMES[begin]
    assert [path.cells for path in one.paths] == [("ort-1 1", "ort-1 2"), ("ort-2 1", "ort-2 2")]
    assert [row.classes for row in one.layers] == [("A", "A" if i < begin else "B") for i in range(len(NAMES))]
    (pair,) = one.pairs
    assert pair.between == ("ort-1 1", "ort-2 1")
    assert pair.first == NAMES[begin]
    assert [step.effect for step in pair.layers] == ["same"] * begin + ["begins"] + ["keeps"] * (len(NAMES) - begin - 1)
    assert pair.layers[begin].size.max_abs == 2.0**-10
    assert pair.layers[begin].relative == pytest.approx(2.0**-11)
    assert pair.said[0].startswith(f"the first layer that differs is {NAMES[begin]} ({OPS[begin]})")


def test_growth_and_end(bench):
    (pair,) = traced(bench, player(values(0, 4.0))).workloads[0].pairs
    assert [step.effect for step in pair.layers] == ["begins"] + ["amplifies"] * 4
    assert [step.factor for step in pair.layers[1:]] == pytest.approx([4] * 4)
    kinds = {kind.kind: (kind.layers, kind.begins, kind.amplifies) for kind in pair.kinds}
    assert kinds == {"sums of products": (3, 1, 2), "activation": (1, 0, 1), "pooling": (1, 0, 1)}
    (pair,) = (
        traced(bench, player(values(0, 0.25, end=3)), text=MATRIX.replace("threads: [1, 2]", "threads: [4]"))
        .workloads[0]
        .pairs
    )
    assert [step.effect for step in pair.layers] == ["begins", "absorbs", "absorbs", "vanishes", "same"]
    # gamma_9 of float32.
    assert pair.layers[0].bound == pytest.approx(9 * 2**-24, rel=1e-6)


def test_a_layer_that_was_not_looked_at_may_be_where_it_begins(bench):
    def play(stack, cell, table):
        mine = values(1) if stack == "ort-2" else values()
        return Played({"y": mine[-1]}, layers=layers(mine, ("b",)), tapped="partly")

    found = traced(bench, play)
    (pair,) = found.workloads[0].pairs
    assert found.complete
    assert (pair.first, pair.unseen) == ("c", ("b",))
    assert "may have begun before" in pair.said[1]
    assert pair.layers[1].effect == "not looked at"
    assert pair.layers[3].effect == "keeps"


def test_a_deviation_outside_of_the_sample_is_seen_and_has_no_size(bench):
    def play(stack, cell, table):
        mine = [np.full(10_000, 2, np.float32) for _ in NAMES]
        if stack == "ort-2":
            # Every third is in the sample.
            mine[1][0], mine[2][1] = 3, 3
        return Played({"y": mine[-1]}, layers=layers(mine))

    (pair,) = traced(bench, play).workloads[0].pairs
    assert [step.effect for step in pair.layers] == ["same", "begins", "keeps", "vanishes", "same"]
    assert [pair.layers[index].size.max_abs for index in (1, 2)] == [1, 0]
    assert (pair.layers[2].relative, pair.layers[2].factor) == (None, None)


def test_noise_is_flagged_and_not_attributed(bench):
    def play(stack, cell, table):
        mine = values(1) if stack == "ort-2" and cell["replicate"] == 2 else values()
        return Played({"y": mine[-1]}, layers=layers(mine))

    found = traced(bench, play, text=MATRIX + "repeats: 3\n")
    (one,) = found.workloads
    assert one.noisy == tuple(NAMES[1:])
    assert one.first == ""
    assert [row.classes for row in one.layers] == [("A", "A")] + [("A", "~")] * 4
    (pair,) = one.pairs
    assert [step.effect for step in pair.layers] == ["same", "~", "~", "~", "~"]
    assert pair.first == ""


@pytest.mark.parametrize("status", ["changes", "noisy", "too deep", "unsupported", "failed"])
def test_a_tap_that_says_nothing_leaves_the_run_as_it_is(bench, status):
    def play(stack, cell, table):
        return Played({"y": np.ones(2)}, layers=layers(values()), tapped=status if stack == "ort-2" else "same")

    ran = bench.run(MATRIX, MemoryEngine(play))
    assert set(ran.statuses().values()) == {"ok"}
    found = trace_of(ran.run, ran.store)
    assert not found.complete
    (one,) = found.workloads
    assert [tap.status for tap in one.taps] == ["same", "same", status, status]
    assert [path.cells for path in one.paths] == [("ort-1 1", "ort-1 2")]


def test_cells_without_a_result_and_between(bench):
    def play(stack, cell, table):
        if cell["threads"] == 2:
            return Played(status="signal:6")
        return player(values(2))(stack, cell, table)

    ran = bench.run(MATRIX, MemoryEngine(play))
    found = trace_of(ran.run, ran.store, ("ort-2 and threads=1", "ort-1 and threads=1"))
    (pair,) = found.workloads[0].pairs
    assert pair.between == ("ort-2 1", "ort-1 1")
    assert pair.first == "c"
    assert not found.complete
    for between in (("ort-1", "ort-2 and threads=1"), ("ort-9", "ort-1 and threads=1")):
        with pytest.raises(InvalidInput, match=r"--between 'ort-[19]'"):
            trace_of(ran.run, ran.store, between)
    with pytest.raises(InvalidInput, match="nothing to trace"):
        trace_of(ran.run, ran.store, workload="other")


def test_a_run_without_a_tap(bench):
    ran = bench.run(MATRIX.replace("tap: layers", ""), MemoryEngine(player(values(1))))
    assert all(ran.store.record(item.digest).tap is None for item in ran.plan.items)
    with pytest.raises(InvalidInput, match="tap: layers"):
        trace_of(ran.run, ran.store)


def test_the_digest_of_a_cell_knows_the_tap_only_where_there_is_one(bench):
    digests = []
    for text in (MATRIX, MATRIX.replace("tap: layers", "tap: none"), MATRIX.replace("tap: layers", "")):
        ran = bench.run(text, MemoryEngine(player(values())), bench.store(f"s{len(digests)}"))
        digests.append([item.digest for item in ran.plan.items])
    assert digests[1] == digests[2]
    assert not set(digests[0]) & set(digests[1])


def test_samples_are_verified_and_records_come_back(bench):
    ran = bench.run(MATRIX, MemoryEngine(player(values(1))))
    assert ran.store.verify() == []
    record = ran.store.record(ran.plan.items[0].digest)
    assert [layer.name for layer in record.tap.layers] == NAMES
    sample = record.tap.layers[0].sample
    (ran.store.folder / "tensors" / sample[:2] / f"{sample}.npy").unlink()
    assert any("sample of its layer a" in problem.what for problem in ran.store.verify())


@pytest.mark.parametrize(
    "change",
    [
        {"status": "fine"}, {"layers": 3}, {"layers": [{}]}, {"layers": [{"name": "\x1b", "op": "", "inputs": []}]}, {"reason": 3},
        {"layers": [{"name": "a", "op": "", "inputs": []}] * 2}, {"layers": [{"name": "a", "op": "", "inputs": [], "max_abs": 1e999}]},
        {"layers": [{"name": "a", "op": "", "inputs": [], "file": "../x", "sample": ""}]}, {"layers": [{"name": "a", "op": "", "inputs": "bc\x07"}]},
        {"layers": [{"name": "a", "op": "", "inputs": [], "sample": "0" * 64}]},
    ],
)  # fmt: skip
def test_what_a_stranger_says_of_layers_is_not_believed(tmp_path, change):
    """The cell has its result all the same."""
    (tmp_path / "c").mkdir()
    given = {"status": "same", "reason": "", "layers": [], **change}
    result = {"status": "ok", "reason": "", "outputs": [], "realised": {}, "tap": given}
    (tmp_path / "c" / "result.json").write_text(json.dumps(result))
    read = read_result(tmp_path, "c")
    assert read.status == "ok"
    assert read.tap.tap.status == "failed"
    assert read.tap.tap.layers == []
