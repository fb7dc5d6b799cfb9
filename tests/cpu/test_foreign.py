"""Another architecture's processor: found by running a program of it, and told of as what it is."""

from __future__ import annotations

import subprocess

import pytest

from numdev.cpu import foreign
from numdev.cpu.emulated import Emulator
from numdev.cpu.foreign import Foreign
from numdev.errors import ProfileRefused
from numdev.spec.architecture import own

X86_HOST = pytest.mark.skipif(own() != "x86_64", reason="here arm64 is the machine's own")


def other(sha256: str = "0" * 64, argument: str = "neoverse-n1") -> Foreign:
    return Foreign(None, None, argument=argument, emulator=Emulator("/q", "v", sha256, True))


@X86_HOST
class TestShown:
    def test_without_qemu_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(foreign.emulated.shutil, "which", lambda name: None)
        with pytest.raises(ProfileRefused, match="qemu-aarch64-static") as caught:
            foreign.shown("aarch64")
        assert "apt-get install qemu-user-static" in caught.value.remedy

    @pytest.mark.parametrize("script", ["exit 0", "echo no such CPU >&2; exit 1", "kill -11 $$"])
    def test_an_emulator_that_does_not_run_it_is_none(self, monkeypatch, tmp_path, script):
        """It is there and has a version: only what it was to run tells."""
        program = tmp_path / "qemu"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        found = Emulator(str(program), "qemu-aarch64 version 9", "0" * 64, True)
        monkeypatch.setattr(foreign.emulated, "find", lambda architecture: (found, ""))
        with pytest.raises(ProfileRefused, match="does not run under"):
            foreign.shown("aarch64")

    def test_only_arm64_on_x86_64(self, monkeypatch):
        with pytest.raises(ProfileRefused, match="Use a machine that is riscv64"):
            foreign.shown("riscv64")
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        with pytest.raises(ProfileRefused, match="Use a machine that is x86_64"):
            foreign.shown("x86_64")

    def test_the_real_one_runs_it(self):
        found, why = foreign.emulated.find("aarch64")
        if found is None:
            pytest.skip(why)
        assert foreign.shown("aarch64").emulator == found
        assert foreign.trial([found.path, "-cpu", "no-such-processor"])


def test_the_digest_is_over_all_that_computes():
    assert len({other().digest, other("1" * 64).digest, other(argument="max").digest}) == 3


def test_the_system_tells_of_the_processor_that_computes(tmp_path):
    places = dict(other().system(tmp_path / "system"))
    cores = places["/proc/cpuinfo"].read_text().split("\n\n")[:-1]
    assert len(cores) == foreign.os.cpu_count()
    assert all("CPU part\t: 0xd0c" in core and "asimddp" in core and "vendor_id" not in core for core in cores)
    folder = places["/sys/devices/system/cpu"]
    assert sorted(path.name for path in folder.iterdir()) == ["online", "possible", "present"]
    assert {path.stat().st_mode & 0o777 for path in (*folder.iterdir(), places["/proc/cpuinfo"])} == {0o644}


@pytest.mark.parametrize(
    ("flags", "why"),
    [("flags: POF", ""), ("flags: ", "without the flag F"), ("flags: OC", "without the flag F")],
)
def test_what_binfmt_misc_says_counts_beside_what_runs(tmp_path, monkeypatch, flags, why):
    monkeypatch.setattr(foreign, "trial", lambda: "")
    (tmp_path / "register").write_text("")
    (tmp_path / "qemu-arm").write_text("enabled\ninterpreter /usr/bin/qemu-arm-static\nflags: F\n")
    (tmp_path / "qemu-aarch64").write_text(f"enabled\ninterpreter /usr/bin/qemu-aarch64-static\n{flags}\noffset 0\n")
    assert (why in foreign.kernel(tmp_path)) if why else (foreign.kernel(tmp_path) == "")
    monkeypatch.setattr(foreign, "trial", lambda: "it does not run")
    assert "the kernel runs no aarch64 programs" in foreign.kernel(tmp_path)


def test_the_program_is_one_for_arm64(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(foreign.program())
    done = subprocess.run(["readelf", "-h", "-l", path], capture_output=True, text=True, check=True)
    assert "AArch64" in done.stdout
    assert done.stderr == ""
