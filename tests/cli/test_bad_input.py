"""Whatever is wrong: a clear message, its own exit code, nothing half-written, and never a traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from numdev import cpu
from numdev.engines import Played
from numdev.store import Store
from numdev.store.record import SCHEMA

NUMDEV = [sys.executable, "-c", "from numdev.cli import main; main()"]


def written(folder: Path) -> list[str]:
    """All files but what the fixture made."""
    mine = {"m.yaml", "model.onnx", "x.npz"}
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in found if name not in mine and not name.startswith("images/"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


class TestMatrix:
    @pytest.mark.parametrize("command", [("check",), ("plan",), ("run", "-e", "local")])
    def test_missing(self, numdev, place, command):
        done = numdev("matrix", command[0], "absent.yaml", *command[1:])
        assert done.code == 3
        assert "absent.yaml" in done.err
        assert "does not exist" in done.err
        assert written(place) == []

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", ["must be a mapping"]),
            ("numdev: [", ["m.yaml:1"]),
            ("\x00\x01", ["m.yaml"]),
            ("numdev: 1\nfactors: {stack: [one]}\nworkloads: [a.onnx]\n", ["workloads.0", "no name of a built-in"]),
            ("numdev: 2\nfactors: {stak: [one], threads: [zero]}\nworkloads: []\nspeed: fast\n", ["numdev", "workloads", "speed"]),
            ("numdev: 1\nfactors: {stak: [one], threads: [zero]}\nworkloads: [cnn-five]\n", ["stak", "threads", "factors.stack"]),
            ("numdev: 1\nfactors: &a {stack: *a}\nworkloads: [cnn-five]\n", ["aliases"]),
        ],
    )  # fmt: skip
    def test_malformed(self, numdev, place, text, words):
        (place / "m.yaml").write_text(text)
        done = numdev("matrix", "run", "m.yaml", "-e", "local")
        assert done.code == 3
        assert [word for word in words if word not in done.err] == []
        assert written(place) == []

    def test_a_folder_and_a_binary(self, numdev, place):
        assert numdev("matrix", "check", place).code == 3
        (place / "m.yaml").write_bytes(os.urandom(2000))
        assert numdev("matrix", "check", "m.yaml").code == 3

    def test_all_that_it_names_and_that_is_not_there(self, numdev, place):
        edit(place / "m.yaml", "[one, two]", "[one, three], profile: [z80]")
        (place / "model.onnx").unlink()
        (place / "x.npz").write_bytes(b"no archive")
        done = numdev("matrix", "run", "m.yaml", "-e", "local")
        assert done.code == 3
        for word in ("three", "z80", "model.onnx: does not exist", "x.npz: is no .npz", "numpy.savez"):
            assert word in done.err, done.err

    def test_inputs_that_need_pickle(self, numdev, place):
        np.savez(place / "x.npz", x=np.array([{}], dtype=object))
        done = numdev("matrix", "check", "m.yaml")
        assert done.code == 3
        assert "pickle" in done.err

    def test_a_select_that_is_no_expression(self, numdev, place):
        done = numdev("matrix", "run", "m.yaml", "-e", "local", "-k", "and (")
        assert done.code == 3
        assert "-k" in done.err

    def test_an_unknown_engine(self, numdev, place):
        done = numdev("matrix", "run", "m.yaml", "-e", "podman")
        assert done.code == 3
        assert "docker, local, auto" in done.err


class TestStack:
    def test_no_folder_of_stacks(self, numdev, place):
        done = numdev("matrix", "check", "m.yaml", "--images", place / "nowhere")
        assert done.code == 3
        assert "nowhere" in done.err

    @pytest.mark.parametrize("text", ["", "pins: 3", "base: bookworm\npython: 3.11\nbackend: onnxruntime\n", "\x00"])
    def test_malformed(self, numdev, place, text):
        (place / "images" / "two" / "stack.yaml").write_text(text)
        done = numdev("matrix", "check", "m.yaml")
        assert done.code == 3
        assert "images/two/stack.yaml" in done.err

    def test_its_cpython_is_not_there(self, numdev, place):
        edit(place / "images" / "base" / "bookworm.yaml", '"3.11"', '"3.3"')
        for name in ("one", "two"):
            edit(place / "images" / name / "stack.yaml", '"3.11"', '"3.3"')
        done = numdev("matrix", "run", "m.yaml", "-e", "local")
        assert done.code == 8
        assert "There is no CPython 3.3 here." in done.err
        assert "apt-get install python3.3" in done.err

    def test_a_wheel_with_another_hash(self, numdev, place):
        if not any((Path(folder) / "python3.11").exists() for folder in os.environ["PATH"].split(":")):
            pytest.skip("there is no CPython 3.11 here")
        wheel = place / "cache" / "wheels" / ("0" * 64) / "tiny-1.0-py3-none-any.whl"
        wheel.parent.mkdir(parents=True)
        wheel.write_bytes(b"not the wheel that was pinned")
        done = numdev("matrix", "run", "m.yaml", "-e", "local")
        assert done.code == 9
        assert "tiny-1.0-py3-none-any.whl in the cache is not the file that is locked" in done.err
        assert "expected sha256 0000" in done.err
        assert not any((place / "cache").rglob("site"))

    def test_a_lock_that_is_missing(self, numdev, place):
        (place / "images" / "two" / "requirements.lock").unlink()
        done = numdev("matrix", "run", "m.yaml", "-e", "local", "-k", "two")
        assert done.code == 3
        assert "requirements.lock" in done.err


class TestDocker:
    def run(self, place, *arguments):
        return subprocess.run([*NUMDEV, *arguments], cwd=place, capture_output=True, text=True, check=False, timeout=60)

    @pytest.mark.parametrize("command", [("matrix", "run", "m.yaml", "-e", "docker"), ("images", "build", "one")])
    def test_no_engine_answers(self, place, command):
        done = self.run(place, *command)
        assert done.returncode == 6
        assert "Traceback" not in done.stderr
        assert "No Docker engine answers at unix:///nonexistent." in done.stderr
        assert "--engine local" in done.stderr

    def test_auto_says_that_it_falls_back(self, place):
        edit(place / "images" / "base" / "bookworm.yaml", '"3.11"', '"3.3"')
        for name in ("one", "two"):
            edit(place / "images" / name / "stack.yaml", '"3.11"', '"3.3"')
        done = self.run(place, "matrix", "run", "m.yaml")
        assert done.returncode == 8, "it got as far as the local engine"
        assert "Running on the local engine instead" in done.stderr

    def test_doctor_goes_on_without(self, place):
        done = self.run(place, "doctor", "--json")
        assert done.returncode == 0
        found = {check["name"]: check for check in json.loads(done.stdout)}
        assert found["Docker"]["state"] == "missing"
        assert "local engine" in found["Docker"]["remedy"]


class TestProfile:
    @pytest.fixture
    def refusing(self, monkeypatch):
        host = replace(cpu.host(), refusal="it does not offer CPUID faulting", rewriting="tracing is forbidden")
        monkeypatch.setattr(cpu, "host", lambda: host)

    @pytest.mark.usefixtures("refusing")
    def test_as_is_refused(self, numdev):
        done = numdev("as", "haswell", "--", "true")
        assert done.code == 7
        for word in ("haswell", "tracing is forbidden", "numdev doctor"):
            assert word in done.err

    @pytest.mark.usefixtures("refusing")
    def test_in_a_matrix_it_is_said_before_and_after(self, numdev, place, plays):
        plays()
        edit(place / "m.yaml", "[one, two]", "[one], profile: [host, haswell]")
        checked = numdev("matrix", "check", "m.yaml")
        assert checked.code == 0
        assert "haswell (it does not offer CPUID faulting)" in " ".join(checked.out.split())
        done = numdev("matrix", "run", "m.yaml")
        assert done.code == 4
        assert "it does not offer CPUID faulting" in done.err
        assert "haswell" in done.out

    def test_an_unknown_one(self, numdev):
        done = numdev("as", "z80", "--", "true")
        assert done.code == 3
        assert "haswell" in done.err, "those that there are get listed"
        assert numdev("platform", "show", "z80").code == 3


class TestDisk:
    def test_a_full_one(self, numdev, place, plays, monkeypatch):
        plays()

        def full(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            done = numdev("matrix", "run", "m.yaml")
        assert done.code == 11
        assert "The disk is full" in done.err
        assert "Free some space" in done.err
        assert written(place) == [], "nothing half-written"
        assert numdev("matrix", "run", "m.yaml").code == 0

    def test_one_that_fills_up_in_the_middle(self, numdev, place, plays, monkeypatch):
        opened = plays()
        count, real = [], os.fsync

        def full(handle):
            count.append(handle)
            if len(count) > 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            assert numdev("matrix", "run", "m.yaml").code == 11
        assert opened[0].stopped
        assert not [name for name in written(place) if Path(name).name.startswith(".")]
        assert numdev("matrix", "run", "m.yaml").code == 0
        assert numdev("store", "verify").code == 0

    def test_one_that_may_not_be_written(self, numdev, place, plays, monkeypatch):
        plays()

        def refused(*_, **__):
            raise PermissionError(errno.EACCES, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr("tempfile.mkstemp", refused)
            done = numdev("matrix", "run", "m.yaml")
        assert done.code == 11
        assert "may not be written" in done.err


class TestStore:
    def test_from_a_newer_version(self, numdev, place, plays):
        plays()
        (place / "numdev-store").mkdir()
        (place / "numdev-store" / "numdev-store.json").write_text('{"store": 2}')
        for command in (("matrix", "run", "m.yaml"), ("matrix", "plan", "m.yaml"), ("report",), ("store", "verify")):
            done = numdev(*command)
            assert done.code == 10
            assert "from a newer numdev" in done.err

    def test_none_at_all(self, numdev, place):
        assert numdev("report").code == 10
        assert numdev("store", "verify").code == 10

    def test_a_folder_that_is_none(self, numdev, place, plays):
        plays()
        (place / "images" / "keep").write_text("")
        done = numdev("matrix", "run", "m.yaml", "--store", "images")
        assert done.code == 10
        assert "not empty" in done.err

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"store": "1"}'])
    def test_a_damaged_marker(self, numdev, place, text):
        (place / "numdev-store").mkdir()
        (place / "numdev-store" / "numdev-store.json").write_text(text)
        assert numdev("store", "verify").code == 10

    def test_damage_is_listed(self, numdev, place, plays):
        plays()
        assert numdev("matrix", "run", "m.yaml").code == 0
        whole = numdev("store", "verify")
        assert whole.code == 0
        assert "2 records" in whole.out
        tensor = next((place / "numdev-store" / "tensors").rglob("*.npy"))
        data = bytearray(tensor.read_bytes())
        data[-1] ^= 1
        tensor.write_bytes(data)
        record = next((place / "numdev-store" / "records").rglob("*.json"))
        record.write_text("{}")
        done = numdev("store", "verify")
        assert done.code == 10
        assert tensor.name in done.err
        assert record.name in done.err
        assert numdev("report").code == 10

    def test_a_newer_record(self, numdev, place, plays):
        plays()
        assert numdev("matrix", "run", "m.yaml").code == 0
        record = next((place / "numdev-store" / "records").rglob("*.json"))
        record.write_text(json.dumps({**json.loads(record.read_text()), "record": SCHEMA + 1}))
        done = numdev("report")
        assert done.code == 10
        assert "from a newer numdev" in done.err


def test_a_run_that_crashes_in_the_middle_leaves_a_whole_store(numdev, place, plays):
    def player(stack, cell, table):
        if stack == "two":
            raise KeyboardInterrupt
        return Played({"y": np.zeros(2)})

    plays(player)
    done = numdev("matrix", "run", "m.yaml", "-j", "1")
    assert done.code == 130
    assert "run the same command again" in done.err
    assert Store.open(place / "numdev-store").verify() == []
