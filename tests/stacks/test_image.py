from __future__ import annotations

import hashlib
import io
import json
import runpy
import shutil
import stat
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from numdev.errors import InvalidInput, StackFailed
from numdev.files import cache_dir
from numdev.spec.stack import Stack, load_base, load_stack
from numdev.stacks import dockerfile_for, image_plan, read_lock, relock, site_for, tools, write_archive
from numdev.stacks.bases import base_for, flatten

folders = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("folders.py"))))
IMAGES = Path(__file__).resolve().parents[2] / "images"
FAKE = """#!/bin/sh
for target; do :; done
mkdir -p "$0.d/usr/bin" "$0.d/var/lib/dpkg"
echo python > "$0.d/usr/bin/python3"
printf 'Package: python3.11\\nStatus: install ok installed\\nVersion: 3.11.2-6\\n\\nPackage: gone\\nStatus: deinstall ok config-files\\n' \\
  > "$0.d/var/lib/dpkg/status"
tar --sort=name --mtime=@$SOURCE_DATE_EPOCH --owner=0 --group=0 --numeric-owner -C "$0.d" -cf "$target" .
"""


def quiet(line: str) -> None:
    pass


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs with a mmdebstrap that makes a tiny base."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "mmdebstrap").write_text(FAKE)
    (folder / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def tiny(tmp_path: Path, programs: Path) -> SimpleNamespace:
    wheels = {"one": folders.make_wheel(tmp_path / "made", "one", {"one/a.py": b"", "one/lib.so": b"x", "b.py": b""})}
    images = folders.make_stack(tmp_path / "images", wheels)
    return SimpleNamespace(
        stack=load_stack(images, "tiny"), cache=folders.fill_cache(tmp_path / "cache", wheels), wheels=wheels
    )


def archive(plan: object) -> bytes:
    out = io.BytesIO()
    write_archive(plan, out)
    return out.getvalue()


def test_two_builds_give_the_same_archive_and_id(tiny: SimpleNamespace, tmp_path: Path) -> None:
    first = image_plan(tiny.stack, tiny.cache, quiet)
    second = image_plan(tiny.stack, folders.fill_cache(tmp_path / "other", tiny.wheels), quiet)
    assert first.image_id == second.image_id
    assert archive(first) == archive(second)
    assert first.site_digest == site_for(tiny.stack, tiny.cache, quiet).digest
    assert first.base_kind == "bootstrap"


def test_an_unchanged_plan_is_recalled(tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    first = image_plan(tiny.stack, tiny.cache, quiet)
    monkeypatch.setenv("PATH", "/nonexistent")
    said: list[str] = []
    start = time.monotonic()
    assert image_plan(tiny.stack, tiny.cache, said.append) == first
    assert time.monotonic() - start < 0.2
    assert said == []


def test_what_is_in_the_archive(tiny: SimpleNamespace) -> None:
    plan = image_plan(tiny.stack, tiny.cache, quiet)
    with tarfile.open(fileobj=io.BytesIO(archive(plan))) as outer:
        read = {member.name: outer.extractfile(member).read() for member in outer}  # type: ignore[union-attr]
    (entry,) = json.loads(read["manifest.json"])
    config = read[entry["Config"]]
    assert plan.image_id == "sha256:" + hashlib.sha256(config).hexdigest()
    assert entry["RepoTags"] == [plan.tag]
    parsed = json.loads(config)
    assert parsed["created"] == "2024-01-01T00:00:00Z"
    assert parsed["config"]["Labels"] == plan.labels
    assert plan.labels["org.numdev.pin.one"] == "1.0"
    assert plan.labels["org.numdev.python.package"] == "3.11.2-6"
    digests = [hashlib.sha256(read[name]).hexdigest() for name in entry["Layers"]]
    assert parsed["rootfs"]["diff_ids"] == [f"sha256:{digest}" for digest in digests]
    with tarfile.open(fileobj=io.BytesIO(read[entry["Layers"][1]])) as layer:
        members = layer.getmembers()
    names = [member.name.split("/") for member in members]
    assert names == sorted(names)
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 1704067200)}
    modes = {member.name: member.mode for member in members}
    assert modes["opt/numdev/site/one/lib.so"] == 0o755
    assert modes["opt/numdev/site/b.py"] == 0o644


def test_a_site_that_was_changed_gives_no_archive(tiny: SimpleNamespace) -> None:
    plan = image_plan(tiny.stack, tiny.cache, quiet)
    path = plan.site / "b.py"
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    path.write_bytes(b"1\n")
    with pytest.raises(StackFailed, match="has changed since"):
        archive(plan)


