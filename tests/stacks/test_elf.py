"""CPUID instructions found: against the disassembler of binutils, and against hostile files."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numdev.files import cache_dir
from numdev.spec.stack import load_stack
from numdev.stacks import site_for
from numdev.stacks.elf import CPUID, NotElf, find_cpuid

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


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump (binutils) is not installed")
def test_the_systems_own_libraries_agree_with_the_disassembler():
    """Loader, C library and the libraries around them: what every program starts with."""
    compared = 0
    for path in map(Path, ("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6", sys.executable)):
        if path.exists() and CPUID in path.read_bytes():
            found = find_cpuid(path.read_bytes())
            assert found.undecided == ()
            assert len(found.instructions) == by_objdump(path), path.name
            compared += len(found.instructions)
    if not compared:
        pytest.skip("none of them has CPUID instructions here")
