"""Cells: one workload under one level of each factor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numdev import digests
from numdev.spec import architecture, identity

# The factors a matrix may vary, with the level each has where the matrix says nothing. A batch of `all` is the
# workload's inputs as they are.
DEFAULTS: dict[str, Any] = {
    "profile": identity.HOST,
    **dict.fromkeys(identity.FACTORS, identity.OWN),
    "threads": 1,
    "optimization": "all",
    "precision": "float32",
    "batch": "all",
    "silicon": "native",
    "architecture": architecture.own(),
}
# Factors that a digest has by what they come to, and not by their level.
COVERED = frozenset(("stack", "profile", *identity.FACTORS))
# Which processor computes: this machine's, or an emulator's that shows the same profile.
NATIVE, EMULATED = SILICON = ("native", "emulated")
OPTION = re.compile(r"(?:session|env)\.[A-Za-z_][A-Za-z0-9_.]{0,63}")


@dataclass(frozen=True)
class Cell:
    """One workload under one level of each factor; `factors` always holds `stack` and all of DEFAULTS."""

    workload: str
    factors: Mapping[str, Any]

    @property
    def stack(self) -> str:
        return self.factors["stack"]

    @property
    def profile(self) -> str:
        """The whole CPU that is shown: the level of `profile` with what `features`, `vendor`, ... change of it."""
        return identity.compose(self.factors)

    @property
    def architecture(self) -> str:
        return self.factors["architecture"]

    @property
    def foreign(self) -> bool:
        """Whether its programs are for another architecture than this machine's."""
        return self.architecture != architecture.own()

    @property
    def software(self) -> str:
        """The stack, with its architecture where that is not this machine's: what an environment is made for."""
        return f"{self.stack} {self.architecture}" if self.foreign else self.stack

    @property
    def emulated(self) -> bool:
        return self.factors["silicon"] == EMULATED

    def prefixed(self, kind: str) -> dict[str, str]:
        """The levels of `session.*` or `env.*` factors, by the name after the dot."""
        start = f"{kind}."
        return {key[len(start) :]: value for key, value in sorted(self.factors.items()) if key.startswith(start)}

    def label(self) -> str:
        """A short name for people: only what is not at its default."""
        parts = [self.workload, self.stack, self.profile]
        for key, value in self.factors.items():
            if key not in COVERED and DEFAULTS.get(key) != value:
                parts.append(f"{key}={value}")
        return " ".join(parts)

    def json(self) -> dict[str, Any]:
        return {"workload": self.workload, "factors": dict(self.factors)}

    def digest(
        self,
        *,
        stack: str,
        platform: str,
        table: str,
        workload: str,
        worker: str,
        replicate: int,
        rounds: int = 1,
        tap: str = "",
    ) -> str:
        """The name of one replicate's result: over everything that can matter for its bytes.

        Args:
            stack: digest of the stack's site, base and CPython.
            platform: digest of the real processor's identity.
            table: digest of the CPUID table shown, or "host".
            workload: digest of the prepared workload.
            worker: digest of the code that runs in the cell.
            replicate: the number of the repetition, from 1.
            rounds: how many inferences its process makes.
            tap: what is looked at besides its outputs, or "".
        """
        options = {key: value for key, value in self.factors.items() if key not in COVERED}
        if not self.emulated:
            # The default came later than the first stores, whose names for the same causes are still good.
            del options["silicon"]
        if self.architecture == architecture.X86:
            # So did this one.
            del options["architecture"]
        # More than one is asked for since later, and one has the name that it always had.
        several = {"rounds": rounds} if rounds != 1 else {}
        looked = {"tap": tap} if tap else {}
        return digests.of_json(
            {
                "cell": 1,
                **several,
                **looked,
                "stack": stack,
                "platform": platform,
                "table": table,
                "workload": workload,
                "worker": worker,
                "options": options,
                "replicate": replicate,
            }
        )
