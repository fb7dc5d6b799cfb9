"""Workloads as declared: a model, its inputs and what is done to them first."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from numdev.errors import InvalidInput, Problem
from numdev.spec import yamlfile

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
SUFFIXES = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "export", ".npz": "net", ".tflite": "tflite"}
_MODULE = re.compile(r"[^:]+:[A-Za-z_][A-Za-z0-9_]*")


class Preprocess(yamlfile.Strict):
    """What happens to images before the model sees them, in this order: decode, convert, resize, scale, lay out.

    The value given to the model is `(pixel * scale - mean) / std` with pixels from 0 to 255, as float32.
    """

    input: str = Field(description="name of the model's input")
    size: tuple[int, int] = Field(description="width and height in pixels", strict=False)
    resize: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    scale: str = Field(default="1/255", pattern=r"^1(/[1-9][0-9]{0,4})?$")
    mean: list[str] = ["0"]
    std: list[str] = ["1"]

    @model_validator(mode="after")
    def _sound(self) -> Preprocess:
        wrong = []
        if not all(1 <= extent <= 16384 for extent in self.size):
            wrong.append("size must be two numbers of pixels from 1 to 16384")
        count = 1 if self.channels == "gray" else 3
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, count):
                wrong.append(f"{name} must have one value" + ("" if count == 1 else f" or {count}"))
            if not all(re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,12})?", value) for value in values):
                wrong.append(f'{name} must be decimal numbers as text, such as "0.5"')
            elif name == "std" and any(float(value) == 0 for value in values):
                wrong.append("std must not be zero")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class DeclaredWorkload(yamlfile.Strict):
    """One workload of a matrix. Paths are relative to the matrix file."""

    name: str
    builtin: str | None = Field(default=None, min_length=1)
    model: str | None = Field(default=None, min_length=1)
    format: Literal["onnx", "net", "torchscript", "export", "tflite"] | None = None
    module: str | None = Field(default=None, min_length=1, description="file.py:function or package.module:function")
    command: list[str] | None = Field(default=None, min_length=1, max_length=1000)
    files: list[str] = Field(default=[], max_length=1000)
    inputs: str | None = Field(default=None, min_length=1, description="a .npz, arrays named as the model's inputs")
    images: list[str] | None = Field(default=None, min_length=1, max_length=10_000)
    preprocess: Preprocess | None = None
    labels: Annotated[list[str], Field(max_length=100_000)] | str = Field(
        default=[], description="names of the classes, or a text file with one a line"
    )

    @model_validator(mode="after")
    def _sound(self) -> DeclaredWorkload:
        wrong = []
        if not NAME.fullmatch(self.name):
            wrong.append(f"the name {self.name!r} must be lower-case letters, digits, '.', '_' and '-'")
        kinds = [kind for kind in ("builtin", "model", "module", "command") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            wrong.append("exactly one of builtin, model, module and command must be given")
        if self.builtin and (self.inputs or self.images or self.files or self.labels):
            wrong.append("a built-in workload brings its own inputs, files and labels")
        if self.command and not self.command[0]:
            wrong.append("the first word of command is empty: it names the program")
        if self.format and not self.model:
            wrong.append("format belongs to a model")
        if self.inputs and self.images:
            wrong.append("inputs and images exclude each other")
        if (self.images is None) != (self.preprocess is None):
            wrong.append("images and preprocess belong together")
        if self.model and not self.format and self.model_format is None:
            wrong.append(f"the format of {self.model!r} is not known from its ending: give `format`")
        if self.model and not (self.inputs or self.images):
            wrong.append("a model needs inputs or images")
        if self.module and not _MODULE.fullmatch(self.module):
            wrong.append("module must be file.py:function or package.module:function")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def model_format(self) -> str | None:
        """The format of the model's file, as given or by its ending."""
        if self.format or not self.model:
            return self.format
        return next((format for suffix, format in SUFFIXES.items() if self.model.endswith(suffix)), None)


def parse_workload(value: str | dict[str, Any], where: str) -> DeclaredWorkload:
    """A workload as a matrix lists it: a built-in's name, or a mapping.

    Args:
        where: file and key, for problems.

    Raises:
        InvalidInput: with all problems.
    """
    if isinstance(value, str):
        if not NAME.fullmatch(value) or value.endswith(tuple(SUFFIXES)):
            raise InvalidInput(
                f"{where} is not valid.",
                [
                    Problem(
                        where,
                        f"{value!r} is no name of a built-in workload",
                        "for a model of your own write {name: ..., model: ..., inputs: ...}",
                    )
                ],
            )
        value = {"name": value, "builtin": value}
    return yamlfile.validate(DeclaredWorkload, value, where)
