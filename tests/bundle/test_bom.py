"""Bills of materials: wheels with their hashes, the libraries inside them, and which of these the records say computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from numdev import digests
from numdev.bundle import inside
from numdev.bundle.create import Options, create
from numdev.bundle.reading import Bundle
from numdev.stacks import Site
from numdev.stacks.bases import BaseSystem

ELF = b"\x7fELF and the rest of a library"
BLAS = ELF + b" that multiplies"


@pytest.fixture
def site(tmp_path, sites) -> Site:
    """The unpacked wheel of the stacks that conftest makes."""
    folder = tmp_path / "sites" / "site"
    info = folder / "onnxruntime-1.32.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: onnxruntime\nVersion: 1.32.0\nLicense-Expression: MIT\n\nLicense: of the text below\n"
    )
    for name, data in (
        ("onnxruntime/capi/libonnxruntime.so.1.32.0", ELF),
        ("onnxruntime.libs/libopenblas-1a.so", BLAS),
        ("onnxruntime/notes.so.txt", b"\x7fELF not"),
        ("onnxruntime/script.so", b"GROUP ( libm.so.6 )"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (info / "RECORD").write_text(
        "onnxruntime/capi/libonnxruntime.so.1.32.0,sha256=x,1\nonnxruntime.libs/libopenblas-1a.so,sha256=x,1\n"
    )
    (folder / "lib").mkdir()
    (folder / "lib" / "libatlas.so.3").write_bytes(ELF + b" of Debian")
    facts = {"wheels": {"onnxruntime": {"file": "onnxruntime-1.32.0-cp311.whl", "sha256": "0" * 64}}}
    return Site(folder, sites["ort-1"], "3.11", facts)


def bom_of(path: Path, stack: str = "ort-1") -> dict:
    with Bundle(path) as bundle:
        return json.loads(bundle.read(f"sbom/{stack}.cdx.json"))


def properties(component: dict) -> dict[str, str]:
    return {one["name"]: one["value"] for one in component.get("properties", [])}


def made(store, tmp_path, name: str = "m") -> tuple[dict, dict[str, str]]:
    path = tmp_path / f"{name}.bundle.tar"
    left_out = create(store, "m", path, tmp_path / "cache", Options()).left_out
    return bom_of(path), left_out


def realise(store, **environment) -> None:
    """Lets every record say that the BLAS of the site computed."""
    for cell in store.run("m")["cells"]:
        if store.has(cell["digest"]):
            record = store.record(cell["digest"])
            gemm = {
                "library": "OpenBLAS",
                "version": "OpenBLAS 0.3.31",
                "file": "libopenblas-1a.so",
                "sha256": digests.of_bytes(BLAS),
                "symbol": "cblas_sgemm",
            }
            store.put(
                record.model_copy(
                    update={
                        "realised": {**record.realised, "gemm": gemm},
                        "environment": {**record.environment, **environment},
                    }
                )
            )


def test_without_the_wheels_it_has_the_lock_and_says_so(store, tmp_path):
    bom, left_out = made(store, tmp_path)
    (wheel,) = (one for one in bom["components"] if one["name"] == "onnxruntime")
    assert wheel["purl"] == "pkg:pypi/onnxruntime@1.32.0"
    assert wheel["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
    assert "components" not in wheel
    assert "unpacked wheels" in left_out["sbom/ort-1.cdx.json: libraries"]
    assert "unpacked wheels" in properties(bom["metadata"]["component"])["numdev:unknown:libraries"]


def test_what_computed_is_named_even_without_the_wheels(store, tmp_path):
    realise(store)
    bom, _ = made(store, tmp_path)
    (library,) = (one for one in bom["components"] if one["bom-ref"].startswith("realised#"))
    assert library["hashes"] == [{"alg": "SHA-256", "content": digests.of_bytes(BLAS)}]
    assert "the wheels are not here" in properties(library)["numdev:known"]


def test_libraries_are_inside_their_wheels_and_what_computed_is_marked(store, tmp_path, site, monkeypatch):
    realise(store)
    monkeypatch.setattr(inside, "known_site", lambda stack, cache: site)
    bom, left_out = made(store, tmp_path)
    (wheel,) = (one for one in bom["components"] if one["name"] == "onnxruntime")
    libraries = {one["name"]: one for one in wheel["components"]}
    assert set(libraries) == {"libonnxruntime.so.1.32.0", "libopenblas-1a.so"}
    assert wheel["licenses"] == [{"expression": "MIT"}]
    blas = libraries["libopenblas-1a.so"]
    assert blas["hashes"] == [{"alg": "SHA-256", "content": digests.of_bytes(BLAS)}]
    assert blas["version"] == "OpenBLAS 0.3.31"
    assert properties(blas)["numdev:kernels"] == "OpenBLAS"
    assert properties(blas)["numdev:realised:symbol"] == "cblas_sgemm"
    assert "numdev:realised" not in properties(libraries["libonnxruntime.so.1.32.0"])
    (loose,) = (one for one in bom["components"] if one["name"] == "libatlas.so.3")
    assert properties(loose) == {
        "numdev:path": "lib/libatlas.so.3",
        "numdev:size": str(len(ELF + b" of Debian")),
        "numdev:kernels": "ATLAS",
    }
    assert "sbom/ort-1.cdx.json: libraries" not in left_out
    assert str(tmp_path) not in json.dumps(bom)


def test_other_wheels_than_those_of_the_records_are_not_told_as_theirs(store, tmp_path, site, monkeypatch):
    realise(store, labels={"org.numdev.site": "6" * 64})
    monkeypatch.setattr(inside, "known_site", lambda stack, cache: site)
    bom, left_out = made(store, tmp_path)
    assert not any(one.get("components") for one in bom["components"])
    assert "the records have another one" in left_out["sbom/ort-1.cdx.json: libraries"]


def test_the_base_is_listed_where_it_is_that_of_the_records(store, tmp_path, site, sites, monkeypatch):
    sha256 = "b" * 64
    system = BaseSystem(tmp_path / "x.tar", sha256, 1, "bootstrap", "bookworm", {"libc6": "2.36-9+deb12u9"})
    monkeypatch.setattr(inside, "known_site", lambda stack, cache: site)
    monkeypatch.setattr(inside, "known_base", lambda base, machine, cache: system)
    _, left_out = made(store, tmp_path)
    assert "do not say on which base" in left_out["sbom/ort-1.cdx.json: base"]
    labels = {"org.numdev.base.sha256": sha256, "org.numdev.site": sites["ort-1"]}
    realise(store, image=f"sha256:{'c' * 64}", labels=labels)
    bom, left_out = made(store, tmp_path, "n")
    assert "sbom/ort-1.cdx.json: base" not in left_out
    assert "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?distro=bookworm" in [one.get("purl") for one in bom["components"]]
    assert bom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]


def test_it_is_the_same_each_time_and_every_reference_is_its_own(store, tmp_path, site, monkeypatch):
    monkeypatch.setattr(inside, "known_site", lambda stack, cache: site)
    one, other = (made(store, tmp_path, name)[0] for name in ("m", "n"))
    assert one == other
    assert not {"serialNumber", "timestamp"} & {*one, *one["metadata"]}
    refs = [each["bom-ref"] for part in one["components"] for each in (part, *part.get("components", []))]
    assert len(refs) == len(set(refs))
    assert refs[:1] <= sorted(refs)[:1]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b'"open', b"a" * 300_000, b",\n" * 1000])
def test_a_stranger_record_of_a_wheel_is_no_crash(site, data):
    (site.path / "onnxruntime-1.32.0.dist-info" / "RECORD").write_bytes(data)
    (site.path / "onnxruntime-1.32.0.dist-info" / "METADATA").write_bytes(data)
    found = inside.Inside(inside.Software("ort-1", "x86_64"), site=site)
    inside._site(found)
    assert {library.path for library in found.loose} >= {"lib/libatlas.so.3"}
