"""Stacks of another architecture: locks, wheels and images of their own, and x86-64's as they always were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from numdev import digests
from numdev.engines.protocol import stack_digest
from numdev.errors import InvalidInput, NoBase, StackFailed
from numdev.spec.stack import Base, Stack, load_stack
from numdev.stacks import bases, image, read_lock, relock, site
from numdev.stacks.lock import Locked, called
from numdev.stacks.platform import Platform, machine_of

IMAGES = Path(__file__).resolve().parents[2] / "images"
LOCKED = ["numpy-2.4", "onnxruntime-1.32", "reference"]


def stack(architecture: str = "x86_64") -> Stack:
    folder = Path("images/some")
    return Stack("some", folder, "bookworm", "3.11", "numpy", {}, None, Path("lock"), architecture=architecture)


def base() -> Base:
    include, exclude = ("usr-is-merged", "python3"), ("/usr/share/doc/*",)
    return Base("bookworm", Path("b.yaml"), "bookworm", "3.11", "2.36", include, exclude, 1704067200)


class TestDigestsOfX86:
    """As they were before there was another architecture: other ones would make every store and cache worthless."""

    def test_stack(self):
        expected = "5a111d99586972605971cabf0664e52576548da530a1dec2f8b6c4b8f5dbffc6"
        assert stack_digest(stack(), "site") == expected
        assert stack_digest(stack("aarch64"), "site") != expected

    def test_site(self):
        def key(machine: str) -> str:
            locked = {"numpy": Locked("numpy", "2.0.0", ("0" * 64,))}
            return site._key(locked, Platform(machine, "3.11", "2.36"), ("python", "3.11.2"))

        assert key("x86_64") == "bcdb83c309ebe3f0235761279e2496dcfce66dad0159390af1c91ae926063122"
        assert key("aarch64") != key("x86_64")

    def test_base(self):
        def key(machine: str) -> str:
            return digests.of_json([bases._command(base(), machine), base().epoch, base().registry])

        assert key("x86_64") == "e022c5158651e87bb63942866b2536126287664dbdec6bff20a0ed43a6e9b083"
        assert key("aarch64") != key("x86_64")

    def test_image(self):
        def config(machine: str) -> bytes:
            return image._config({"a": "b"}, ["1", "2"], base().epoch, machine)

        expected = "a45ada3cc3cd0af04300840497d87ffa661e892ab6826570593b1f43cbd56aef"
        assert digests.of_bytes(config("x86_64")) == expected
        assert json.loads(config("aarch64")) == {**json.loads(config("x86_64")), "architecture": "arm64"}


@pytest.mark.parametrize("name", LOCKED)
def test_our_locks_have_the_same_versions_for_both(name):
    """Or the factor architecture would be one of versions, too."""
    first, other = (load_stack(IMAGES, name, machine) for machine in ("x86_64", "aarch64"))
    assert (first.lock.name, other.lock.name) == ("requirements.lock", "requirements.aarch64.lock")
    versions = [{key: one.version for key, one in read_lock(each).items()} for each in (first, other)]
    assert versions[0] == versions[1]
    assert "://" not in other.lock.read_text()


def test_a_missing_lock_says_how_it_is_made():
    other = load_stack(IMAGES, "numpy-1.26", "aarch64")
    with pytest.raises(InvalidInput, match=r"numdev images lock numpy-1\.26 --architecture aarch64"):
        read_lock(other)
    assert called(load_stack(IMAGES, "numpy-1.26", "x86_64")) == "numpy-1.26"


@pytest.mark.parametrize(("machine", "fits"), [("x86_64", "x86_64"), ("aarch64", "aarch64")])
def test_only_wheels_for_it_fit(machine, fits):
    platform = Platform(machine, "3.11", "2.36")
    package = Locked("numpy", "2.0.0", ())
    for other in ("x86_64", "aarch64"):
        rank = platform.rank(f"numpy-2.0.0-cp311-cp311-manylinux_2_28_{other}.whl", package)
        assert (rank is not None) == (other == fits)
    assert platform.rank("numpy-2.0.0-py3-none-any.whl", package) is not None


def test_an_architecture_without_wheels_is_refused():
    with pytest.raises(StackFailed, match="riscv64"):
        machine_of(stack("riscv64"))


def test_where_foreign_programs_do_not_run_the_base_says_how_they_would(tmp_path, monkeypatch):
    program = tmp_path / "mmdebstrap"
    program.write_text("#!/bin/sh\necho E: arm64 can neither be executed natively nor via binfmt_misc\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(NoBase, match="for aarch64") as caught:
        bases.base_for(base(), "aarch64", tmp_path / "cache", lambda line: None)
    assert "neither be executed" in caught.value.why
    assert "binfmt_misc" in caught.value.remedy
    with pytest.raises(NoBase) as caught:
        bases.base_for(base(), "x86_64", tmp_path / "cache", lambda line: None)
    assert "binfmt_misc" not in caught.value.remedy


@pytest.mark.network
def test_a_lock_is_made_for_it_with_the_versions_of_the_other(tmp_path):
    folder = tmp_path / "mine"
    (tmp_path / "base").mkdir()
    folder.mkdir()
    for name in ("bookworm.yaml",):
        (tmp_path / "base" / name).write_bytes((IMAGES / "base" / name).read_bytes())
    pins = 'pins:\n  onnxruntime: "1.32.0"\n'
    (folder / "stack.yaml").write_text(f'base: bookworm\npython: "3.11"\nbackend: onnxruntime\n{pins}')
    old = f"packaging==24.0 --hash=sha256:{'0' * 64}\nonnxruntime==1.32.0 --hash=sha256:{'0' * 64}\n"
    (folder / "requirements.lock").write_text(old)
    other = load_stack(tmp_path, "mine", "aarch64")
    locked = relock(other, tmp_path / "cache", lambda line: None)
    assert locked["packaging"].version == "24.0"
    assert "0" * 64 not in locked["packaging"].hashes
    assert other.lock.read_text().startswith("# Made by: numdev images lock mine --architecture aarch64\n")
    assert (folder / "requirements.lock").read_text() == old
