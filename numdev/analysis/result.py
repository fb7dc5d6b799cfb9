"""The answer as data: what `numdev ... --json` prints, with a schema."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from numdev.analysis.attribution import FactorShare, GroupShare
from numdev.analysis.deviation import Deviation
from numdev.analysis.effects import Effect
from numdev.analysis.hosts import Host, Hosts
from numdev.analysis.indices import Interaction
from numdev.analysis.peroutput import OutputClasses
from numdev.analysis.reference import Judgement
from numdev.analysis.repeats import Repeats
from numdev.analysis.sufficient import Sufficient
from numdev.analysis.suspects import Suspect
from numdev.analysis.table import Table

VERSION = 2


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassAnswer(_Model):
    """One equivalence class. `size` is its deviation from the class named `Workload.against`, None there and
    for cells that gave no outputs; `closer` says whether it is closer to the reference than that class.

    `spans` is true where the class holds several batch sizes, equal in all samples in common; `alike` names
    classes of other batch sizes that are so too and could not be joined without contradiction.
    """

    name: str
    failed: bool
    cells: int
    where: str
    levels: tuple[dict[str, str], ...]
    records: tuple[str, ...]
    spans: bool
    alike: tuple[str, ...]
    reasons: tuple[str, ...]
    size: Deviation | None
    outputs: dict[str, Deviation]
    changed_labels: tuple[str, ...]
    reference: Judgement | None
    closer: str


class OddCell(_Model):
    """A cell without a class: `kind` is `noisy` or `gap`; a suspect is a gap of the status `suspect`."""

    kind: str
    levels: dict[str, str]
    status: str
    reason: str
    records: tuple[str, ...]


class NoisyCell(_Model):
    """A cell whose repeats differ. `runs` counts its processes by outcome, `inferences` those inside processes, where
    there were several: a class that has these bytes, a status, or `~1`, `~2`, ... for outcomes that no class has.
    """

    levels: dict[str, str]
    runs: dict[str, int]
    inferences: dict[str, int]


class CellAnswer(_Model):
    """A cell's place in the partition: `outcome` is the name of its class, `~` for a noisy cell, and empty for a gap."""

    levels: dict[str, str]
    outcome: str


class Sentence(_Model):
    """What a person reads: `about` is a factor, `run-to-run`, `reference`, `together`, ..."""

    about: str
    text: str


class WorkloadAnswer(_Model):
    """One workload. `against` names the class that sizes are measured from: the baseline's, else the largest.

    `cells` counts cells by status: that of their class, `ok` where it has outputs, `noisy`, or why there is none.
    `partition` has every cell's class; `outputs` those of each output alone. `factors` (or those asked for), `groups`,
    `interactions`, `missing_cells` and `attribution_notes` are the attribution, `group_sets` the minimal sufficient sets of
    groups, and `complete` says whether every combination of levels has a class. `noise`: the noisy cells. `runs` counts
    cells' runs without those of the reference; `short` are the replicates that gave nothing in cells that have a class
    nevertheless. `closest`: the classes nearest to the reference. `suspects` are the cells that were set apart because
    rounding cannot explain them: they count as cells, and in no class. `suspect` are classes that the reference tells so.
    `hosts` is what the pairs of hosts show, where runs of several machines were joined.
    """

    workload: str
    cells: dict[str, int]
    runs: int
    levels: dict[str, tuple[str, ...]]
    classes: tuple[ClassAnswer, ...]
    partition: tuple[CellAnswer, ...]
    outputs: tuple[OutputClasses, ...]
    noise: tuple[NoisyCell, ...]
    without_class: tuple[OddCell, ...]
    suspects: tuple[Suspect, ...] = ()
    short: int
    table: Table
    effects: tuple[Effect, ...]
    sufficient: Sufficient
    factors: dict[str, FactorShare]
    groups: dict[str, GroupShare]
    group_sets: tuple[tuple[str, ...], ...]
    complete: bool
    interactions: tuple[Interaction, ...]
    missing_cells: tuple[dict[str, str], ...]
    attribution_notes: tuple[str, ...]
    repeats: Repeats
    against: str
    against_is_baseline: bool
    closest: tuple[str, ...]
    wrong: tuple[str, ...]
    suspect: tuple[str, ...]
    deviates: bool
    verdict: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    hosts: Hosts | None = None

    @property
    def cell_count(self) -> int:
        return sum(self.cells.values())


class Answer(_Model):
    """What the observations say, workload by workload.

    `deviates`: some workload has more than one class, a noisy cell, or a class that is wrong against its
    reference. `complete`: every run gave a result or is `unsupported` by its stack, and no level was
    refused. `missing` counts the runs of every other status; `refused` are levels that this host could not
    show, with the reason.
    """

    version: int = VERSION
    baseline: dict[str, str]
    workloads: tuple[WorkloadAnswer, ...]
    refused: dict[str, str]
    missing: dict[str, int]
    deviates: bool
    complete: bool
    short: tuple[str, ...]
    hosts: dict[str, Host] = {}

    def json(self) -> dict[str, Any]:
        """Plain JSON data: no NaN, no infinity."""
        data = self.model_dump(mode="json")
        for one in (data, *data["workloads"]):
            # Answers of one machine are older than the question.
            if not one["hosts"]:
                del one["hosts"]
        return data


def schema() -> dict[str, Any]:
    """The JSON Schema of `Answer.json()`; docs/answer.schema.json is this."""
    return Answer.model_json_schema(mode="serialization")
