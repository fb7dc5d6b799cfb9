"""Whether a bundle is what it says: digests, what its parts say of one another, the analysis once more, and the crate.

It is read where it lies, in pieces: nothing is unpacked, no model is loaded, nothing is written and nothing is fetched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numdev import digests
from numdev.bundle import layout, machines, partcheck, printed
from numdev.bundle.answercheck import analysis
from numdev.bundle.askedcheck import asked
from numdev.bundle.cellcheck import Cells
from numdev.bundle.cratecheck import crate
from numdev.bundle.found import Check, some
from numdev.bundle.reading import Bundle
from numdev.bundle.signing import check_signature
from numdev.errors import BundleFailed, InvalidInput

# Seconds in which some tens of megabytes are looked at.
_TIDE = 0.02


@dataclass
class Report:
    """What was found. digest: the bundle's. signed: by whose key, "" where no signature was looked at."""

    where: str
    digest: str
    description: layout.Description
    checks: list[Check] = field(default_factory=list)
    signed: str = ""

    @property
    def whole(self) -> bool:
        return not any(check.problems for check in self.checks)

    @property
    def code(self) -> int:
        """An exit code: what cannot be parsed is no bundle, unless its digests say that it was changed."""
        if self.whole:
            return 0
        changed = any(check.problems and not check.unreadable for check in self.checks)
        return BundleFailed.code if changed else InvalidInput.code

    def printed(self) -> printed.Verification:
        return printed.Verification(
            version=1,
            bundle=self.description.printed(self.digest),
            whole=self.whole,
            signed=self.signed or None,
            left_out=self.description.left_out,
            checks=[check.printed() for check in self.checks],
        )


@dataclass(frozen=True)
class Signature:
    """An envelope's bytes, what it is called, and the file of the public key that has to have signed it."""

    envelope: bytes
    where: str
    key: Path


def verify(
    path: Path,
    *,
    expected: str = "",
    signature: Signature | None = None,
    crate_needed: bool = True,
    analyse: bool = True,
) -> Report:
    """Looks at everything in a bundle.

    Args:
        expected: the digest that it has to have, as a paper prints it; "" for any.
        crate_needed: whether a bundle without a crate lacks something; every bundle of numdev has one.
        analyse: whether the analysis is computed again.

    Raises:
        InvalidInput: `path` is no bundle.
        BundleFailed: a file is missing, or one is there that its manifest does not name.
    """
    with Bundle(path) as bundle:
        before = bundle.state
        report = Report(bundle.where, bundle.digest, bundle.description)
        if expected:
            report.checks.append(_expected(bundle, expected))
        if signature:
            # Before everything else: a key that cannot be read need not wait for gigabytes.
            check, name = check_signature(bundle, signature.envelope, signature.where, signature.key)
            report.checks.append(check)
            report.signed = "" if check.problems else name
        with ThreadPoolExecutor(1) as apart:
            # Hashing needs no Python, and what is compared has just been read for it.
            hashed = apart.submit(digests_of, bundle)
            with _ebbing(bundle):
                found = _looked(bundle, crate_needed, analyse)
            first = hashed.result()
        if bundle.state != before:
            first.wrong(bundle.where, "was changed while it was read")
        report.checks += [first, *found]
    return report


@contextmanager
def _ebbing(bundle: Bundle) -> Iterator[None]:
    """While outputs are compared, what of them has been read does not stay in this process's memory."""
    done = threading.Event()

    def ebb() -> None:
        while not done.wait(_TIDE):
            bundle.ebb()

    thread = threading.Thread(target=ebb, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _expected(bundle: Bundle, expected: str) -> Check:
    check = Check("expected", f"the digest {expected[:12]}..., as it was given")
    if bundle.digest != expected.lower():
        check.wrong(bundle.where, f"is not the bundle with the digest {expected}: this one is {bundle.digest}")
    return check


def digests_of(bundle: Bundle, hashed: Iterable[tuple[str, str]] | None = None) -> Check:
    """Every file has the SHA-256 that the manifest says, and outputs have that of their names.

    hashed: each file with its SHA-256, where somebody else reads them.
    """
    check = Check("digests")
    total = 0
    with check.reading():
        if hashed is None:
            hashed = ((name, digests.of_pieces(bundle.pieces(name))) for name in bundle.sums)
        for name, found in hashed:
            total += bundle.members[name].size
            if found != bundle.sums[name]:
                check.wrong(name, f"was changed: its SHA-256 is not that of {layout.SUMS}")
            if name.startswith("outputs/") and name[8:72] != bundle.sums[name]:
                check.wrong(name, "is not the output that its name is the SHA-256 of")
    check.what = f"SHA-256 of {some(len(bundle.sums), 'file')}, {some(total, 'byte')}"
    return check


def parts(bundle: Bundle) -> list[Check]:
    """All that can be seen without reading outputs: what the parts of a bundle say of one another, and the crate where there is one."""
    return _looked(bundle, crate_needed=False, analyse=False)


def _looked(bundle: Bundle, crate_needed: bool, analyse: bool) -> list[Check]:
    described = Check("run")
    with described.reading():
        _description(bundle, described)
        described.what = f"{some(len(bundle.run.factors), 'factor')}, {some(len(bundle.run.workloads), 'workload')}"
    if described.problems:
        # Everything else rests on it.
        return [described]
    stacks, found = partcheck.stacks(bundle)
    shown, tables = partcheck.tables(bundle)
    checks = [described, stacks, shown, _guarded("workloads", lambda: partcheck.workloads(bundle))]
    checks.append(_guarded("cells", lambda: _cells(bundle, found, tables, stacks)))
    if bundle.run.hosts:
        checks.append(_guarded("hosts", lambda: machines.checked(bundle)))
    if analyse:
        checks.append(analysis(bundle))
    checks.append(crate(bundle, crate_needed))
    return checks


def _cells(bundle: Bundle, found: partcheck.Stacks, tables: Mapping[str, partcheck.Told], stacks: Check) -> Check:
    """Every line, and then what can only be told by all of them; of bills of materials the check of the stacks says it."""
    cells = Cells(bundle, found, tables)
    check = cells.all()
    asked(bundle, found, check)
    cells.software.rest(stacks)
    return check


def _guarded(name: str, look: Any) -> Check:
    """What a look finds; where it cannot even be taken, that is what was found."""
    failed = Check(name)
    with failed.reading():
        return look()
    return failed


def _description(bundle: Bundle, check: Check) -> None:
    run = bundle.run
    if bundle.description.name != bundle.folder:
        check.wrong(
            layout.DESCRIPTION, f"says that the bundle is {bundle.description.name!a}, and its folder {bundle.folder!a}"
        )
    if bundle.description.run != run.matrix:
        check.wrong(
            layout.DESCRIPTION, f"says that the run is {bundle.description.run!a}, and {layout.RUN} {run.matrix!a}"
        )
    for name in bundle.description.left_out:
        if name in bundle.members:
            check.wrong(layout.DESCRIPTION, f"says that {name} was left out, and it is there")
    # Of a matrix that was only run in part, the baseline may be a level of the rest.
    named = run.source.get("baseline")
    for key, level in run.baseline.items():
        its_own = isinstance(named, dict) and str(named.get(key)) == level
        if level not in run.factors.get(key, []) and not its_own:
            check.wrong(layout.RUN, f"its baseline {level!a} is no level of {key!a}")
