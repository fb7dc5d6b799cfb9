"""`numdev compare --by` on the paper's data: a planted run of ours against the imported one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from numdev import digests
from numdev.errors import InvalidInput
from numdev.imports.records import _npy
from numdev.run import compared
from numdev.run.runfile import Run, RunCell, observe, read_run
from numdev.spec.correspondence import Correspondence, load_correspondence
from numdev.store import Output, Record, Store

MAP = Path(__file__).resolve().parents[2] / "matrices" / "maps" / "paper.yaml"
MODELS = {"cnn-small": 65, "cnn-medium": 65, "cnn-large": 58, "cnn-deep-weeds": 61}
AVX512 = ("skylake-sp", "cascadelake-sp", "icelake-sp")


def published(opened, by):
    """By workload of ours, the published class of each profile and number of threads."""
    run = read_run(opened, "unannticipated")
    found: dict[str, dict[tuple[str, str], str]] = {}
    back = {theirs: ours for ours, theirs in by.workloads.items()}
    for cell in run.cells:
        if cell.workload in back:
            place = by.levels["profile"][cell.factors["microarchitecture"]], cell.factors["cores"]
            tensor = observe(cell, opened.record(cell.digest)).outputs[0].tensor
            found.setdefault(back[cell.workload], {})[place] = tensor
    return found


def planted(store: Store, table, classes, hidden=()) -> compared.Stored:
    """A run called `paper` of cells whose bytes are as `classes(workload, place, class)` says; none of profiles that are `hidden`."""
    cells, numbers = [], {}
    for workload, places in table.items():
        for (profile, threads), tensor in places.items():
            name = classes(workload, (profile, threads), tensor)
            array = np.float32([numbers.setdefault((workload, name), len(numbers))])
            digest = digests.of_json([workload, profile, threads])
            shown = profile not in hidden
            outputs = (
                [Output(name="y", dtype="float32", shape=[1], tensor=store.put_tensor(_npy(array)))] if shown else []
            )
            store.put(
                Record(
                    record=1,
                    digest=digest,
                    workload=workload,
                    factors={},
                    replicate=1,
                    status="ok" if shown else "unsupported",
                    outputs=outputs,
                    causes={"workload": workload},
                )
            )
            cells.append(
                RunCell(
                    digest=digest,
                    workload=workload,
                    factors={"profile": profile, "threads": threads},
                    replicate=1,
                    reference=False,
                )
            )
    factors = {
        name: sorted({cell.factors[name] for cell in cells}, key=lambda level: (len(level), level))
        for name in ("profile", "threads")
    }
    run = Run(
        run=1, matrix="paper", engine={}, factors=factors, order=list(factors), baseline={}, labels={}, profiles={},
        refused={}, workloads={}, cells=cells,
    )  # fmt: skip
    store.write_run("paper", run.model_dump(mode="json"))
    return compared.find("paper", store.folder)


@pytest.fixture(scope="module")
def by() -> Correspondence:
    return load_correspondence(MAP)


@pytest.fixture(scope="module")
def theirs(imported):
    return compared.find("unannticipated", imported[0].folder)


def test_the_published_partition_agrees_with_itself_over_all_platforms(imported, by, theirs, store):
    ours = planted(store, published(imported[0], by), lambda workload, place, tensor: tensor)
    found = compared.match(ours, theirs, by, "map")
    assert {each.workloads[0]: each.cells for each in found.matched} == MODELS
    assert [each.index for each in found.matched] == [1.0] * 4
    assert not found.deviates
    assert found.unused == ()
    for each in found.matched:
        assert not any(each.only)
        assert [row.one for row in each.table if "-" not in str(row.other)] == [
            row.other for row in each.table if "-" not in str(row.other)
        ]
    weeds = found.matched[-1]
    assert weeds.without[0] == {}
    assert set(weeds.without[1]) == {"suspect"}
    assert set(weeds.without[1]["suspect"]) == {
        "ivybridge 12 (2 times)",
        "broadwell@l3=7680KiB 8",
        "broadwell@l3=12MiB 8",
    }


def test_one_silicon_computes_amd_s_rows_as_haswell_s(imported, by, theirs, store):
    """What one machine cannot show: there is no other processor in it."""
    table = published(imported[0], by)

    def classes(workload, place, tensor):
        same = ("haswell", place[1]) if place[0] in ("zen2", "zen3") else place
        return table[workload].get(same, tensor) if workload == "cnn-medium" else tensor

    found = compared.match(planted(store, table, classes, AVX512), theirs, by, "map")
    medium = found.matched[1]
    assert not medium.partitions.agree
    assert medium.partitions.apart == ()
    assert ("zen2 2", "haswell 2") in medium.partitions.together
    assert {name.split()[0] for pair in medium.partitions.together for name in pair} == {"haswell", "broadwell", "zen2", "zen3", "broadwell@l3=7680KiB", "broadwell@l3=12MiB"}  # fmt: skip
    assert 0.5 < medium.index < 1
    assert medium.cells == 40
    assert set(medium.without[0]) == {"unsupported"}
    assert {name.split()[0] for name in medium.without[0]["unsupported"]} == set(AVX512)
    assert len(medium.without[0]["unsupported"]) == 16
    assert found.deviates
    assert not found.complete


def test_a_correspondence_that_does_not_fit(theirs, store, imported, by):
    ours = planted(store, published(imported[0], by), lambda workload, place, tensor: tensor)
    with pytest.raises(InvalidInput) as raised:
        compared.match(ours, theirs, Correspondence({"a": "b"}, {"speed": "cores", "threads": "core"}, {}), "map")
    said = str(raised.value)
    assert "'speed' is no factor of paper" in said
    assert "'core' is no factor of unannticipated" in said
    assert "paper has none of these" in said
    more = Correspondence({**by.workloads, "gone": "gone"}, by.factors, {"profile": {**by.levels["profile"], "Zen": "zen9"}})  # fmt: skip
    found = compared.match(ours, theirs, more, "map")
    assert found.unused == (
        "workload gone of A",
        "workload gone of B",
        "profile zen9 of A",
        "microarchitecture Zen of B",
    )
