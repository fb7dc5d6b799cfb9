"""What a design says of hosts, and never more: silicon only where it varies, and apart from dispatch only where that is held."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numdev.analysis import Host, Observation, OutputRef, answer

TENSORS = {str(number): np.array([float(number)], np.float32) for number in range(9)}
KNOWN = {"kernel": "6.1", "microcode": "0x1", "libc": "2.36", "engine": "docker"}
AMD, INTEL = Host("amd-25-17-1", "", {"rcpps": "a"}, KNOWN), Host("intel-6-207-2", "", {"rcpps": "b"}, KNOWN)
HASWELL = {"OpenBLAS": "Haswell"}
TENSORS |= {"short": np.array([1.0, 2.0], np.float32), "long": np.array([1.0, 2.0, 9.0], np.float32)}


def run(host, tensor="1", stack="one", *, replicate=1, status="ok", shown="t", dispatch=HASWELL, **how) -> Observation:
    outputs = (OutputRef("y", "float32", (1,), tensor),) if status == "ok" else ()
    factors = {"stack": stack, "host": host}
    return Observation(
        "w", factors, replicate, status, "", outputs, False, f"{host} {stack} {replicate}", dispatch, shown=shown, **how
    )


def asked(*observations, hosts=None, repeats=2):
    """The answer where every run was there several times."""
    several = [
        Observation(**{**vars_of(one), "replicate": number}) for one in observations for number in range(1, repeats + 1)
    ]
    hosts = hosts or {"a": AMD, "b": INTEL}
    return answer(several, TENSORS.__getitem__, baseline={}, order={"host": sorted(hosts)}, labels={}, hosts=hosts)


def vars_of(one):
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def compared(found):
    return {(one.silicon, one.told): (one.pairs, one.differ) for one in found.workloads[0].hosts.compared}


def said(found) -> str:
    return "\n".join(one.text for one in found.workloads[0].sentences if one.about == "host")


def test_dispatch_held_and_silicon_varied():
    found = asked(run("a"), run("b", "2"))
    assert compared(found) == {("varied", "held"): (1, 1)}
    assert "of silicon (they compute rcpps differently): nothing else that is recorded differs" in said(found)
    assert "Told the same CPU on other silicon: 1 of 1 pair differ." in found.short


def test_run_once_chance_is_not_left_out():
    text = said(asked(run("a"), run("b", "2"), repeats=1))
    assert "or of chance, for each cell ran once" in text


def test_what_else_differs_is_listed():
    other = Host("intel-6-207-2", "", {}, {**KNOWN, "kernel": "5.4", "engine": "local"})
    text = said(asked(run("a"), run("b", "2"), hosts={"a": AMD, "b": other}))
    assert "of silicon, or of what else differs between the hosts (engine, kernel)" in text
    unknown = Host("intel-6-207-2", "", {}, {"kernel": "6.1"})
    text = said(asked(run("a"), run("b", "2"), hosts={"a": AMD, "b": unknown}))
    assert "or of what is not recorded of both (microcode, libc, engine)" in text


def test_told_alike_and_chose_otherwise_is_not_silicon_alone():
    found = asked(run("a"), run("b", "2", dispatch={"OpenBLAS": "Zen"}))
    assert compared(found) == {("varied", "otherwise"): (1, 1)}
    assert "or of what they chose" in said(found)


def test_what_no_library_tells_is_left_open():
    found = asked(run("a", dispatch={}), run("b", "2", dispatch={}))
    assert compared(found) == {("varied", "unread"): (1, 1)}
    assert "or of a choice that was not read back" in said(found)


@pytest.mark.parametrize("shown", [("x", "y"), ("", ""), ("x", "")])
def test_told_otherwise_it_is_not_identified(shown):
    found = asked(run("a", shown=shown[0]), run("b", "2", shown=shown[1]))
    assert compared(found) == {("varied", "together"): (1, 1)}
    assert "not identified where dispatch and silicon vary together" in said(found)
    assert "are not told apart: 1 of 1 pair differ." in " ".join(found.short)


def test_the_same_silicon_is_never_the_reason():
    found = asked(run("a"), run("b", "2"), hosts={"a": AMD, "b": AMD})
    assert compared(found) == {("same", "held"): (1, 1)}
    assert "the silicon is the same, so it is not of silicon but of something that no record has" in said(found)
    assert "All hosts have the same silicon: what differs between them is not of it." in found.short


def test_a_name_that_computes_otherwise_is_other_silicon():
    odd = Host(AMD.silicon, "", {"rcpps": "c"}, KNOWN)
    found = asked(run("a"), run("b", "2"), hosts={"a": AMD, "b": odd})
    assert compared(found) == {("varied", "held"): (1, 1)}
    assert not any("same silicon" in line for line in found.short)


def test_declared_hosts_are_judged_by_their_processor():
    declared = Host(AMD.silicon, "intel-6-207-2", AMD.fingerprint, KNOWN)
    found = asked(run("a", shown="x"), run("b", "2", shown="y"), hosts={"a": AMD, "b": declared})
    assert compared(found) == {("same", "together"): (1, 1)}
    assert "so it is not of silicon but of dispatch, by what they were told" in said(found)
    assert "b (declared: its processor is amd-25-17-1)" in found.short[-2]


def test_an_emulator_has_no_silicon():
    found = asked(run("a", emulated=True), run("b", "2", emulated=True))
    assert compared(found) == {("emulated", "held"): (1, 1)}
    assert "an emulator computed, so it is" in said(found)


def test_an_emulator_against_a_processor_is_a_reason():
    found = asked(run("a", shown="x"), run("b", "2", shown="y", emulated=True))
    assert compared(found) == {("mixed", "together"): (1, 1)}
    assert "of an emulator's arithmetic against a processor's, or of dispatch, by what they were told" in said(found)


def test_one_name_without_arithmetic_does_not_exclude_silicon():
    hosts = dict.fromkeys("ab", Host(AMD.silicon, "", {}, KNOWN))
    found = asked(run("a"), run("b", "2"), hosts=hosts)
    assert compared(found) == {("named", "held"): (1, 1)}
    assert "of silicon, which is the same by its name alone" in said(found)
    assert not any("All hosts have the same silicon" in line for line in found.short)


def test_where_all_vary_together_all_is_listed():
    other = Host("intel-6-207-2", "", {}, {**KNOWN, "engine": "local", "libc": "2.41"})
    text = said(asked(run("a", shown="x"), run("b", "2", shown="y"), hosts={"a": AMD, "b": other}, repeats=1))
    assert "of dispatch, or of silicon, or of what else differs between the hosts (engine, libc), or of chance" in text
    assert "cannot tell of which. Profiles that both hosts show would hold dispatch" in text


def test_chance_is_left_out_only_where_the_cells_that_differ_were_repeated():
    twice = [run("a", replicate=number) for number in (1, 2)]
    text = said(asked(*twice, run("b", "2"), repeats=1))
    assert "or of chance, for each cell ran once" in text
    some = [run("a", "3", "two", replicate=number) for number in (1, 2)]
    some += [run("b", "4", "two", replicate=number) for number in (1, 2)]
    text = said(asked(*twice, run("b", "2"), *some, repeats=1))
    assert "or of chance, for cells of 1 of these pairs ran once" in text


@pytest.mark.parametrize("status", ["timeout", "oom", "failed"])
def test_how_a_cell_ended_says_nothing_of_bytes(status):
    found = asked(
        run("a", causes="k"), run("b", status=status, causes="k"), run("a", stack="two"), run("b", stack="two")
    )
    assert compared(found) == {("varied", "held"): (1, 0)}
    assert found.workloads[0].hosts.conflicts == ()
    assert f"1 cell ended otherwise on another host, which says nothing of bytes: one (A on a, {status} on b)" in said(
        found
    )


def test_a_choice_read_on_one_side_is_not_another_choice():
    found = asked(run("a"), run("b", "2", dispatch={}))
    assert compared(found) == {("varied", "unread"): (1, 1)}


def test_the_choices_of_all_runs_count():
    runs = [run("a", replicate=1), run("a", replicate=2), run("b", "2", replicate=1)]
    found = asked(*runs, run("b", "2", replicate=2, dispatch={"OpenBLAS": "Zen"}), repeats=1)
    assert compared(found) == {("varied", "otherwise"): (1, 1)}


def test_arithmetic_is_told_of_the_pairs_that_differ():
    unprinted = Host("intel-6-60-3", "", {}, KNOWN)
    text = said(asked(run("a"), run("b"), run("c", "2"), hosts={"a": AMD, "b": INTEL, "c": unprinted}))
    assert "2 of 3 pairs differ: of silicon: nothing else that is recorded differs" in text
    printed = Host("intel-6-60-3", "", {"rcpps": "c"}, KNOWN)
    odd = Host("intel-6-60-4", "", {}, KNOWN)
    hosts = {"a": AMD, "b": printed, "c": odd}
    text = said(asked(run("a"), run("b", "2"), run("c", "3"), hosts=hosts))
    assert "3 of 3 pairs differ: of silicon (the hosts of 1 of these pairs compute rcpps differently)" in text


def test_bare_metal_is_not_a_hypervisor():
    virtual = Host("intel-6-207-2", "", {}, {**KNOWN, "hypervisor": "KVM"})
    text = said(asked(run("a"), run("b", "2"), hosts={"a": AMD, "b": virtual}))
    assert "or of what else differs between the hosts (hypervisor)" in text


def test_a_machine_as_a_whole_is_no_hardware():
    other = Host(AMD.silicon, "", AMD.fingerprint, {**KNOWN, "engine": "local"})
    found = asked(run("a"), run("b", "2"), hosts={"a": AMD, "b": other})
    verdict = " ".join(found.workloads[0].verdict)
    assert "the machine as a whole (hardware and system) is a cause" in verdict
    assert "hardware as observed" not in verdict


def test_cells_that_would_tell_are_run_on_their_host():
    """No matrix sets a machine."""
    verdict = " ".join(asked(run("a"), run("b", "2", stack="two")).workloads[0].verdict)
    assert "would tell (run there, and merged)" in verdict
    assert "suggest" not in verdict


def referred(host, tensor, reference):
    factors = {"host": host} if reference else {"stack": "one", "host": host}
    shape = TENSORS[tensor].shape
    outputs = (OutputRef("y", "float32", shape, tensor),)
    return Observation(
        "w", factors, 1, "ok", "", outputs, reference, f"{host} {reference}", HASWELL, shown="t", exact=False
    )


@pytest.mark.parametrize("kept", [True, False])
def test_other_shapes_on_another_host_are_a_difference(kept):
    """As of detections: one more on the other host. Each host has a reference of its own, or none has."""
    runs = [referred("a", "short", False), referred("b", "long", False)]
    if kept:
        runs += [referred("a", "short", True), referred("b", "long", True)]
    found = asked(*runs, repeats=1)
    assert found.deviates
    assert compared(found) == {("varied", "held"): (1, 1)}


def test_a_reference_that_all_hosts_agree_on_is_one_for_those_without():
    one, other = "1", "2"
    runs = [referred("a", one, False), referred("b", other, False), referred("a", one, True)]
    judged = {each.name: each.reference for each in asked(*runs, repeats=1).workloads[0].classes}
    assert judged["A"].verdict == "the same"
    assert judged["B"].deviation.max_abs == 1


def test_unknown_silicon_is_said():
    found = asked(run("a"), run("b", "2"), hosts={"a": AMD, "b": Host()})
    assert compared(found) == {("unknown", "held"): (1, 1)}
    assert "of silicon, which is not recorded" in said(found)


def test_no_difference_is_a_finding():
    text = said(asked(run("a"), run("b")))
    assert "0 of 1 pair differ: neither silicon nor anything else of these hosts changes the bytes there" in text


def test_cells_of_one_host_are_counted():
    found = asked(run("a"), run("a", stack="two"), run("b"), run("b", stack="two", status="unsupported"))
    assert compared(found) == {("varied", "held"): (1, 0)}
    assert found.workloads[0].hosts.alone == {"a": 1}
    assert "not compared, for only one host has a class there: 1 cell on a" in said(found)


def test_conflicts_have_equal_causes():
    same = [run("a", causes="k"), run("b", "2", causes="k")]
    other = [run("a", stack="two", causes="k"), run("b", "2", stack="two", causes="l")]
    found = asked(*same, *other, hosts={"a": AMD, "b": AMD})
    [one] = found.workloads[0].hosts.conflicts
    assert (one.levels, set(one.outcomes)) == ({"stack": "one"}, {"a", "b"})
    assert "1 conflict (equal causes by the cell's digest, other bytes): one (" in said(found)


def test_without_hosts_nothing_is_said():
    found = answer([run("a"), run("b")], TENSORS.__getitem__, baseline={}, order={}, labels={})
    assert found.workloads[0].hosts is None
    assert "hosts" not in found.json()
    assert "hosts" not in found.json()["workloads"][0]


CELLS = list(product("abc", ("one", "two", "three")))


@settings(max_examples=80, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.sampled_from("123"), st.sampled_from(["t", "u", ""]), st.booleans()), min_size=9, max_size=9
    ),
    there=st.lists(st.booleans(), min_size=9, max_size=9),
    kinds=st.tuples(*[st.sampled_from([AMD, INTEL, Host()])] * 3),
    order=st.randoms(use_true_random=False),
)
def test_every_pair_is_counted_once_and_no_order_matters(cells, there, kinds, order):
    hosts = dict(zip("abc", kinds, strict=True))
    runs = [
        run(host, tensor, stack, shown=shown, dispatch=HASWELL if told else {})
        for (host, stack), (tensor, shown, told), is_there in zip(CELLS, cells, there, strict=True)
        if is_there
    ]
    if not runs:
        return
    found = asked(*runs, hosts=hosts, repeats=1)
    one = found.workloads[0].hosts
    stacks = [[each for each in runs if each.factors["stack"] == stack] for stack in ("one", "two", "three")]
    assert sum(each.pairs for each in one.compared) == sum(len(some) * (len(some) - 1) // 2 for some in stacks)
    assert sum(one.alone.values()) == sum(len(some) == 1 for some in stacks)
    order.shuffle(runs)
    assert asked(*runs, hosts=hosts, repeats=1).workloads[0].hosts == one
    text = said(found)
    if not any(each.silicon == "varied" for each in one.compared):
        assert "of silicon (" not in text
