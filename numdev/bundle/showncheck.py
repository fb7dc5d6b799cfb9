"""Whether programs were shown what lines and records say: the CPUID table of a profile is there, is by its rung, and tells of that profile."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from numdev import __version__, cpu
from numdev.bundle import layout
from numdev.bundle.absent import excused
from numdev.bundle.found import Check
from numdev.bundle.partcheck import Told, replaced
from numdev.bundle.reading import Bundle
from numdev.bundle.survey import mapping
from numdev.cpu import Profile
from numdev.cpu.capture import capture_of, profile_of
from numdev.cpu.emulated import Emulator
from numdev.cpu.profile import Expected
from numdev.cpu.variant import apply
from numdev.errors import InvalidInput
from numdev.spec import identity
from numdev.spec.cell import EMULATED
from numdev.store import Record

# Of a name that is looked up among numdev's own profiles: four factors and a profile have at most so many characters.
_NAME = 700


class Shown:
    """One look at each table under each profile. tables: what each of the bundle's tells, by its digest."""

    def __init__(self, bundle: Bundle, tables: Mapping[str, Told], check: Check) -> None:
        self._bundle, self._tables, self._check = bundle, tables, check
        self._seen: set[tuple[Any, ...]] = set()
        self._files: dict[str, Profile | None] = {}

    def record(self, cell: layout.CellLine, record: Record, where: str) -> None:
        """A line with a record that numdev measured."""
        levels = record.factors if cell.reference else cell.factors
        profile, table = identity.compose(levels), str(record.causes["table"])
        key = (cell.environment, table, profile, cell.factors.get("profile"), record.status == "unsupported")
        if key in self._seen:
            return
        self._seen.add(key)
        told = mapping(record.environment.get("profile"))
        rung = told.get("rung")
        member = f"tables/{table}.txt"
        self._asked(record, rung, told, where)
        own = identity.compose(record.factors)
        if told.get("profile", own) != own:
            self._check.wrong(where, f"was shown {told['profile']!a} by its record, which declares {own!a}")
        if rung in (cpu.CPUID, cpu.REWRITE):
            if member not in self._bundle.members:
                self._missing(member, where)
            elif table in self._tables:
                self._table(cell, record, profile, self._tables[table], told, where)
        elif rung in (cpu.EMULATE, cpu.KNOBS):
            self._computed(record, profile, told, table, where)
        elif profile == identity.HOST:
            self._host(cell, record, where)
        elif table != cpu.HOST and record.status != "unsupported":
            # Nothing shown is nothing but the real processor.
            self._check.wrong(where, f"was shown the table {table[:12]!a}, and nothing says how")

    def _asked(self, record: Record, rung: Any, told: Mapping[str, Any], where: str) -> None:
        """The rung is one that the matrix asked for."""
        run = self._bundle.run
        source = run.asked_by(run.host_of(record))
        enforce = source.get("enforce", cpu.CPUID)
        if record.factors.get("silicon") == EMULATED or told.get("architecture"):
            enforce = cpu.EMULATE
        if source and rung and enforce != cpu.BEST and rung != enforce:
            self._check.wrong(where, f"was shown its profile by {rung!a}, and the matrix asks for {enforce!a}")

    def _missing(self, member: str, where: str) -> None:
        if layout.limit(member) is None:
            self._check.wrong(where, "was shown a table that has no name")
        elif excused(self._bundle, member):
            self._check.note("CPUID tables that programs were shown were not kept, so they are not in it")
        else:
            self._check.wrong(member, f"is missing: {where} was shown it")

    def _table(
        self, cell: layout.CellLine, record: Record, profile: str, shown: Told, told: Mapping[str, Any], where: str
    ) -> None:
        """What a table tells is what its record, the run and the profile's own file say of it."""
        check = self._check
        member = f"tables/{record.causes['table']}.txt"
        if shown.rewritten != (told.get("rung") == cpu.REWRITE):
            check.wrong(
                where, f"is said to have been shown {member} by {told.get('rung')!a}, and the table is for another way"
            )
        if profile == identity.HOST:
            check.wrong(where, f"is said to have seen the real processor, and was shown {member}")
        if not shown.vendor:
            check.note("some CPUID tables name no vendor, so that nothing can be told by them of a profile")
            return
        facts = {"simd": shown.simd, "vendor": shown.vendor}
        said = [(told, "its record")]
        level = cell.factors.get("profile")
        if level == profile:
            said.append((mapping(self._bundle.run.profiles.get(level)), "the run"))
        for source, who in said:
            for name, value in facts.items():
                if source.get(name, value) != value:
                    check.wrong(
                        where, f"{name} of {profile!a} is {source[name]!a}, as {who} says, and {value!a} in {member}"
                    )
        known = self._profile(profile)
        if known is None and _file(profile) and not self._level(profile):
            check.wrong(where, f"the profile {profile!a} is a file, which is not in the bundle, and nothing says why")
        elif known is None:
            check.note(f"the profile {profile} is not known here: that {member} shows it, the bundle's author says")
        if known is None:
            return
        same = shown.vendor == known.vendor and shown.kind == (known.family, known.model, known.stepping)
        if same and shown.features <= set(known.features):
            return
        if self._made_by(record) == __version__:
            check.wrong(where, f"was not shown the profile {profile!a}: {member} is of another processor")
        else:
            check.note(f"the profile {profile} is another one in this numdev than in {self._made_by(record)!a}")

    def _host(self, cell: layout.CellLine, record: Record, where: str) -> None:
        """What the run says of the real processor is what its record, and so its capture, says."""
        real, said = mapping(record.environment.get("platform")), mapping(self._bundle.run.profiles.get(identity.HOST))
        if record.causes["table"] != cpu.HOST and record.status != "unsupported":
            self._check.wrong(
                where, f"saw the real processor, and the table {str(record.causes['table'])[:12]!a} is its cause"
            )
        for name in ("simd", "vendor") if cell.factors.get("profile") == identity.HOST else ():
            if said.get(name, real.get(name)) != real.get(name):
                self._check.wrong(
                    where, f"{name} of the real processor is {real.get(name)!a}, and the run says {said[name]!a}"
                )

    def _computed(self, record: Record, profile: str, told: Mapping[str, Any], table: str, where: str) -> None:
        """What stands for a table where there is none is a digest over how the profile was shown."""
        digest = ""
        needed = ("cpu", "sha256") if told["rung"] == cpu.EMULATE else ("variables",)
        if not all(told.get(key) for key in needed):
            self._check.wrong(where, f"was shown {profile!a} by {told['rung']}, and nothing says as what")
            return
        if told["rung"] == cpu.EMULATE:
            emulator, other = Emulator("", "", str(told["sha256"]), False), str(told.get("architecture", ""))
            how = {"argument": str(told["cpu"]), "emulator": emulator}
            digest = (cpu.Foreign(None, None, other, **how) if other else cpu.Emulated(None, None, **how)).digest
            if other and digest != table and self._made_by(record) != __version__:
                # What such a processor is told of its system is numdev's own.
                digest = ""
        elif told["rung"] == cpu.KNOBS and not told.get("paired"):
            digest = self._knobs(record, profile, told)
        if not digest or replaced(dict(told)):
            self._check.note(f"how {profile} was shown, which is in the cells' digests, cannot be computed again")
        elif digest != table:
            self._check.wrong(
                where, f"was not shown {profile!a} as its record says: that has another digest than its cause"
            )

    def _knobs(self, record: Record, profile: str, told: Mapping[str, Any]) -> str:
        """The digest over a profile and its knobs, where this numdev has the profile as the one that made the record did; else ""."""
        known, variables, dropped = self._profile(profile), told.get("variables"), told.get("dropped")
        if known is None or self._made_by(record) != __version__ or not isinstance(variables, dict):
            return ""
        if told.get("intersected"):
            left = [
                feature for feature in known.features if feature not in (dropped if isinstance(dropped, list) else ())
            ]
            known = known.model_copy(update={"features": left, "expect": Expected()})
        return cpu.Knobbed(known, None, settings={str(key): str(value) for key, value in variables.items()}).digest

    def _profile(self, profile: str) -> Profile | None:
        """One of numdev's own, or one that is a file in the bundle, or a variant of one; None where it is none."""
        files, level = self._bundle.description.profiles, self._level(profile)
        if not level:
            return _known(profile)
        if len(profile) > _NAME or files[level] not in self._bundle.members:
            return None
        if level not in self._files:
            try:
                self._files[level] = profile_of(capture_of(self._bundle.read(files[level]), level), level)
            except InvalidInput:
                self._files[level] = None
        base, changes = self._files[level], profile[len(level) :]
        if base is None or not changes:
            return base
        try:
            return apply(base, changes, cpu.names()[1:], self._needed)
        except InvalidInput:
            return None

    def _level(self, profile: str) -> str:
        """The level that is a file of the bundle and that a profile's name begins with; "" where none is."""
        files = self._bundle.description.profiles
        if profile in files:
            return profile
        return next((name for name in files if name and profile.startswith(tuple(name + sign for sign in "+-@"))), "")

    def _needed(self, profile: str) -> Profile:
        """A profile that a variant names. Raises InvalidInput where there is none."""
        if (found := self._profile(profile)) is None:
            raise self._bundle.wrong("", f"there is no profile {profile[:80]!a}")
        return found

    def _made_by(self, record: Record) -> str:
        """The numdev that made the bundle that a record came from."""
        host = self._bundle.run.host_of(record)
        return host.numdev if host else self._bundle.description.numdev


def _file(profile: str) -> bool:
    """Whether a profile's name is that of a file, or of a variant of one."""
    return "/" in profile or ".json" in profile or ".txt" in profile


@lru_cache(256)
def _known(profile: str) -> Profile | None:
    """One of numdev's own profiles, or a variant of one; None where it is none. No file that a name leads to is looked for."""
    if len(profile) > _NAME:
        return None
    try:
        # Its own cache has no end, and a stranger may have any number of names.
        return (cpu.load if profile in cpu.names() else cpu.load.__wrapped__)(profile)
    except InvalidInput:
        return None
