"""What holds whatever the bytes are: a table, a clear refusal, and nothing else.

Each input is tried as a dump, a capture, a record and a table, for all are read from files that strangers wrote.
"""

from __future__ import annotations

import json

from numdev import cpu
from numdev.cpu.capture import capture_of
from numdev.cpu.dump import LEAVES
from numdev.cpu.machine import record_of
from numdev.cpu.table import build, check_subset
from numdev.errors import InvalidInput
from numdev.worker.cpuid import TableError, parse

# A processor that is not asked: the real one's self-test would start processes from inside the fuzzer.
HOST = cpu.Host({(0, 0): (0x24, 0, 0, 0), (0x80000000, 0): (0x80000021, 0, 0, 0), (1, 0): (0, 0, 0, 0)}, "")


def one_input(data: bytes) -> None:
    _capture(data)
    _record(data)
    _table(data.decode("latin-1"))


def _capture(data: bytes) -> None:
    try:
        captured = capture_of(data, "x")
    except InvalidInput as error:
        _clear(error)
        return
    assert 1 <= len(captured.leaves) <= LEAVES
    assert all(0 <= word <= 0xFFFFFFFF for key, row in captured.leaves.items() for word in (*key, *row))
    assert capture_of(json.dumps(captured.json()).encode(), "x") == captured
    try:
        # Its words are printed: none may steer a terminal.
        assert all(line.isprintable() for line in cpu.differences(captured, cpu.Capture(HOST.leaves)))
        profile = cpu.profile_of(captured, "x")
    except InvalidInput as error:
        _clear(error)
        return
    table = build(profile, HOST)
    assert check_subset(table, HOST) == []
    assert parse(table.text()).text() == table.text()


def _record(data: bytes) -> None:
    try:
        record = record_of(data, "x")
    except InvalidInput as error:
        _clear(error)
        return
    assert record_of(json.dumps(record.json()).encode(), "x") == record


def _table(text: str) -> None:
    try:
        table = parse(text)
    except TableError as error:
        assert str(error).isprintable()  # noqa: PT017
        return
    assert parse(table.text()).text() == table.text()


def _clear(error: InvalidInput) -> None:
    assert 1 <= len(error.problems) <= 20
    assert all(line.isprintable() for line in str(error).splitlines())
