"""The crate: an action for every run, linked to what it was made with and what it gave; and every file is a part."""

from __future__ import annotations

import json
import os

import pytest

from numdev.bundle.create import ALL, NONE, Options, create
from numdev.bundle.reading import Bundle
from numdev.errors import InvalidInput


def crate_of(path) -> tuple[dict, dict[str, dict]]:
    with Bundle(path) as bundle:
        crate = json.loads(bundle.read("ro-crate-metadata.json"))
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"]), "an @id stands twice"
    return crate, entities


def references(value) -> list[str]:
    if isinstance(value, list):
        return [one for part in value for one in references(part)]
    if not isinstance(value, dict):
        return []
    return [value["@id"]] if set(value) == {"@id"} else [one for part in value.values() for one in references(part)]


def ids(value) -> list[str]:
    return references(value if isinstance(value, list) else [value])


def test_every_file_is_a_part_and_everything_that_is_named_is_there(bundled):
    path = bundled("one")
    _, entities = crate_of(path)
    with Bundle(path) as bundle:
        members = set(bundle.members) - {"ro-crate-metadata.json"}
        assert set(ids(entities["./"]["hasPart"])) == members
        for name in members - {"SHA256SUMS"}:
            entity = entities[name]
            assert entity["@type"] == "File"
            assert entity["contentSize"] == str(bundle.members[name].size)
            assert bundle.sums[name] in (entity.get("sha256"), os.path.basename(name).partition(".")[0])
    for entity in entities.values():
        for name in references({key: value for key, value in entity.items() if key != "@id"}):
            assert name in entities or name.startswith("https://w3id.org/ro/terms/"), name


def test_the_root_and_the_descriptor_are_as_the_profiles_want(bundled):
    crate, entities = crate_of(
        bundled("one", Options(license="CC-BY-4.0", authors=("Lovelace, Ada",), doi="10.5281/zenodo.1"))
    )
    descriptor, root = entities["ro-crate-metadata.json"], entities["./"]
    assert crate["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    assert descriptor["about"] == {"@id": "./"}
    assert "https://w3id.org/ro/crate/1.1" in ids(descriptor["conformsTo"])
    assert root["conformsTo"] == {"@id": "https://w3id.org/ro/wfrun/process/0.5"}
    assert root["datePublished"] == "2026-01-31"
    assert entities[root["license"]["@id"]]["name"] == "CC-BY-4.0"
    assert entities[root["author"]["@id"]] == {"@id": "#author-1", "@type": "Person", "name": "Lovelace, Ada"}
    assert root["identifier"] == "https://doi.org/10.5281/zenodo.1"


def test_without_a_licence_that_is_what_it_says(bundled):
    _, entities = crate_of(bundled("one"))
    license = entities[entities["./"]["license"]["@id"]]
    assert license["@type"] == "CreativeWork"
    assert license["name"] == "no licence stated"
    assert "author" not in entities["./"]


def test_an_action_says_what_ran_what_it_was_given_and_what_came_out(bundled):
    path = bundled("one")
    _, entities = crate_of(path)
    actions = {key: one for key, one in entities.items() if one["@type"] == "CreateAction"}
    with Bundle(path) as bundle:
        lines = dict(enumerate(bundle.cells(), 1))
    assert set(actions) == {f"#cell-{n}" for n, cell in lines.items() if cell.status != "missing"}
    assert set(actions) <= set(ids(entities["./"]["mentions"]))
    for name, action in actions.items():
        cell = lines[int(name.removeprefix("#cell-"))]
        stack, cpu = (entities[one] for one in ids(action["instrument"]))
        assert cell.factors["stack"] in stack["name"]
        assert f"stacks/{cell.factors['stack']}/requirements.lock" in ids(stack["isBasedOn"])
        assert cell.factors["profile"] in cpu["name"]
        given = ids(action["object"])
        assert {"workloads/own/model.onnx", "workloads/own/inputs.npz"} < set(given)
        assert {"name": "threads", "value": "2"}.items() <= entities[given[-1]].items()
        if cell.status == "ok":
            assert ids(action["result"]) == [f"outputs/{tensor}.npy" for tensor in cell.outputs]
            assert "error" not in action
        else:
            assert action["actionStatus"] == "http://schema.org/FailedActionStatus"
            assert action["error"] == "failed: no such operator"


def test_of_a_model_that_is_left_out_it_says_where_it_is(bundled):
    _, entities = crate_of(bundled("one", Options(models=NONE)))
    given = [entities[one] for one in ids(entities["#cell-1"]["object"])]
    assert [one["@type"] for one in given] == ["CreativeWork", "CreativeWork", "PropertyValue"]
    assert given[0]["identifier"].startswith("sha256:")
    assert "its author has it" in given[0]["description"]


def test_a_table_and_an_image_are_linked_where_the_records_name_them(store, tmp_path):
    run = store.run("m")
    image = f"sha256:{'a' * 64}"
    for cell in run["cells"]:
        if store.has(cell["digest"]):
            record = store.record(cell["digest"])
            store.put(record.model_copy(update={"environment": {**record.environment, "image": image}}))
    create(store, "m", tmp_path / "m.bundle.tar", tmp_path / "cache", Options(models=ALL))
    _, entities = crate_of(tmp_path / "m.bundle.tar")
    action = entities["#cell-1"]
    assert entities[action["containerImage"]["@id"]]["sha256"] == "a" * 64
    stack, cpu = (entities[one] for one in ids(action["instrument"]))
    assert stack["softwareVersion"] == image
    causes = store.record(run["cells"][0]["digest"]).causes
    assert set(ids(cpu["isBasedOn"])) == {f"tables/{causes['table']}.txt", f"platforms/{causes['platform']}.json"}
    assert "by cpuid" in cpu["description"]


def test_equal_cells_add_under_a_kilobyte_each(bundled):
    sizes, ran = [], []
    for name, repeats in (("few", 1), ("many", 1000)):
        with Bundle(bundled(name, repeats=repeats)) as bundle:
            sizes.append(sum(member.size for member in bundle.members.values()))
            ran.append(sum(cell.status != "missing" for cell in bundle.cells()))
    # Those that were never run add lines too, and count for nothing here.
    assert ran == [5, 5000]
    assert (sizes[1] - sizes[0]) / (ran[1] - ran[0]) < 1000


@pytest.mark.parametrize("doi", ["zenodo.1", "10.5281", "10.5281/a b", "https://example.org/10.5281/x"])
def test_a_doi_that_is_none_is_refused_before_anything_is_made(store, tmp_path, doi):
    with pytest.raises(InvalidInput, match="--doi"):
        create(store, "m", tmp_path / "m.bundle.tar", tmp_path / "cache", Options(doi=doi))
    assert not (tmp_path / "m.bundle.tar").exists()
