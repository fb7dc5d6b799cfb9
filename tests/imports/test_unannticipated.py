"""The whole import on small repositories: what becomes what, twice the same, and everything odd by its path."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from numdev.imports import import_unannticipated
from numdev.run.runfile import answer_of, not_run, read_run
from numdev.store import Store

repository = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("repository.py"))))
name, result = repository.name, repository.result


def imported(files, tmp_path, where="a"):
    store = Store.open(tmp_path / where, create=True)
    folder = repository.write(tmp_path / f"{where}-checkout", files)
    return store, import_unannticipated(folder, store)


def answers(store, run="unannticipated"):
    described = read_run(store, run)
    assert not_run(described, store) == 0
    return {one.workload: one for one in answer_of(described, store).workloads}


def packed(value):
    return json.dumps(value).encode()


def test_records_have_facts_causes_and_what_is_unknown(tmp_path):
    store, report = imported(repository.small(), tmp_path)
    assert not report.left_out
    records = {(record.workload, record.factors["platform"]): record for record in store.records()}
    record = records["tiny-i0-cpu", "gcloud/three-CPU"]
    assert record.factors == {
        "microarchitecture": "AMD Rome",
        "cores": "2",
        "SIMD": "AVX2",
        "vendor": "AMD",
        "L1d": "32 KiB",
        "L2": "512 KiB",
        "Python": "3.6.9",
        "platform": "gcloud/three-CPU",
        "kind": "cpu",
        "experiment": "equivalence_classes",
    }
    assert record.causes["path"] == name("three")
    assert "workload" not in record.causes
    assert record.environment["cpu"]["l3_cache_size"] == "8 MiB"
    assert "threads" in record.environment["unknown"]
    assert record.realised == {}
    assert store.load(record.outputs[0].tensor).tobytes() == repository.CLEAN.tobytes()
    assert store.verify() == []


def test_the_ordinary_answer_sees_it(tmp_path):
    store, report = imported(repository.small(), tmp_path)
    one = answers(store)["tiny-i0-cpu"]
    assert len(one.classes) == 1
    assert one.levels["microarchitecture"] == ("Haswell", "AMD Rome")
    assert one.levels["cores"] == ("2", "4")
    assert not one.suspects
    far = answers(store)["tiny-i1-cpu"]
    assert [suspect.levels["vendor"] for suspect in far.suspects] == ["AMD"]
    assert [odd.path for odd in report.suspects] == [name("three", sample=1)]
    assert report.classes == {"tiny-i0-cpu": 1, "tiny-i1-cpu": 1}


def test_doing_it_again_changes_nothing_and_says_so(tmp_path):
    store, first = imported(repository.small(), tmp_path)
    before = repository.tree(store.folder)
    again = import_unannticipated(tmp_path / "a-checkout", Store.open(store.folder))
    assert (first.new, again.new) == (6, 0)
    assert [run.state for run in again.runs] == ["unchanged"]
    assert "nothing was written" in "\n".join(again.lines())
    assert "nothing was written" not in "\n".join(first.lines())
    assert repository.tree(store.folder) == before


def test_a_tar_gives_the_same_bytes_as_a_checkout(tmp_path):
    files = repository.small()
    store, _ = imported(files, tmp_path)
    other = Store.open(tmp_path / "b", create=True)
    backwards = dict(reversed(files.items()))
    import_unannticipated(repository.pack(tmp_path / "x.tar.gz", backwards), other)
    assert repository.tree(other.folder) == repository.tree(store.folder)


def test_hosts_alike_in_all_facts_are_numbered(tmp_path):
    files = {name(host): packed(result(repository.CLEAN)) for host in ("b", "a", "c")}
    files[name("d")] = packed(result(repository.CLEAN, cores=8))
    store, _ = imported(files, tmp_path)
    cells = {
        store.record(cell.digest).factors["platform"]: cell.factors for cell in read_run(store, "unannticipated").cells
    }
    assert {platform: factors["instance"] for platform, factors in cells.items()} == {
        "gcloud/a-CPU": "1",
        "gcloud/b-CPU": "2",
        "gcloud/c-CPU": "3",
        "gcloud/d-CPU": "1",
    }


def test_a_gpu_s_runs_are_replicates_and_may_be_noisy(tmp_path):
    runs = np.float32([[0.1, 0.2, 0.7], [0.1, 0.2, 0.7], [0.1, 0.2, 0.70001]])
    steady = result(runs[0], runs=runs[:2], device="GPU")
    files = {
        name("t4", kind="gpu"): packed(result(runs[0], runs=runs, device="GPU")),
        name("steady", kind="gpu"): packed(steady),
        name("one"): packed(result(runs[:1])),
    }
    store, report = imported(files, tmp_path)
    assert (report.runs[0].records, report.runs[0].runs, report.runs[0].gpus) == (3, 6, 2)
    one = answers(store)["tiny-i0-gpu"]
    assert one.repeats.noisy == 1
    assert report.unsteady == ("gcloud/t4-CPU",)
    assert report.repeated == 2
    # The batch of one that stacking took away is there again: the bits are those of the CPU.
    assert report.compared == (1, 1)
    record = next(record for record in store.records() if record.workload == "tiny-i0-gpu")
    assert record.factors["generation"] == "Turing"
    assert "algorithms of convolutions" in record.environment["unknown"]
    assert record.environment["repeats"] == "containers of their own"


def test_everything_bad_is_left_out_by_its_path_and_the_rest_is_there(tmp_path):
    files = repository.small()
    trace = f"{repository.RESULTS}/winning_algorithm/gcloud/a100.json"
    table = f"{repository.RESULTS}/dendrogram_consistency/data.feather"
    bad = {
        name("pointer"): repository.POINTER,
        trace: repository.POINTER,
        name("cut"): files[name("one")][:100],
        name("other", model="huge"): packed(result(model="tiny")),
        f"{repository.RESULTS}/unheard_of/x.json": b"{}",
        table: b"ARROW1",
        "experiments/data/models/tiny.h5": repository.POINTER,
    }
    gone = name("two", sample=1)
    files.pop(gone)
    _, report = imported({**files, **bad}, tmp_path)
    assert {one.path: one.kind for one in report.left_out} == {
        name("pointer"): "LFS pointer",
        trace: "LFS pointer",
        "experiments/data/models/tiny.h5": "LFS pointer",
        name("cut"): "unreadable",
        name("other", model="huge"): "unreadable",
        f"{repository.RESULTS}/unheard_of/x.json": "not imported",
        table: "not imported",
        gone: "missing",
    }
    assert report.runs[0].records == 5
    lines = list(report.lines())
    for path in [*bad, gone]:
        assert any(line.startswith(f"  {path}: ") for line in lines), path
    assert "3 LFS pointer, 1 missing, 2 not imported, 2 unreadable" in "\n".join(lines)


def test_an_unreadable_file_is_not_missing_as_well(tmp_path):
    files = repository.small()
    files[name("one", sample=1)] = b"{"
    _, report = imported(files, tmp_path)
    assert [(one.path, one.kind) for one in report.left_out] == [(name("one", sample=1), "unreadable")]


def test_the_same_file_twice_and_another_of_that_name(tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    files = repository.small()
    repository.pack(folder / "a.tar.gz", files)
    other = {**files, name("one"): packed(result(repository.CLEAN * 2))}
    repository.pack(folder / "b.tar.gz", other)
    report = import_unannticipated(folder, Store.open(tmp_path / "store", create=True))
    assert report.twice == 5
    assert [(one.path, one.kind) for one in report.left_out] == [(name("one"), "conflict")]
    assert "b.tar.gz" in report.left_out[0].what


def test_a_broken_archive_is_named(tmp_path):
    folder = tmp_path / "tars"
    folder.mkdir()
    repository.pack(folder / "a.tar.gz", repository.small())
    (folder / "b.tar.gz").write_bytes(b"nothing of the kind")
    report = import_unannticipated(folder, Store.open(tmp_path / "store", create=True))
    assert report.runs[0].records == 6
    (left,) = report.left_out
    assert left.path.endswith("b.tar.gz")
    assert left.kind == "unreadable"


def test_two_halves_are_told_and_none_is_set_apart(tmp_path):
    files = {name(host): packed(result(repository.CLEAN)) for host in "ab"}
    files |= {name(host): packed(result(repository.CLEAN[:, ::-1])) for host in "cd"}
    store, report = imported(files, tmp_path)
    assert report.suspects == ()
    assert "cannot be told which" in report.mixed[0]
    assert len(answers(store)["tiny-i0-cpu"].classes) == 2


def test_a_smaller_experiment_with_other_weights_is_told(tmp_path):
    path = f"{repository.RESULTS}/precision/tiny_float{{}}/host.json"
    own = np.float64([[0.7, 0.2, 0.1]])
    files = {
        **repository.small(),
        path.format(64): packed(result(own, model="tiny_float64")),
        path.format(32): packed(result(repository.CLEAN, model="tiny_float32")),
    }
    _, report = imported(files, tmp_path)
    (text,) = report.mixed
    assert text.startswith("precision, tiny_float64: 0.86 of the scale from equivalence_classes, tiny")


def test_a_store_keeps_what_it_has_and_says_what_it_replaces(tmp_path):
    store, _ = imported(repository.small(), tmp_path)
    part = repository.write(tmp_path / "part", {name("one"): repository.small()[name("one")]})
    report = import_unannticipated(part, store)
    assert [(run.state, run.replaced, run.runs) for run in report.runs] == [("replaced", 6, 1)]
    assert "replaced: it had 6 inferences" in next(report.lines())
    assert sum(1 for _ in store.records()) == 6


def test_nothing_to_import(tmp_path):
    _, report = imported({"README.md": b""}, tmp_path)
    assert report.runs == ()
    assert "Nothing was imported" in next(report.lines())


def test_facts_that_are_not_told_are_unknown(tmp_path):
    odd = {
        "family": 6,
        "model": 85,
        "stepping": None,
        "flags": [],
        "l1_data_cache_size": None,
        "l2_cache_size": "4 MiB",
    }
    store, _ = imported({name("odd"): packed(result(cpu={**odd, "python_version": ""}))}, tmp_path)
    (record,) = store.records()
    # Skylake and Cascade Lake differ in the stepping only; a text is a sum over cores that nobody counted.
    assert {key: record.factors[key] for key in ("microarchitecture", "SIMD", "L1d", "L2", "Python")} == dict.fromkeys(
        ("microarchitecture", "SIMD", "L1d", "L2", "Python"), "unknown"
    )
    shutil.rmtree(tmp_path / "a")
    known = {**odd, "stepping": 7}
    store, _ = imported({name("odd"): packed(result(cpu=known))}, tmp_path)
    (record,) = store.records()
    assert [record.factors[key] for key in ("microarchitecture", "L1d", "L2")] == ["Cascade Lake", "32 KiB", "1024 KiB"]
