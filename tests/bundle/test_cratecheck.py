"""The crate is checked against its profiles, and against what the rest of the bundle says."""

from __future__ import annotations

import json
import runpy
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from numdev import digests
from numdev.bundle import layout
from numdev.bundle.verify import verify

forging = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("forging.py"))))
CRATE, PROCESS = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun/process/0.5"
STATUS = {True: "http://schema.org/CompletedActionStatus", False: "http://schema.org/FailedActionStatus"}


def entities(parts: dict[str, bytes]) -> list[dict]:
    """A crate by hand, of which nothing is wrong."""
    found: list[dict] = [
        {
            "@id": layout.CRATE,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [{"@id": CRATE}, {"@id": PROCESS}],
        }
    ]
    results: dict[tuple[str, ...], str] = {}
    shared: dict[str, dict] = {"threads": {"@id": "#two", "@type": "PropertyValue", "name": "threads", "value": "2"}}
    facts = {row["fact"]: row["value"] for row in map(json.loads, parts[layout.FACTS].splitlines())}
    for number, line in enumerate(map(json.loads, parts[layout.CELLS].splitlines()), 1):
        if line["status"] == "missing":
            continue
        stack, profile, causes = line["factors"]["stack"], line["factors"]["profile"], facts[line["causes"]]
        shared[stack] = {
            "@id": f"#{stack}",
            "@type": "SoftwareApplication",
            "name": f"stack {stack} for x86_64",
            "isBasedOn": [{"@id": f"stacks/{stack}/{name}"} for name in ("requirements.lock", "stack.yaml")],
            "subjectOf": {"@id": f"sbom/{stack}.cdx.json"},
        }
        shared[profile] = {
            "@id": f"#{profile}",
            "@type": "SoftwareApplication",
            "name": f"CPU profile {profile}",
            "softwareVersion": f"table {causes['table']}, platform {causes['platform']}",
            "isBasedOn": [{"@id": f"tables/{causes['table']}.txt"}, {"@id": f"platforms/{causes['platform']}.json"}],
        }
        action = {
            "@id": f"#cell-{number}",
            "@type": "CreateAction",
            "name": "own, run 1",
            "instrument": [{"@id": f"#{stack}"}, {"@id": f"#{profile}"}],
            "object": [{"@id": f"workloads/own/{name}"} for name in ("model.onnx", "inputs.npz")] + [{"@id": "#two"}],
            "actionStatus": STATUS[line["status"] == "ok"],
        }
        if line["status"] != "ok":
            action["error"] = f"{line['status']}: {line['reason']}"
        if outputs := tuple(f"outputs/{tensor}.npy" for tensor in line.get("outputs", [])):
            # Both ways of saying it.
            name = results.setdefault(outputs, f"#result-{len(results)}")
            action["result"] = {"@id": name if number % 2 else outputs[0]}
        found.append(action)
    found += shared.values()
    for outputs, name in results.items():
        found.append({"@id": name, "@type": "Collection", "hasPart": [{"@id": one} for one in outputs]})
    for name in sorted({*parts, layout.SUMS} - {layout.CRATE}):
        told = {"contentSize": str(len(parts[name])), "sha256": digests.of_bytes(parts[name])} if name in parts else {}
        found.append({"@id": name, "@type": "File", **told})
    found.append({"@id": "#licence", "@type": "CreativeWork", "name": "none"})
    root = {"@id": "./", "@type": "Dataset", "conformsTo": {"@id": PROCESS}, "datePublished": "2026-01-31"}
    root |= {"name": "m", "description": "a run", "license": {"@id": "#licence"}}
    root["hasPart"] = [{"@id": name} for name in sorted({*parts, layout.SUMS} - {layout.CRATE})]
    return [*found, root]


def written(some: list[dict], context: object = f"{CRATE}/context") -> bytes:
    lines = b",\n".join(map(digests.canonical, some))
    return b'{"@context":' + digests.canonical(context) + b',"@graph":[\n' + lines + b"\n]}\n"


@pytest.fixture
def parts(bundled):
    """Members of a good bundle, without a crate."""
    found = forging.parts_of(bundled())
    found.pop(layout.CRATE, None)
    return found


