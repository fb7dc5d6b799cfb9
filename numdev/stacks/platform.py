"""Which wheels fit: CPython, processor architecture and glibc, as the tags in a wheel's file name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from numdev.errors import StackFailed
from numdev.spec import architecture
from numdev.spec.stack import Stack
from numdev.stacks.lock import Locked, normal

_WHEEL = re.compile(
    r"(?P<name>[A-Za-z0-9._]+)-(?P<version>[A-Za-z0-9._+!]+)(?:-[0-9][A-Za-z0-9_.]*)?"
    r"-(?P<python>[A-Za-z0-9_.]+)-(?P<abi>[A-Za-z0-9_.]+)-(?P<platform>[A-Za-z0-9_.]+)\.whl"
)
# Docker's names of the architectures for which frameworks publish wheels.
ARCHITECTURES = {architecture.X86: "amd64", architecture.ARM: "arm64"}
_LEGACY = {"2.17": "manylinux2014", "2.12": "manylinux2010", "2.5": "manylinux1"}


@dataclass(frozen=True)
class Platform:
    """Linux with glibc on `machine` ("x86_64" or "aarch64"), and CPython `python` ("3.11")."""

    machine: str
    python: str
    glibc: str

    @property
    def architecture(self) -> str:
        return ARCHITECTURES[self.machine]

    @property
    def tag(self) -> str:
        return "cp" + self.python.replace(".", "")

    def platform_tags(self) -> list[str]:
        """The platform part of fitting wheels, the most specific first."""
        tags = []
        for minor in range(int(self.glibc.split(".")[1]), 4, -1):
            tags.append(f"manylinux_2_{minor}_{self.machine}")
            if old := _LEGACY.get(f"2.{minor}"):
                tags.append(f"{old}_{self.machine}")
        return [*tags, f"linux_{self.machine}"]

    def rank(self, filename: str, package: Locked) -> int | None:
        """How well the wheel of this name fits `package` (0 is best), None where it does not."""
        match = _WHEEL.fullmatch(filename)
        if not match or normal(match["name"]) != package.name:
            return None
        if match["version"] != package.version and match["version"].partition("+")[0] != package.version:
            return None
        if not self._fits_python(match["python"].split("."), match["abi"].split(".")):
            return None
        order = [*self.platform_tags(), "any"]
        ranks = [order.index(tag) for tag in match["platform"].split(".") if tag in order]
        return min(ranks, default=None)

    def _fits_python(self, pythons: list[str], abis: list[str]) -> bool:
        minor = int(self.python.split(".")[1])
        if self.tag in pythons and {self.tag, "abi3", "none"} & set(abis):
            return True
        if "abi3" in abis:
            older = (re.fullmatch(r"cp3([0-9]+)", tag) for tag in pythons)
            return any(match and int(match[1]) <= minor for match in older)
        if "none" not in abis:
            return False
        generic = (re.fullmatch(r"py3([0-9]*)", tag) for tag in pythons)
        return any(match and int(match[1] or 0) <= minor for match in generic)


def machine_of(stack: Stack) -> str:
    """The architecture a stack is made for; raises StackFailed where no wheels are published for it."""
    if stack.architecture not in ARCHITECTURES:
        raise StackFailed(
            f"Stacks cannot be made for the architecture {stack.architecture!r}.",
            f"Frameworks publish wheels for {' and '.join(ARCHITECTURES)}.",
            "Run numdev on one of these.",
        )
    return stack.architecture
