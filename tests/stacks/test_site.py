from __future__ import annotations

import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from numdev.errors import DownloadFailed, HashMismatch, StackFailed
from numdev.spec.stack import load_stack
from numdev.stacks import site_for, tools
from numdev.stacks.lock import Locked
from numdev.stacks.platform import Platform
from numdev.stacks.unpack import unpack

folders = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("folders.py"))))
fill_cache, make_stack, make_wheel = folders.fill_cache, folders.make_stack, folders.make_wheel

PLATFORM = Platform("x86_64", "3.11", "2.36")
FILES = {
    "one/__init__.py": b"def f():\n    return {'a', 'b', 'c'}, 'one'\n",
    "one/lib.so": b"\x7fELF",
    "one/broken.py": b"def (:\n",
    "one/__pycache__/x.cpython-311.pyc": b"stale",
    "one-1.0.data/platlib/one/more.py": b"x = 1\n",
    "one-1.0.data/scripts/tool": b"#!python\n",
    "one-1.0.data/data/share/x": b"x",
}


def quiet(line: str) -> None:
    pass


def tiny(folder: Path) -> dict[str, tuple[Path, str]]:
    return {"one": make_wheel(folder, "one", FILES), "two": make_wheel(folder, "two", {"two.py": b"import one\n"})}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_layout_of_a_site(tmp_path: Path) -> None:
    wheels = tiny(tmp_path / "made")
    stack = load_stack(make_stack(tmp_path / "images", wheels), "tiny")
    site = site_for(stack, fill_cache(tmp_path / "cache", wheels), quiet)
    names = {name for name in contents(site.path) if "dist-info" not in name and "__pycache__" not in name}
    assert names == {"one/__init__.py", "one/broken.py", "one/lib.so", "one/more.py", "two.py"}
    assert (site.path / "one/lib.so").stat().st_mode & 0o777 == 0o555
    assert (site.path / "two.py").stat().st_mode & 0o777 == 0o444
    assert {int(path.stat().st_mtime) for path in site.path.rglob("*")} == {1704067200}
    assert site.facts["pins"] == {"one": "1.0", "two": "1.0"}
    assert site.facts["wheels"]["one"]["sha256"] == wheels["one"][1]
    # Another digest means that stored results no longer match: raise LAYOUT in site.py with it.
    assert site.digest == "0e8cc5f70afc5ec9b3dd2c92f8ecf95deb649f7400bb217f61ffc53b89392c55"


def test_the_same_wheels_give_the_same_bytes_and_then_nothing_is_done(tmp_path: Path) -> None:
    wheels = tiny(tmp_path / "made")
    stack = load_stack(make_stack(tmp_path / "images", wheels), "tiny")
    first = site_for(stack, fill_cache(tmp_path / "a", wheels), quiet)
    second = site_for(stack, fill_cache(tmp_path / "b", wheels), quiet)
    assert first.digest == second.digest
    assert contents(first.path) == contents(second.path)
    said: list[str] = []
    shutil.rmtree(tmp_path / "a" / "wheels")
    assert site_for(stack, tmp_path / "a", said.append) == first
    assert said == []
    assert not list((tmp_path / "a" / "sites").glob(".build-*"))


