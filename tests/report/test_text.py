"""What a person sees: 80 columns, without colour, the same each time."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from numdev.analysis import Observation, OutputRef, answer
from numdev.report import print_answer
from numdev.report.schema import text as schema_text

SNAPSHOT = Path(__file__).with_name("answer.txt")
ORDER = {
    "stack": ["onnxruntime-1.17", "onnxruntime-1.32"],
    "profile": ["host", "sandybridge", "haswell", "zen2"],
    "threads": ["1", "4"],
}
FACTS = {"host": "AVX-512", "sandybridge": "AVX", "haswell": "AVX2", "zen2": "AVX2"}
LOGITS = np.linspace(-2, 3, 40, dtype=np.float32).reshape(4, 10)
EXACT = np.arange(64, dtype=np.int64).reshape(4, 16)


def planted(name, cell, replicate):
    tier = sorted(set(FACTS.values())).index(FACTS[cell["profile"]])
    if name == "matmul-u8s8":
        if cell["profile"] == "zen2":
            return "signal:6"
        return (EXACT + 255822 * (cell["profile"] == "haswell")).astype(np.int32)
    if name == "noisy-net":
        if cell["stack"] == "onnxruntime-1.17":
            return "unsupported"
        return LOGITS + np.float32(1e-6 * replicate * (cell["threads"] == "4"))
    return LOGITS + np.float32(1e-6) * np.float32(tier + 4 * (cell["stack"] == "onnxruntime-1.17"))


def demo(refused=None):
    store, found = {}, []

    def add(name, factors, outcome, replicate=0, reference=False):
        outputs, status, reason = (), "ok", ""
        if isinstance(outcome, str):
            status, reason = outcome, "[as planted]"
        else:
            address = f"{outcome.dtype}{outcome.shape}{outcome.tobytes()}"
            store[address] = outcome
            outputs = (OutputRef("y", str(outcome.dtype), outcome.shape, address),)
        found.append(Observation(name, factors, replicate, status, reason, outputs, reference, str(len(found))))

    for name in ("matmul-u8s8", "noisy-net", "small-cnn"):
        for levels in itertools.product(*ORDER.values()):
            cell = dict(zip(ORDER, levels, strict=True))
            for replicate in range(3):
                add(name, cell, planted(name, cell, replicate), replicate)
    add("matmul-u8s8", {}, EXACT, reference=True)
    add("small-cnn", {}, LOGITS.astype(np.float64), reference=True)
    baseline = {"stack": "onnxruntime-1.32", "profile": "host", "threads": "1"}
    facts = {name: {"simd": simd} for name, simd in FACTS.items()}
    more = {"profile_facts": facts, "refused": refused}
    return answer(found, store.__getitem__, baseline=baseline, order=ORDER, labels={}, **more)


def printed(result, width=80, **how):
    console = Console(file=io.StringIO(), width=width, **how)
    print_answer(result, console)
    return console.file.getvalue()


def trimmed(text):
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def test_text_is_as_kept():
    """To renew answer.txt: delete it and run this test twice."""
    text = trimmed(printed(demo()))
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(text, encoding="utf-8")
        pytest.fail(f"wrote {SNAPSHOT}: read it, then run again")
    assert text == SNAPSHOT.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_fits(width):
    result = demo(refused={"skylake-sp": "this host has no AVX-512 [no markup]"})
    assert max(len(line) for line in printed(result, width).splitlines()) <= width


def test_colour_changes_nothing_but_colour():
    coloured = printed(demo(), force_terminal=True, color_system="truecolor")
    plain = printed(demo())
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    assert "WRONG" in plain


def test_what_users_wrote_is_not_markup():
    assert "[as planted]" in printed(demo())


def check(value, schema, root, at="$"):
    """As much of JSON Schema as the answer's uses; anything else is an error of this test."""
    known = {
        "$ref",
        "anyOf",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
    }
    ignored = {"title", "description", "default", "maxItems", "minItems", "$defs", "$schema"}
    assert set(schema) <= known | ignored, (at, set(schema))
    if "$ref" in schema:
        return check(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, at)
    if "anyOf" in schema:
        return any(fits(value, each, root) for each in schema["anyOf"]) or pytest.fail(f"{at}: {value!r}")
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
        "null": type(None),
    }
    assert isinstance(value, kinds[schema["type"]]), (at, value)
    if schema["type"] == "object":
        properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        assert set(schema.get("required", ())) <= set(value), at
        for name, each in value.items():
            assert name in properties or more is not False, (at, name)
            inner = properties.get(name, more)
            if inner is not True:
                check(each, inner, root, f"{at}.{name}")
    if schema["type"] == "array" and "items" in schema:
        for place, each in enumerate(value):
            check(each, schema["items"], root, f"{at}[{place}]")
    return True


def fits(value, schema, root):
    try:
        return check(value, schema, root)
    except (AssertionError, pytest.fail.Exception):
        return False


def test_the_json_is_what_the_schema_says():
    root = json.loads(schema_text())
    data = json.loads(json.dumps(demo().json(), allow_nan=False))
    assert check(data, root, root)
    assert not fits({**data, "more": 1}, root, root)
    assert not fits({**data, "deviates": "yes"}, root, root)
