"""Debian packages in a site: what is laid out where, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from numdev import digests
from numdev.errors import DownloadFailed, HashMismatch, InvalidInput, StackFailed
from numdev.spec.stack import load_stack
from numdev.stacks import debs
from numdev.stacks.site import _check_preload, linked

IMAGES = Path(__file__).resolve().parents[2] / "images"
STACK = 'base: bookworm\npython: "3.11"\nbackend: numpy\npins:\n  threadpoolctl: "3.5.0"\n'
SYSTEM = "usr/lib/x86_64-linux-gnu"


def stack_of(folder: Path, more: str):
    (folder / "images" / "mine").mkdir(parents=True)
    shutil.copytree(IMAGES / "base", folder / "images" / "base")
    (folder / "images" / "mine" / "stack.yaml").write_text(STACK + more)
    return load_stack(folder / "images", "mine", "x86_64")


def deb_of(folder: Path, files: dict[str, str], name: str = "libx1") -> Path:
    """A package with these files; what starts with -> is a link."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("there is no dpkg-deb")
    root = folder / f"root-{name}"
    control = f"Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: a <a@b>\nDescription: x\n"
    for path, text in {"DEBIAN/control": control, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            os.symlink(text[2:], root / path)
        else:
            (root / path).write_text(text)
    deb = folder / f"{name}_1.0-1_amd64.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, deb], check=True, capture_output=True)
    return deb


def test_modules_and_libraries_and_nothing_else(tmp_path):
    deb = deb_of(
        tmp_path,
        {
            "usr/lib/python3/dist-packages/numpy/core.py": "a",
            "usr/lib/python3/dist-packages/numpy/core.pyc": "b",
            f"{SYSTEM}/atlas/libblas.so.3.10": "c",
            f"{SYSTEM}/atlas/libblas.so.3": "->libblas.so.3.10",
            f"{SYSTEM}/libother.so.5": "->../../../etc/passwd",
            f"{SYSTEM}/libplus-r0.3.so": "d",
            f"{SYSTEM}/atlas/libblas.a": "e",
            "usr/share/doc/x/libblas.so.3": "f",
            "usr/bin/x": "g",
        },
    )
    site, hashes = tmp_path / "site", {}
    assert debs.unpack_deb(deb, site, hashes) == 3
    there = {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*") if path.is_file()}
    assert there == {
        "numpy/core.py": "a",
        "lib/libblas.so.3.10": "c",
        "lib/libblas.so.3": "c",
        "lib/libplus-r0.3.so": "d",
    }
    assert hashes == {name: digests.of_bytes(text.encode()) for name, text in there.items()}
    assert not any(path.is_symlink() for path in site.rglob("*"))


@pytest.mark.parametrize("name", ["../x.so", "/usr/lib/x86_64-linux-gnu/libx.so", f"{SYSTEM}/../../libx.so", "", "etc"])
def test_a_name_never_leads_out_of_the_site(name):
    assert debs._place(name) is None


def test_two_libraries_of_one_name(tmp_path):
    hashes = {}
    for name, text in (("liba1", "a"), ("libb1", "a")):
        debs.unpack_deb(deb_of(tmp_path, {f"{SYSTEM}/{name}/libblas.so.3": text}, name), tmp_path / "site", hashes)
    other = deb_of(tmp_path, {f"{SYSTEM}/blas/libblas.so.3": "b"}, "libc1")
    with pytest.raises(StackFailed, match="cannot be unpacked") as caught:
        debs.unpack_deb(other, tmp_path / "site", hashes)
    assert "lib/libblas.so.3 is in another package" in caught.value.why
    (tmp_path / "no.deb").write_bytes(b"no package")
    with pytest.raises(StackFailed, match=r"no\.deb cannot be unpacked"):
        debs.unpack_deb(tmp_path / "no.deb", tmp_path / "site", hashes)


def apt(folder: Path, monkeypatch, script: str) -> None:
    """Another apt-get, which does as the script says."""
    (folder / "bin").mkdir()
    (folder / "bin" / "apt-get").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def test_a_package_that_is_another_or_is_gone(tmp_path, monkeypatch):
    deb = deb_of(tmp_path, {f"{SYSTEM}/libx.so.1": "a"})
    stack = stack_of(tmp_path, 'debian:\n  libx1: "1.0-1"\n')
    apt(tmp_path, monkeypatch, f"cp {deb} .")
    cache, said = tmp_path / "cache", []
    debs.lock_debs(stack, cache, said.append)
    locked = debs.read_debian_lock(stack)
    assert locked == {"libx1": digests.of_file(deb)}
    assert said == ["mine: fetching the Debian package libx1=1.0-1"]
    # What was fetched is kept, and looked at again.
    kept = debs.debs_for(stack, locked, cache, said.append)["libx1"]
    assert len(said) == 1
    kept.chmod(0o644)
    kept.write_bytes(b"changed")
    with pytest.raises(HashMismatch, match="in the cache is not the file"):
        debs.debs_for(stack, locked, cache, said.append)
    with pytest.raises(HashMismatch, match=r"libx1 1\.0-1 is not the one that is locked"):
        debs.debs_for(stack, {"libx1": "0" * 64}, cache, said.append)
    (tmp_path / "bin" / "apt-get").write_text("#!/bin/sh\necho 'E: Version not found' >&2\nexit 100\n")
    with pytest.raises(DownloadFailed) as caught:
        debs.debs_for(stack, {"libx1": "0" * 64}, cache, said.append)
    assert caught.value.why == "E: Version not found"
    assert "numdev images lock mine" in caught.value.remedy
    assert not list((cache / "debs").glob(".fetch-*"))


def test_a_lock_that_does_not_fit(tmp_path):
    stack = stack_of(tmp_path, 'debian:\n  libx1: "1.0-1"\n  liby1: "2"\n')
    with pytest.raises(InvalidInput, match="numdev images lock mine"):
        debs.read_debian_lock(stack)
    (stack.folder / debs.LOCK).write_text(f"nonsense\nlibx1=1.0-2 sha256:{'0' * 64}\n")
    with pytest.raises(InvalidInput) as caught:
        debs.read_debian_lock(stack)
    found = [problem.what for problem in caught.value.problems]
    assert found == [
        "'nonsense' is not name=version sha256:...",
        "libx1 1.0-2 is not what stack.yaml pins",
        "libx1 is pinned and not locked",
        "liby1 is pinned and not locked",
    ]


def test_what_a_stack_may_declare(tmp_path):
    more = 'debian:\n  LibX: "1"\npreload: [../x.so]\nblas: GotoBLAS\n'
    with pytest.raises(InvalidInput) as caught:
        stack_of(tmp_path, more)
    text = str(caught.value)
    for part in ("'LibX' is no name", "'../x.so' is no path", "there are ATLAS, BLIS, MKL, OpenBLAS, reference"):
        assert part in text


def test_what_the_dynamic_linker_is_told(tmp_path):
    stack = stack_of(tmp_path, "preload: [lib/libmkl_rt.so.2]\n")
    told = {"LD_LIBRARY_PATH": "/s/lib", "LD_PRELOAD": "/s/lib/libmkl_rt.so.2"}
    assert linked(stack, "/s") == told
    assert linked(load_stack(IMAGES, "numpy-2.4", "x86_64"), "/s") == {}
    _check_preload(stack, {"lib/libmkl_rt.so.2": ""})
    with pytest.raises(StackFailed, match=r"have no lib/libmkl_rt\.so\.2") as caught:
        _check_preload(stack, {"lib/libmkl_rt.so.1": "", "x.py": ""})
    assert caught.value.why == "there are: lib/libmkl_rt.so.1"