def test_bytecode_is_used_and_does_not_know_the_cache(tmp_path: Path) -> None:
    found = tools.interpreter("3.11")
    if found is None:
        pytest.skip("no CPython 3.11 here")
    wheels = tiny(tmp_path / "made")
    stack = load_stack(make_stack(tmp_path / "images", wheels), "tiny")
    site = site_for(stack, fill_cache(tmp_path / "cache", wheels), quiet)
    assert site.facts["bytecode"] == found[1]
    program = "import sys, one; print(one.__cached__); print(one.f()[1])"
    environment = {"PYTHONPATH": str(site.path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [found[0], "-S", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    cached, result = done.stdout.split()
    assert result == "one"
    data = Path(cached).read_bytes()
    assert int.from_bytes(data[4:8], "little") == 1
    assert b"/opt/numdev/site/one/__init__.py" in data
    assert str(tmp_path).encode() not in data


def test_without_a_cpython_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tiny(tmp_path / "made")
    stack = load_stack(make_stack(tmp_path / "images", wheels), "tiny")
    with_bytecode = site_for(stack, fill_cache(tmp_path / "a", wheels), quiet)
    monkeypatch.setattr(tools, "interpreter", lambda version: None)
    said: list[str] = []
    without = site_for(stack, fill_cache(tmp_path / "b", wheels), said.append)
    assert any("no CPython 3.11 here" in line for line in said)
    assert without.digest == with_bytecode.digest
    assert without.facts["bytecode"] is None


def test_a_changed_wheel_in_the_cache_is_refused(tmp_path: Path) -> None:
    wheels = tiny(tmp_path / "made")
    stack = load_stack(make_stack(tmp_path / "images", wheels), "tiny")
    cache = fill_cache(tmp_path / "cache", wheels)
    path, digest = wheels["one"]
    with open(cache / "wheels" / digest / path.name, "ab") as file:
        file.write(b"x")
    with pytest.raises(HashMismatch, match=f"expected sha256 {digest}, got [0-9a-f]+") as caught:
        site_for(stack, cache, quiet)
    assert caught.value.code == 9
    assert sorted(path.name for path in (cache / "sites").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../out.py", "leads out"),
        ("a/../../out.py", "leads out"),
        ("/out.py", "not a relative path"),
        ("a//b.py", "leads out"),
        ("a\\b.py", "not a relative path"),
        ("!link", "link"),
        ("one-1.0.data/purelib/../../../out.py", "leads out"),
    ],
)
def test_a_hostile_wheel_writes_nothing(tmp_path: Path, name: str, why: str) -> None:
    wheel, _ = make_wheel(tmp_path, "one", {"good.py": b"", name: b"/etc"})
    site = tmp_path / "in" / "site"
    site.mkdir(parents=True)
    with pytest.raises(StackFailed, match=why):
        unpack(wheel, site, {})
    assert list(site.iterdir()) == []


def test_wheels_that_contradict_each_other(tmp_path: Path) -> None:
    hashes: dict[str, str] = {}
    site = tmp_path / "site"
    site.mkdir()
    unpack(make_wheel(tmp_path, "one", {"same.py": b"1", "other.py": b"1"})[0], site, hashes)
    unpack(make_wheel(tmp_path, "two", {"same.py": b"1"})[0], site, hashes)
    with pytest.raises(StackFailed, match=r"'other\.py' is in another wheel"):
        unpack(make_wheel(tmp_path, "three", {"other.py": b"2"})[0], site, hashes)
    with pytest.raises(StackFailed, match="a file in one wheel and a folder in another"):
        unpack(make_wheel(tmp_path, "four", {"same.py/x.py": b"2"})[0], site, hashes)
    (tmp_path / "bad.whl").write_bytes(b"PK no")
    with pytest.raises(StackFailed, match="not a readable zip"):
        unpack(tmp_path / "bad.whl", site, hashes)


def test_pip_finds_another_file_than_the_locked_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny(tmp_path / "made")
    wanted = {"one": (made["one"][0], "0" * 64), "two": made["two"]}
    stack = load_stack(make_stack(tmp_path / "images", wanted), "tiny")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "made"))
    for asked in (stack, replace(stack, from_pip=("one",))):
        with pytest.raises(HashMismatch) as caught:
            site_for(asked, tmp_path / "cache", quiet)
        assert "0" * 64 in caught.value.why
        assert made["one"][1] in caught.value.why
    assert not list((tmp_path / "cache" / "wheels").glob("*/*.whl"))


def test_pip_fetches_what_is_locked_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny(tmp_path / "made")
    stack = load_stack(make_stack(tmp_path / "images", made), "tiny")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "made"))
    said: list[str] = []
    site = site_for(stack, tmp_path / "cache", said.append)
    assert any("fetching 2 wheels: one, two" in line for line in said)
    shutil.rmtree(tmp_path / "made")
    shutil.rmtree(tmp_path / "cache" / "sites")
    assert site_for(stack, tmp_path / "cache", quiet).digest == site.digest
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(DownloadFailed, match=r"could not fetch one 1\.0, two 1\.0"):
        site_for(stack, tmp_path / "cache", quiet)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("numpy-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("numpy-1.0+cpu-cp311-cp311-linux_x86_64.whl", True),
        ("numpy-1.0-cp39-abi3-manylinux_2_28_x86_64.whl", True),
        ("numpy-1.0-py2.py3-none-any.whl", True),
        ("numpy-1.0-py3-none-manylinux1_x86_64.whl", True),
        ("numpy-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", False),
        ("numpy-1.0-cp312-abi3-manylinux_2_17_x86_64.whl", False),
        ("numpy-1.0-cp311-cp311-manylinux_2_39_x86_64.whl", False),
        ("numpy-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("numpy-1.0-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ("numpy-1.1-py3-none-any.whl", False),
        ("numpyx-1.0-py3-none-any.whl", False),
        ("numpy-1.0.tar.gz", False),
    ],
)
def test_which_wheels_fit(name: str, fits: bool) -> None:
    assert (PLATFORM.rank(name, Locked("numpy", "1.0", ())) is not None) is fits


def test_the_most_specific_wheel_is_the_best() -> None:
    package = Locked("numpy", "1.0", ())
    newer = PLATFORM.rank("numpy-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", package)
    older = PLATFORM.rank("numpy-1.0-cp311-cp311-manylinux2014_x86_64.whl", package)
    generic = PLATFORM.rank("numpy-1.0-py3-none-any.whl", package)
    assert newer is not None
    assert older is not None
    assert generic is not None
    assert newer < older < generic
