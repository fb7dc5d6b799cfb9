"""JSON of a stranger's, in bounds: what is parsed can be walked, compared, written and printed without surprises."""

from __future__ import annotations

import json
import math
from typing import Any

from numdev.errors import InvalidInput, Problem

DEPTH = 32
# Keys of one object, and values of all of it: each may be a problem to tell, and takes up to some hundred bytes once it is parsed.
KEYS, PARTS = 20_000, 300_000
# The same of a line, of which several are in memory: the layers of the largest model that is looked into have half of that.
LINE_PARTS = 100_000
# Of a number, in characters: floats as Python writes them have 24 at most.
_NUMBER = 40


def parsed(data: bytes, where: str, parts: int = PARTS) -> dict[str, Any]:
    """One JSON object: each key once, no NaN or infinity, numbers as long as numbers are, not too deep, and only text that is text.

    parts: the most values that may be in it, see `values`.

    Raises:
        InvalidInput: it is none; `where` names it.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where} is not text.", [Problem(where, f"not UTF-8 at byte {error.start}")]) from None
    if values(data) > parts:
        raise InvalidInput(f"{where} is not valid.", [Problem(where, f"more than {parts} values")])
    try:
        value = json.loads(text, parse_constant=_no, parse_int=_whole, parse_float=_fraction, object_pairs_hook=_once)
        if data.count(b"{") + data.count(b"[") > DEPTH:
            _shallow(value)
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{where} is not text.", [Problem(where, "half of a surrogate pair")]) from None
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise InvalidInput(f"{where} is not JSON.", [Problem(where, what)]) from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is not valid.", [Problem(where, "must be an object")])
    return value


def values(data: bytes) -> int:
    """How many values a text has, and no fewer: its commas and its opening brackets, without looking which are within strings."""
    return data.count(b",") + data.count(b"{") + data.count(b"[")


def _no(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _whole(word: str) -> int:
    if len(word) > _NUMBER:
        raise ValueError(f"a number of {len(word)} digits")
    return int(word)


def _fraction(word: str) -> float:
    if len(word) > _NUMBER:
        raise ValueError(f"a number of {len(word)} digits")
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is more than a number can be")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > KEYS:
        raise ValueError(f"an object of more than {KEYS} keys")
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _shallow(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH):
        level = [
            part
            for one in level
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, (dict, list))
        ]
        if not level:
            return
    raise ValueError(f"nested more than {DEPTH} deep")
