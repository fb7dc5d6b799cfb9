"""The verdict on the groups of factors, in sentences that claim no more than the design identifies."""

from __future__ import annotations

from collections.abc import Mapping

from numdev.analysis.attribution import Attribution, FactorShare, GroupShare
from numdev.analysis.effects import NOT_VARIED
from numdev.analysis.families import DISPATCHED, MACHINE, OBSERVED, OTHER, SILICON, SOFTWARE, THREADS
from numdev.analysis.identify import CAUSE, NO_EFFECT, NOT_IDENTIFIED
from numdev.analysis.observation import HOST
from numdev.analysis.repeats import Repeats
from numdev.analysis.sentences import listed, plural, title

TITLES = {
    SOFTWARE: "software",
    DISPATCHED: "dispatch",
    THREADS: "threads",
    SILICON: "silicon",
    OBSERVED: "hardware as observed",
    MACHINE: "the machine as a whole (hardware and system)",
    OTHER: "other factors",
}
MOST_INTERACTIONS = 3


def verdict(found: Attribution, repeated: Repeats, classes: int) -> tuple[str, ...]:
    """One sentence for each thing there is to say; the causes first."""
    if classes == 0:
        nothing = "nothing can be said: no cell has a class"
        return (nothing, _noise(repeated)) if repeated.noisy else (nothing,)
    by = _by_status(found)
    said = list(blamed(found))
    if classes == 1:
        said.insert(0, "nothing to attribute: every cell that has a class has the same one")
    elif len(found.sufficient) == 1 and len(found.sufficient[0]) > 1:
        said.append(f"the class follows from {_and(found.sufficient[0])} together")
    elif len(found.sufficient) > 1:
        sets = ", or from ".join(_and(one) for one in found.sufficient)
        said.append(f"the class follows from {sets}; this design does not tell which")
    if by[NO_EFFECT]:
        said.append(f"no effect of {_and(by[NO_EFFECT])}")
    if by[NOT_VARIED]:
        said.append(f"not varied, so that nothing is known of it: {_and(by[NOT_VARIED])}")
    said.append(_noise(repeated))
    return tuple(said)


def blamed(found: Attribution) -> tuple[str, ...]:
    """Of the verdict, the causes and what is not identified."""
    by = _by_status(found)
    causes = [_cause(name, found.groups[name], found.factors) for name in by[CAUSE]]
    return (*causes, *_interactions(found), *_open(found, by[NOT_IDENTIFIED]))


def _by_status(found: Attribution) -> dict[str, list[str]]:
    groups = {name: one for name, one in found.groups.items() if one.factors}
    return {status: [name for name, one in groups.items() if one.status == status] for status in _STATUSES}


_STATUSES = (CAUSE, NO_EFFECT, NOT_IDENTIFIED, NOT_VARIED)


def _and(groups: tuple[str, ...] | list[str]) -> str:
    return " and ".join(TITLES[name] for name in groups) or "nothing"


def _cause(name: str, group: GroupShare, factors: Mapping[str, FactorShare]) -> str:
    members = [one for one in group.factors if one in factors and factors[one].status == CAUSE]
    which = f" ({listed(map(title, members))})" if members and (len(group.factors) > 1 or name == OTHER) else ""
    text = f"{TITLES[name]}{which} is a cause"
    if group.alone is not None and group.total is not None:
        text += f": alone {share(group.alone)} of the differences, in total {share(group.total)}"
    return text


def share(value: float | None) -> str:
    """Per cent, without claiming that a little is nothing or that most is all."""
    if value is None:
        return "-"
    per = 100 * value
    if per in (0, 100) or abs(per) < 1e-7 or abs(per - 100) < 1e-7:
        return f"{per:.0f} %"
    if 0 < per < 1:
        return "<1 %"
    return ">99 %" if 99 < per < 100 else f"{per:.0f} %"


def _interactions(found: Attribution) -> list[str]:
    some = [
        ("" if one.share is None else f"{share(one.share)} by ") + " and ".join(map(title, one.factors))
        for one in found.interactions[:MOST_INTERACTIONS]
    ]
    left = len(found.interactions) - len(some)
    more = f" and {left} more" if left else ""
    return [f"explained only in combination: {', '.join(some)}{more}"] if some else []


def _open(found: Attribution, groups: list[str]) -> list[str]:
    names = [name for name, one in found.factors.items() if one.status == NOT_IDENTIFIED]
    names += [TITLES[one] for one in groups if not set(found.groups[one].factors) & set(names)]
    if not names:
        return []
    text = f"not identified: {listed(map(title, names))}"
    if found.missing:
        # No matrix sets a machine.
        how = "run there, and merged" if HOST in found.factors else "numdev matrix suggest"
        text += f"; {plural(len(found.missing), 'more cell')} would tell ({how})"
    return [text]


def _noise(repeated: Repeats) -> str:
    if repeated.noisy:
        return f"noise: {plural(repeated.noisy, 'cell')} without a class, attributed to nothing"
    if not repeated.comparisons and not repeated.inside:
        return "noise was not measured: a difference may be one from run to run (set `repeats`)"
    bounds = [
        f"at most {100 * bound:.2g} % of {what}"
        for bound, what in ((repeated.bound, "runs"), (repeated.inside_bound, "inferences in a process"))
        if bound is not None
    ]
    seen = plural(repeated.comparisons + repeated.inside, "comparison")
    return f"no noise seen in {seen}" + (f"; unseen there could be {' and '.join(bounds)}" if bounds else "")
