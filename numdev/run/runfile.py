"""The file of a run: which records a matrix asked for, and what is needed to answer from them later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, JsonValue

from numdev import cpu
from numdev.analysis import HOST, Answer, Observation, OutputRef, answer
from numdev.analysis import Host as Machine
from numdev.errors import InvalidInput, StoreFailed
from numdev.run import celldigests, identities
from numdev.run.plan import Item, Plan
from numdev.run.resolve import Resolved
from numdev.run.told import notes
from numdev.spec import identity, yamlfile
from numdev.spec.cell import DEFAULTS
from numdev.store import Record, Store


class RunCell(yamlfile.Strict):
    """One replicate that the matrix asked for. Two of them may share a record: equal causes are run once.

    `factors` has the levels of the matrix's factors, of the reference only the task's.
    """

    digest: str
    workload: str
    factors: dict[str, str]
    replicate: int
    reference: bool


# Machines in one run: each is compared with each.
HOSTS = 100
# A host's facts may be a stranger's, and are shown; its names become a part of a level's.
_Word = Annotated[str, Field(max_length=300, pattern=r"^[ -~]*$")]
_Kind = Annotated[str, Field(max_length=100, pattern=r"^[a-z0-9-]*$")]


class Asked(yamlfile.Strict):
    """What the run of one host was before it was joined with others, in the names that it had: all that depends on who else is there follows from it.

    referred: whether it has references. definitions: the SHA-256 of each stack's files, by `digests.of_json`. stacks, workloads: what
    those are called now. The rest is as in `Run`.
    """

    order: list[str] = []
    factors: dict[str, list[str]] = {}
    baseline: dict[str, str] = {}
    reference: dict[str, str] = {}
    referred: bool = False
    lowered: dict[str, str] = {}
    apart: dict[str, str] = {}
    definitions: dict[str, str] = {}
    stacks: dict[str, str] = {}
    workloads: dict[str, str] = {}


class Host(yamlfile.Strict):
    """The machine behind a level of `host`, as the bundle told that its cells are from; see `analysis.hosts.Host`.

    bundle, digest: the bundle that its cells were merged from. platform: the processor's digest. capture: the capture of it among the
    materials. source: its matrix, where the hosts' are not all the same. refused: profiles that it could not show. asked: its run.
    """

    silicon: _Kind = ""
    declared: _Kind = ""
    fingerprint: dict[_Word, _Word] = Field(default={}, max_length=100)
    facts: dict[_Word, _Word] = Field(default={}, max_length=100)
    bundle: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    date: _Word = ""
    numdev: _Word = ""
    run: str = Field(default="", max_length=1000)
    platform: _Word = ""
    capture: str = Field(default="", pattern=r"^((platforms|profiles)/[0-9a-f]{64}\.json)?$")
    source: dict[str, JsonValue] = {}
    refused: dict[str, str] = {}
    asked: Asked = Asked()

    def machine(self) -> Machine:
        return Machine(self.silicon, self.declared, dict(self.fingerprint), dict(self.facts))


class Run(yamlfile.Strict):
    """What one `numdev matrix run` was about."""

    run: int = Field(ge=1, le=1)
    matrix: str
    engine: dict[str, JsonValue]
    factors: dict[str, list[str]]
    order: list[str] = Field(description="the factors as the answer lists them; JSON objects have no order")
    baseline: dict[str, str]
    labels: dict[str, list[str]]
    profiles: dict[str, dict[str, str]]
    refused: dict[str, str]
    lowered: dict[str, str] = Field(default={}, description="profiles shown without features that the host lacks")
    apart: dict[str, str] = Field(default={}, description="architectures and stacks that could not run, and why")
    workloads: dict[str, JsonValue]
    reference: dict[str, str] = Field(default={}, description="the levels of the cell that is the reference, if one is")
    cells: list[RunCell]
    source: dict[str, JsonValue] = Field(default={}, description="the matrix's file")
    made: str = Field(default="", description="the day, in UTC, on which these cells were asked for first")
    materials: dict[str, str] = Field(
        default={}, description="what it was made of, by its name in a bundle: in the store"
    )
    captures: dict[str, str] = Field(
        default={}, description="files that levels of `profile` name, as the matrix has them: their names in a bundle"
    )
    origins: dict[str, str] = Field(default={}, description="where the files of the workloads were, by their SHA-256")
    hosts: dict[str, Host] = Field(
        default={}, max_length=HOSTS, description="the machines of a merged run, by level of `host`"
    )
    joined: list[str] = Field(default=[], description="of a merged run, what did not match and what became of it")
    alike: dict[str, str] = Field(
        default={}, description="CPUID tables that told programs the same and are not equal: what stands for them"
    )

    def host_of(self, record: Record) -> Host | None:
        """The machine of a record of a merged run; None where it is of none that the run tells of."""
        return self.hosts.get(str(record.factors.get(HOST, "")))

    def asked_by(self, host: Host | None) -> dict[str, JsonValue]:
        """The matrix that asked for the cells of a machine, or of the run."""
        return host.source if host and host.source else self.source

    def unmerged(self) -> set[str]:
        """Fields that only merged runs have, where this is none: files of other runs are as they were before there were such."""
        return {key for key in ("hosts", "joined", "alike") if not getattr(self, key)}


def make_run(resolved: Resolved, plan: Plan, engine: dict[str, Any]) -> Run:
    """The description of a run of this plan."""
    matrix = resolved.matrix
    factors = {"stack": [], "profile": [], **{key: [] for key in matrix.factors}}
    cells = {id(item.cell): item.cell for item in plan.items if not item.reference}
    for cell in cells.values():
        for key, level in cell.factors.items():
            if level != DEFAULTS.get(key):
                factors.setdefault(key, [])
    for key, levels in factors.items():
        levels += dict.fromkeys(str(cell.factors.get(key, DEFAULTS.get(key, ""))) for cell in cells.values())
    for key, levels in factors.items():
        declared = [str(level) for level in matrix.factors.get(key, [])]
        levels.sort(key=lambda level: declared.index(level) if level in declared else len(declared))
    return Run(
        run=1,
        matrix=matrix.name,
        engine=engine,
        factors=factors,
        order=list(factors),
        baseline={key: str(matrix.baseline.get(key, levels[0])) for key, levels in factors.items() if levels},
        labels={name: list(workload.labels) for name, workload in resolved.workloads.items() if workload.labels},
        profiles=_facts(factors, resolved),
        refused=resolved.refused,
        lowered=identities.lowered({**resolved.emulated, **resolved.profiles}),
        apart=plan.apart,
        workloads={name: workload.json() for name, workload in sorted(resolved.workloads.items())},
        reference={key: str(level) for key, level in (matrix.reference_cell or {}).items() if key in factors},
        cells=[_cell(item, list(factors)) for item in plan.items],
        source=matrix.source,
    )


def _cell(item: Item, factors: list[str]) -> RunCell:
    keys = ["batch"] if item.reference else factors
    return RunCell(
        digest=item.digest,
        workload=item.cell.workload,
        factors={key: str(item.cell.factors.get(key, DEFAULTS.get(key, ""))) for key in keys if key in factors},
        replicate=item.replicate,
        reference=item.reference,
    )


def _facts(factors: dict[str, list[str]], resolved: Resolved) -> dict[str, dict[str, str]]:
    """Facts of the levels of `profile`, but not those that other factors of this matrix change."""
    changed = {"vendor": factors.get("vendor", []), "simd": factors.get("features", [])}
    return {
        name: {
            key: fact
            for key, fact in profile_facts(name, resolved).items()
            if set(changed.get(key, [])) <= {identity.OWN}
        }
        for name in factors["profile"]
    }


def profile_facts(name: str, resolved: Resolved) -> dict[str, str]:
    """What the analysis may explain a class by; of a profile that cannot be shown here, nothing is explained."""
    if name == cpu.HOST:
        return {"simd": resolved.host.simd, "vendor": resolved.host.vendor}
    shown = resolved.profiles.get(name) or resolved.emulated.get(name)
    return {"simd": shown.profile.simd, "vendor": shown.profile.vendor} if shown and shown.profile else {}


def read_run(store: Store, name: str) -> Run:
    """The run called `name`; StoreFailed where it is missing or damaged."""
    data = store.run(name)
    try:
        run = yamlfile.validate(Run, data, f"run {name}")
    except InvalidInput as error:
        raise StoreFailed(f"The run {name!r} is damaged.", str(error), "Run the matrix again.") from None
    if sorted(run.order) != sorted(run.factors):
        raise StoreFailed(
            f"The run {name!r} is damaged.", "its order is not that of its factors", "Run the matrix again."
        )
    return run.model_copy(update={"factors": {key: run.factors[key] for key in run.order}})


def observe(cell: RunCell, record: Record, exact: bool = True, run: Run | None = None) -> Observation:
    """A record as the analysis sees it, for the cell that asked for it.

    Args:
        exact: what a reference is.
        run: the merged run that it is of, whose hosts are compared: then what programs were told is asked for.
    """
    told, emulated = _told(record, run.alike) if run else ("", False)
    return Observation(
        workload=cell.workload,
        factors=cell.factors,
        replicate=cell.replicate,
        status=record.status,
        reason=record.reason,
        outputs=tuple(
            OutputRef(output.name, output.dtype, tuple(output.shape), output.tensor) for output in record.outputs
        ),
        reference=cell.reference,
        cell=record.digest,
        dispatch=cpu.dispatch(record.realised),
        vouched="workload" in record.causes,
        exact=exact,
        rounds=tuple(record.rounds),
        shown=told,
        emulated=emulated,
        causes=celldigests.origin(record, run.asked_by(run.host_of(record))) if run else "",
    )


def _told(record: Record, alike: Mapping[str, str]) -> tuple[str, bool]:
    """What stands for all that CPUID answered in a cell, "" where that is not known; and whether an emulator computed."""
    profile, table, platform = (
        record.environment.get("profile"),
        record.causes.get("table"),
        record.causes.get("platform"),
    )
    rung = profile.get("rung") if isinstance(profile, dict) else None
    if not table or not platform or record.status in ("unsupported", "unrealised"):
        return "", False
    if rung in (cpu.CPUID, cpu.REWRITE, cpu.EMULATE):
        return alike.get(str(table), str(table)), rung == cpu.EMULATE
    # Knobs leave CPUID as it is.
    return f"{platform} {table}", False


def answer_of(run: Run, store: Store, factors: Sequence[str] = ()) -> Answer:
    """The answer from what the store has of a run; cells that it lacks are missing, and counted as such.

    `factors`: those to attribute to, see `analysis.answer`.
    """
    # What this host could not show is said once, whatever was changed of it.
    cells = [cell for cell in run.cells if cell.reference or identity.compose(cell.factors) not in run.refused]
    found = [(cell, store.record(cell.digest)) for cell in cells if store.has(cell.digest)]
    store.flush()
    return answer(
        [observe(cell, record, not run.reference, run if run.hosts else None) for cell, record in found],
        store.load,
        baseline=run.baseline,
        order=run.factors,
        labels=run.labels,
        profile_facts=run.profiles,
        refused=identities.fewest(run.refused),
        lowered=run.lowered,
        notes=[*notes(found), *_of_hosts(run), *run.joined],
        factors=factors,
        hosts={level: run.hosts[level].machine() for level in run.factors.get(HOST, ()) if level in run.hosts},
    )


def _of_hosts(run: Run) -> list[str]:
    """What some hosts of a merged run could not show, and others could."""
    said = []
    for level, host in sorted(run.hosts.items()):
        if names := [name for name in identities.fewest(host.refused) if name not in run.refused]:
            said.append(f"{level} could not show {', '.join(names)}: what it would give there is not known.")
    return said


def not_run(run: Run, store: Store) -> int:
    """How many of a run's cells the store does not have."""
    return sum(not store.has(cell.digest) for cell in run.cells)
