"""CPUID instructions found and replaced: against the disassembler of binutils, and against hostile files."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.files import cache_dir
from numdev.spec.stack import load_stack
from numdev.stacks import rewritten_site, site_for
from numdev.stacks.elf import CPUID, NotElf, find_cpuid, replace_cpuid
from numdev.stacks.site import Site
from numdev.worker.cpuid import TRAP

IMAGES = Path(__file__).resolve().parents[2] / "images"

# Two functions: one executes CPUID, the other only has its bytes in a constant; a third has no unwind entry.
SOURCE = r"""
__asm__(".text\n.globl real\n.type real,@function\nreal:\n.cfi_startproc\npush %rbx\nmov $1,%eax\nxor %ecx,%ecx\ncpuid\n"
        "pop %rbx\nret\n.cfi_endproc\n");
int fake(void) { return 0xa20f; }
long wide(void) { return 0x11a20f2233445566; }
__asm__(".text\n.globl bare\n.type bare,@function\nbare:\n" ".rept 20\nmov %rax,%rdx\nadd $5,%rdx\n.endr\n"
        "mov $7,%eax\nxor %ecx,%ecx\ncpuid\n.rept 20\nmov %rax,%rdx\n.endr\nret\n");
"""

compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "a.c").write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", folder / "a.so", folder / "a.c"], check=True)
    return folder / "a.so"


def by_objdump(path: Path) -> int:
    """How many CPUID instructions binutils' linear disassembly sees."""
    listing = subprocess.run(["objdump", "-d", "-w", path], capture_output=True, text=True, check=True).stdout
    return len(re.findall(r"\t0f a2\s+\tcpuid", listing))


@compiler
def test_instructions_are_told_from_bytes_that_look_like_them(library):
    data = library.read_bytes()
    found = find_cpuid(data)
    assert data.count(CPUID) >= 4
    assert len(found.instructions) == 2 == by_objdump(library)
    assert all(data[at : at + 2] == CPUID for at in found.instructions)


@compiler
def test_only_the_instructions_change(library, tmp_path):
    data = library.read_bytes()
    changed, found = replace_cpuid(data, TRAP)
    different = {at for at in range(len(data)) if data[at] != changed[at]}
    assert different == {at + i for at in found.instructions for i in (0, 1)}
    (tmp_path / "b.so").write_bytes(changed)
    assert by_objdump(tmp_path / "b.so") == 0
    assert find_cpuid(changed).instructions == ()


def test_what_is_no_library_is_refused():
    for data in (b"", b"#!/bin/sh\n" + CPUID, b"\x7fELF\x01\x01" + bytes(100), b"\x7fELF\x02\x01" + bytes(10)):
        with pytest.raises(NotElf):
            find_cpuid(data)


@compiler
def test_a_library_for_another_processor_is_refused(library):
    data = bytearray(library.read_bytes())
    struct.pack_into("<H", data, 18, 183)
    with pytest.raises(NotElf, match="x86-64"):
        find_cpuid(bytes(data))


@compiler
@given(st.data())
def test_damaged_libraries_never_crash(library, data):
    original = library.read_bytes()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, 1023))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    try:
        found = find_cpuid(bytes(damaged))
    except NotElf:
        return
    assert all(damaged[at : at + 2] == CPUID for at in found.instructions)


@compiler
def test_a_site_is_rewritten_once_and_keeps_all_else(library, tmp_path):
    source = tmp_path / "sites" / "abc-cp3.11.2" / "site"
    (source / "package").mkdir(parents=True)
    (source / "package" / "__init__.py").write_text("x = 1\n")
    shutil.copy(library, source / "package" / "fast.so")
    (source / "package" / "odd.so.txt").write_text("no library")
    site = Site(source, "abc", "3.11", {})
    said: list[str] = []
    first = rewritten_site(site, tmp_path, said.append)
    again = rewritten_site(site, tmp_path, said.append)
    assert len(said) == 1
    assert first == again
    assert first.facts["rewritten"] == {"package/fast.so": 2}
    assert first.facts["instructions"] == 2
    assert (first.path / "package" / "__init__.py").read_text() == "x = 1\n"
    assert (first.path / "package" / "odd.so.txt").read_text() == "no library"
    assert find_cpuid((first.path / "package" / "fast.so").read_bytes()).instructions == ()
    assert library.read_bytes() == (source / "package" / "fast.so").read_bytes(), "the original is untouched"


@pytest.mark.network
@pytest.mark.frameworks
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump (binutils) is not installed")
@pytest.mark.parametrize("stack", ["numpy-2.4"])
def test_real_libraries_agree_with_the_disassembler(stack):
    site = site_for(load_stack(IMAGES, stack), cache_dir(), print)
    compared = 0
    for path in sorted(site.path.rglob("*.so*")):
        data = path.read_bytes()
        if CPUID in data:
            found = find_cpuid(data)
            assert found.undecided == ()
            assert len(found.instructions) == by_objdump(path), path.name
            compared += len(found.instructions)
    assert compared > 50