def test_without_mmdebstrap_it_says_what_to_do(tiny: SimpleNamespace, programs: Path, monkeypatch) -> None:
    (programs / "mmdebstrap").unlink()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(StackFailed, match=r"apt-get install mmdebstrap[\s\S]*--engine local") as caught:
        image_plan(tiny.stack, tiny.cache, quiet)
    assert caught.value.code == 8


def test_a_bootstrap_that_fails_leaves_nothing(tiny: SimpleNamespace, programs: Path) -> None:
    (programs / "mmdebstrap").write_text("#!/bin/sh\necho E: no such mirror >&2\nexit 25\n")
    with pytest.raises(StackFailed, match="no such mirror"):
        image_plan(tiny.stack, tiny.cache, quiet)
    assert list((tiny.cache / "bases").iterdir()) == []


def test_a_registry_that_cannot_be_reached_is_said(tiny: SimpleNamespace, programs: Path) -> None:
    (programs / "docker").write_text("#!/bin/sh\necho no route to host >&2\nexit 1\n")
    (programs / "docker").chmod(0o755)
    base = load_base(tiny.stack.folder.parent, "bookworm")
    said: list[str] = []
    named = replace(base, registry="debian@sha256:" + "0" * 64)
    system = base_for(named, "x86_64", tiny.cache, said.append)
    assert system.kind == "bootstrap"
    assert any("cannot be pulled (no route to host); bootstrapping instead" in line for line in said)


def test_a_dockerfile_is_left_to_the_engine(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "stack.yaml").write_text('base: x\npython: "3.11"\nbackend: numpy\ndockerfile: Dockerfile\n')
    (folder / "Dockerfile").write_text("FROM scratch\n")
    stack = load_stack(tmp_path, "mine")
    plan = image_plan(stack, tmp_path / "cache", quiet)
    assert (plan.reproducible, plan.image_id, plan.context) == (False, "", folder)
    assert dockerfile_for(stack, plan) == "FROM scratch\n"
    for refused in (lambda: archive(plan), lambda: site_for(stack, tmp_path, quiet)):
        with pytest.raises(StackFailed, match="Dockerfile"):
            refused()
    with pytest.raises(InvalidInput, match="Dockerfile"):
        relock(stack, tmp_path, quiet)


def test_the_dockerfile_for_reading(tiny: SimpleNamespace) -> None:
    text = dockerfile_for(tiny.stack, image_plan(tiny.stack, tiny.cache, quiet))
    assert "FROM debian:bookworm-slim" in text
    assert 'org.numdev.pin.one="1.0"' in text
    assert "--require-hashes" in text


def test_a_lock_needs_uv(tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    tools.uv.cache_clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StackFailed, match="pip install uv"):
        relock(tiny.stack, tiny.cache, quiet)


@pytest.mark.network
def test_a_real_lock_is_what_is_committed_or_newer(tmp_path: Path) -> None:
    shutil.copytree(IMAGES / "base", tmp_path / "base")
    shutil.copytree(IMAGES / "numpy-1.26", tmp_path / "numpy-1.26")
    tools.uv.cache_clear()
    stack = load_stack(tmp_path, "numpy-1.26")
    before = read_lock(stack)
    relock(stack, tmp_path / "cache", quiet)
    after = read_lock(stack)
    assert {name: one.version for name, one in after.items()} == {name: one.version for name, one in before.items()}
    # An index may gain files of a version (another platform's wheel); it never changes one.
    assert all(set(one.hashes) <= set(after[name].hashes) for name, one in before.items())


@pytest.mark.network
@pytest.mark.docker
def test_a_real_image_has_the_planned_id_and_runs() -> None:
    stack: Stack = load_stack(IMAGES, "numpy-1.26")
    plan = image_plan(stack, cache_dir(), quiet)
    loading = subprocess.Popen(["docker", "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert loading.stdin
    with loading.stdin as pipe:
        write_archive(plan, pipe)
    assert loading.wait() == 0
    command = ["docker", "run", "--rm", "--network", "none", "--read-only", "--user", "65534", plan.image_id]
    command += ["python3", "-c", "import numpy, sys; print(numpy.__version__, numpy.__cached__)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.26.4", "/opt/numdev/site/numpy/__pycache__/__init__.cpython-311.pyc"]


@pytest.mark.network
@pytest.mark.docker
def test_an_image_as_a_base_gives_the_same_tar_twice(tmp_path: Path) -> None:
    stack = load_stack(IMAGES, "numpy-1.26")
    plan = image_plan(stack, cache_dir(), quiet)
    with open(tmp_path / "image.tar", "wb") as file:
        write_archive(plan, file)
    subprocess.run(["docker", "load", "--quiet", "-i", str(tmp_path / "image.tar")], check=True, capture_output=True)
    for name in ("a", "b"):
        flatten("docker", plan.image_id, tmp_path / f"{name}.tar", plan.epoch)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert "usr/bin/python3" in tar.getnames()
