"""Records of machines: written the same each time, read as a stranger's, and captures too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from numdev import cpu
from numdev.cpu.capture import Capture
from numdev.cpu.machine import Measured, Record, read_record
from numdev.errors import InvalidInput

A, B = "a" * 64, "b" * 64
LEAVES = {
    (0, 0): (0xD, 0x756E6547, 0x6C65746E, 0x49656E69),
    (1, 0): (0x306F2, 0, 0, 0),
    (0x80000000, 0): (0x80000008, 0, 0, 0),
}
MEASURED = Measured(stack=A, battery=B, dispatch={"openblas": "Haswell"}, operations={"numpy exp": A, "BLAS sgemm": B})
RECORD = Record(Capture(LEAVES, {"kernel": "6.1.0"}, {"rcpps": A}), {"numpy-2.4": MEASURED})


def test_it_round_trips_and_its_bytes_are_the_same_each_time(tmp_path):
    RECORD.write(tmp_path / "one.json")
    assert read_record(tmp_path / "one.json") == RECORD
    read_record(tmp_path / "one.json").write(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_record_is_read_wherever_a_capture_is(tmp_path):
    RECORD.write(tmp_path / "machine.json")
    assert cpu.read_capture(tmp_path / "machine.json") == RECORD.capture
    assert cpu.find("machine.json", tmp_path).signature == 0x306F2
    shown = cpu.shown("machine.json", cpu.Host(LEAVES, ""), folder=tmp_path)
    assert shown.table.values[1, None][0] == 0x306F2


def changed(**parts) -> str:
    data = RECORD.json()
    measured = data["stacks"]["numpy-2.4"]
    for key, value in parts.items():
        measured[key] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ("{}", "has no numdev-record"),
        (json.dumps(RECORD.capture.json()), "a capture, without results"),
        (json.dumps({**RECORD.json(), "numdev-record": 2}), "numdev-record"),
        (json.dumps({**RECORD.json(), "stacks": {}}), "stacks"),
        (json.dumps({**RECORD.json(), "host": "me"}), "unknown key"),
        ('{"numdev-record": 1, "numdev-record": 1}', "a key stands twice"),
        (changed(operations={}), "operations"),
        (changed(operations={"numpy exp": "abc"}), "operations"),
        (changed(operations={f"op {number}": A for number in range(5001)}), "more than 5000 keys"),
        (changed(dispatch={"openblas": "\x1b[2J"}), "dispatch"),
        (changed(dispatch={"numpy": "A" * 5000}), "dispatch"),
        (changed(threads=2), "threads"),
        (changed(stack="x"), "stack"),
    ],
)
def test_what_is_no_record_is_refused(content, said, tmp_path):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InvalidInput) as caught:
        read_record(tmp_path / "m.json")
    assert said in str(caught.value)


def test_a_gigantic_record_is_refused(tmp_path, monkeypatch):
    RECORD.write(tmp_path / "m.json")
    monkeypatch.setattr(cpu.machine.dump, "LIMIT", 100)
    with pytest.raises(InvalidInput, match="too large"):
        read_record(tmp_path / "m.json")


MACHINES = sorted((Path(__file__).resolve().parents[1] / "machines").glob("*.json"))


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_those_of_the_repository_name_nobody_and_are_as_written(path, tmp_path):
    record = read_record(path)
    record.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert os.uname().nodename not in path.read_text()
    assert set(record.capture.facts) <= {"kernel", "libc", "microcode", "hypervisor", "emulator"}
    assert cpu.profile_of(record.capture, path.stem).features