@pytest.fixture
def looked(parts, tmp_path):
    """What is said of a crate."""

    def look(crate: bytes) -> list[str]:
        path = tmp_path / "looked.bundle.tar"
        path.write_bytes(forging.archive({**parts, layout.CRATE: crate}))
        report = verify(path)
        [check] = [check for check in report.checks if check.name == "crate"]
        assert report.whole == (not check.problems)
        return [problem.what for problem in check.problems]

    return look


def test_nothing_is_wrong(parts, looked):
    assert looked(written(entities(parts))) == []
    assert looked(written(entities(parts), ["x", f"{CRATE}/context", {"y": "z"}])) == []


def one(which: str, /, **how):
    """Changes an entity; what is None is removed."""

    def change(some: list[dict]) -> None:
        entity = next(entity for entity in some if entity["@id"] == which)
        entity.update(how)
        for key in [key for key, value in how.items() if value is None]:
            del entity[key]

    return change


def gone(name: str):
    return lambda some: some.remove(next(entity for entity in some if entity["@id"] == name))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (one("#cell-1", actionStatus=STATUS[False]), "#cell-1 has another status than line 1"),
        (one("#cell-6", actionStatus=STATUS[True]), "#cell-6 has another status than line 6"),
        (one("#cell-1", instrument=None), "#cell-1 has no instrument"),
        (one("#cell-1", result=None), "the result of #cell-1 is not what line 1"),
        (one("#cell-2", result={"@id": "run.json"}), "the result of #cell-2 is not what line 2"),
        (one("#cell-3", result={"@id": "#result-0"}), "the result of #cell-3 is not what line 3"),
        (one("#result-0", hasPart=[]), "'#result-0' does not have the outputs"),
        (gone("#cell-2"), "'#cell-3' stands where #cell-2 has to"),
        (gone("#cell-6"), "has no action for line 6"),
        (lambda some: some.append({**some[1], "@id": "#cell-9"}), "'#cell-9' is of no line"),
        (lambda some: some.append(dict(some[1])), "'#cell-1' stands twice"),
        (gone("#ort-1"), "names '#ort-1', and has no entity of it"),
        (gone("#ort-1"), "'#ort-1' does not say what it has to be for its actions: stack ort-1 for x86_64"),
        (one("#cell-1", instrument={"@id": "#ort-1"}), "the instrument of #cell-1 is not what line 1"),
        (one("#cell-1", instrument=[{"@id": "#ort-2"}, {"@id": "#haswell"}]), "is not what #cell-"),
        (one("#cell-1", instrument=[{"@id": "#haswell"}, {"@id": "#ort-1"}]), "does not say what it has to be"),
        (one("#ort-1", name="stack ort-2 for x86_64"), "'#ort-1' does not say what it has to be"),
        (one("#ort-1", isBasedOn=[]), "'#ort-1' does not say what it has to be"),
        (one("#ort-1", subjectOf={"@id": "sbom/ort-2.cdx.json"}), "'#ort-1' does not say what it has to be"),
        (one("#haswell", softwareVersion="table x, platform y"), "'#haswell' does not say what it has to be"),
        (one("#haswell", isBasedOn={"@id": "run.json"}), "'#haswell' does not say what it has to be"),
        (one("#two", value="4"), "'#two' does not say what it has to be for its actions: threads"),
        (one("#cell-2", object=[{"@id": "run.json"}]), "the object of #cell-2 is not what line 2"),
        (one("#cell-2", object=[{"@id": name} for name in ("run.json", "verify.sh", "#two")]), "has as its object"),
        (one("#cell-2", containerImage={"@id": "#two"}), "the containerImage of #cell-2 is not what line 2"),
        (one("#cell-2", name="own, run 2"), "#cell-2 has another name than line 2"),
        (one("#cell-6", error="failed: out of memory"), "the error of #cell-6 is not what line 6"),
        (one("#cell-5", error="failed: a bad day"), "the error of #cell-5 is not what line 5"),
        (gone("run.json"), "says nothing of run.json"),
        (gone("./"), "has no entity ./"),
        (gone(layout.CRATE), f"has no entity {layout.CRATE}"),
        (one("run.json", sha256="0" * 64), "does not give the SHA-256 of run.json"),
        (one("run.json", sha256=None), "does not give the SHA-256 of run.json"),
        (one("run.json", contentSize="1"), "says that run.json has '1' bytes"),
        (one("run.json", contentSize=None), "says that run.json has 'None' bytes"),
        (lambda some: some.append({"@id": "x.txt", "@type": "File"}), "tells of 'x.txt', which is not there"),
        (one("./", license=None), "the root has no license"),
        (one("./", name=""), "the root has no name"),
        (one("./", datePublished="2020-01-01"), "its date is not that of"),
        (one("./", conformsTo=None), "does not conform to Process Run Crate"),
        (one("./", hasPart=[{"@id": "run.json"}, {"@id": "y"}]), "has the part 'y', which is not there"),
        (one("./", hasPart=[{"@id": "run.json"}]), "does not have cells.jsonl as a part"),
        (one(layout.CRATE, about={"@id": "x"}), "is not about ./"),
        (one(layout.CRATE, conformsTo={"@id": "x"}), "does not conform to"),
        (lambda some: some.append({"@id": "#x"}), "has no @id or no @type"),
    ],
)
def test_what_is_wrong_is_named(parts, looked, change, word):
    some = entities(parts)
    change(some)
    assert any(word in what for what in looked(written(some)))


