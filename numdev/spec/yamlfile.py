"""YAML as people mean it: strings stay strings, a key appears once, and hostile files stay small.

PyYAML's own rules turn `2.10` into 2.1, `no` into False and `1_0` into 10. Here only plain decimal integers, `true`,
`false` and `null` are anything but a string; a version is therefore always the text that was written.
"""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from numdev.errors import InvalidInput, Problem
from numdev.files import read_bytes

LIMIT = 1 << 20
DEPTH = 40


class _Loader(yaml.SafeLoader):
    """Safe, without aliases (they can blow up), with few implicit types and unique keys."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported", problem_mark=event.start_mark)
        event = self.peek_event()
        if event.tag is not None:
            # PyYAML's constructors trust a tag: `!!int ""` or `!!map [a]` makes them fail in ways of their own.
            raise yaml.MarkedYAMLError(problem="tags (!name) are not supported", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > DEPTH:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key_node.start_mark)
            key = key_node.value
            if key in result:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            result[key] = self.construct_object(value_node, deep=True)
        return result


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]{0,17})$"), list("-0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_Loader.add_constructor(
    "tag:yaml.org,2002:map", lambda loader, node: _Loader.construct_mapping(loader, node, deep=True)
)


class Strict(BaseModel):
    """The base of all declared things: unknown keys are errors, nothing is converted, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=BaseModel)


def parse(data: bytes, where: str) -> dict[str, Any]:
    """The mapping in a YAML document; raises InvalidInput with the line of what is wrong."""
    try:
        value = yaml.load(data.decode("utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where} is not text.", [Problem(where, f"not UTF-8 at byte {error.start}")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"{where}:{mark.line + 1}" if mark else where
        raise InvalidInput(f"{where} is not valid YAML.", [Problem(line, str(error.problem))]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInput(f"{where} is not valid YAML.", [Problem(where, " ".join(str(error).split()))]) from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is not valid.", [Problem(where, "must be a mapping of keys to values")])
    return value


def read(path: Path) -> dict[str, Any]:
    return parse(read_bytes(path, LIMIT), str(path))


def validate(model: type[Model], value: Any, where: str) -> Model:
    """`value` as a `model`; raises InvalidInput with every problem, its key and a remedy."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInput(f"{where} is not valid.", _problems_of(error, value, where)) from None


def _keys(value: Any, loc: tuple[int | str, ...]) -> list[str]:
    """The user's own keys on the way to what was found; pydantic's names for the members of a union lie between them."""
    keys = []
    for part in loc:
        if part in (value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()):
            value = value[part]
            keys.append(str(part))
    return keys


def _problems_of(error: ValidationError, value: Any, where: str) -> list[Problem]:
    """pydantic's findings in our words."""
    found = []
    texts: dict[str, Problem] = {}
    for item in error.errors(include_url=False):
        keys = _keys(value, item["loc"])
        kind, message = item["type"], item["msg"]
        shown = reprlib.repr(item["input"])
        remedy = ""
        if kind == "missing":
            keys.append(str(item["loc"][-1]))
        place = f"{where}: {'.'.join(keys)}" if keys else where
        if kind == "extra_forbidden":
            message, remedy = "unknown key", "check the spelling, or remove it"
        elif kind == "missing":
            message, remedy = "missing", "add it"
        elif kind == "string_type":
            message, remedy = f"must be text, not {shown}", 'put it in quotes: "..."'
            texts[place] = Problem(place, message, remedy)
        elif kind == "value_error":
            message = str(item["ctx"]["error"])
        elif kind in ("int_type", "int_parsing"):
            message = f"must be a whole number, not {shown}"
            if place in texts:
                found.remove(texts.pop(place))
                message = f"must be text or a whole number, not {shown}"
        elif kind == "dict_type" and place in texts:
            found.remove(texts.pop(place))
            message = f"must be text or a mapping, not {shown}"
        found.append(Problem(place, message, remedy))
    return sorted(set(found))