@pytest.mark.parametrize(
    ("crate", "word"),
    [
        (b"", "does not end as a bundle's crate does"),
        (b"{}\n", "does not begin as a bundle's crate does"),
        (b'{"@context":"x","@graph":[\n]}\n', "its @context is not"),
        (b'{"@context":"x","@graph":[\n{"@id":\n]}\n', "Expecting"),
        (b'{"@context":"x","@graph":[\n]}\n{}\n', "goes on after its end"),
        (b'{"@context":"x","@graph":[\n[]\n]}\n', "must be an object"),
    ],
)
def test_what_is_no_crate(looked, crate, word):
    assert any(word in what for what in looked(crate))


def test_what_is_called_by_its_digest_need_not_say_it(parts, looked):
    some = entities(parts)
    for entity in some:
        if entity["@id"].startswith(("outputs/", "tables/")):
            del entity["sha256"]
    assert looked(written(some)) == []


def test_a_paper_that_is_missing_is_missed(parts, tmp_path):
    path = tmp_path / "looked.bundle.tar"
    left = {name: data for name, data in parts.items() if name != layout.ARTIFACT}
    path.write_bytes(forging.archive({**left, layout.CRATE: written(entities(left))}))
    problems = [problem for check in verify(path).checks for problem in check.problems]
    assert [(one.where, one.what) for one in problems] == [(layout.ARTIFACT, "is missing: every bundle has it")]


def test_a_root_that_stands_often_is_looked_at_once(parts, tmp_path):
    """Each look at a root is a look at every file."""
    path = tmp_path / "looked.bundle.tar"
    many = {f"sbom/z{number}.cdx.json": b"{}" for number in range(5000)}
    some = entities(parts)
    crate = written([*some[:1], *[{"@id": "./", "@type": "Dataset", "hasPart": []}] * 100, *some[1:]])
    path.write_bytes(forging.archive({**parts, **many, layout.CRATE: crate}))
    began = time.process_time()
    [check] = [check for check in verify(path, analyse=False).checks if check.name == "crate"]
    assert check.more > 5000
    # A hundred looks take ten seconds.
    assert time.process_time() - began < 4


@pytest.mark.parametrize(
    "entity",
    [
        b'{"@id":"#z","@type":"x","y":[' + b"{}," * 100_000 + b"{}]}",
        b'{"@id":"#z","@type":"x","y":[' + b"[]," * 100_000 + b"[]]}",
        b'{"@id":"#z","@type":"x","y":"' + b"z" * 3_000_000 + b'"}',
    ],
)
def test_an_entity_is_as_large_as_files_and_lines_make_it(parts, looked, entity):
    crate = written(entities(parts)).replace(b"\n]}\n", b",\n" + entity + b"\n]}\n")
    assert any("more than" in what for what in looked(crate))
