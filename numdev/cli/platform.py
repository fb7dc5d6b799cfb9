"""`numdev platform`: the CPUs that a program can be shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from numdev import cpu
from numdev.cli import machine, options, verify
from numdev.cli.lines import wrapped
from numdev.errors import ProfileRefused

app = typer.Typer(no_args_is_help=True)
app.command("record")(machine.record)
app.command("replay")(machine.replay)
app.command("verify")(verify.verify)


_HERE = {cpu.CPUID: "yes", cpu.REWRITE: "rewritten", cpu.EMULATE: "emulated", cpu.KNOBS: "by knobs, in part"}


@app.command("list")
def list_profiles() -> None:
    """List the profiles and whether this host can show them."""
    host = cpu.host()
    console = Console(highlight=False)
    table = Table("profile", "vendor", "SIMD", "L1d", "here", "QEMU", box=None, pad_edge=False)
    missing: dict[str, str] = {}
    emulator, no_emulator = cpu.emulated.find()
    unlike: dict[str, list[str]] = {}
    for name in cpu.names():
        if name == cpu.HOST:
            table.add_row(name, host.vendor, host.simd, "", "yes: the real one", "")
            continue
        profile = cpu.load(name)
        first = next((cache.size for cache in profile.caches if (cache.level, cache.type) == (1, "data")), "?")
        try:
            here = _HERE[cpu.enforced(name, host, cpu.BEST).rung]
        except ProfileRefused as error:
            here = "no"
            missing[name] = error.why
        if emulator and (lacking := cpu.emulated.lacking(profile, emulator)):
            unlike[name] = lacking
        other = "no" if emulator is None or name in unlike else "yes"
        table.add_row(name, profile.vendor, profile.simd, first, here, other)
    console.print(table)
    if host.refusal and not host.rewriting:
        console.print(f"\nrewritten: in memory, in a matrix with `enforce: best`, for {host.refusal}.", markup=False)
    console.print(
        "\nQEMU: with `enforce: emulate` in a matrix, or as the other level of the factor `silicon`. "
        "`enforce: knobs` is partial, and needs a processor that has all that the profile has.",
        markup=False,
    )
    if unlike and emulator:
        shared = [feature for feature in next(iter(unlike.values())) if all(feature in one for one in unlike.values())]
        version = emulator.version.partition(" (")[0]
        console.print(
            f"\nNot by QEMU: {', '.join(unlike)}.\nWhy: {version} lacks {', '.join(shared) or 'features'}"
            + (", and more of some." if any(len(one) > len(shared) for one in unlike.values()) else "."),
            markup=False,
        )
    elif no_emulator:
        console.print(f"\nNot by QEMU: {no_emulator}.", markup=False)
    for reason in dict.fromkeys(missing.values()):
        names = ", ".join(name for name, why in missing.items() if why == reason)
        console.print(f"\nNot here: {names}.\nWhy: {reason}", markup=False)


@app.command("capture")
def capture_host(file: Annotated[Path, typer.Argument(help="The file to write, for example here.json.")]) -> None:
    """Write this machine's whole CPUID table and its arithmetic fingerprint to a file; it names no host.

    Such a file is a profile: name its path in a matrix, or after `numdev as`.
    """
    captured = cpu.capture()
    captured.write(file)
    told = ", ".join(captured.fingerprint)
    Console(highlight=False).print(
        f"{file}: {cpu.host().brand}, {len(captured.leaves)} leaves, fingerprint of {told}.", markup=False
    )


@app.command("import")
def import_dump(
    dump: Annotated[Path, typer.Argument(help="`cpuid -r` output, or a text file of InstLatx64.")],
    file: Annotated[Path, typer.Argument(help="The capture to write.")],
) -> None:
    """Read a register dump of another processor and write it as a capture."""
    captured = cpu.read_capture(dump)
    profile = cpu.profile_of(captured, str(dump))
    captured.write(file)
    Console(highlight=False).print(
        f"{file}: {profile.about}, {profile.simd}, {len(captured.leaves)} leaves.", markup=False
    )


@app.command("diff")
def diff(
    one: Annotated[str, typer.Argument(help="A capture, record or dump, or `host`.")],
    other: Annotated[str, typer.Argument(help="Another.")],
) -> None:
    """Say in words what differs between two processors."""
    first, second = (cpu.capture() if name == cpu.HOST else cpu.read_capture(Path(name)) for name in (one, other))
    console = Console(highlight=False)
    for line in cpu.differences(first, second) or ["Nothing differs, neither in what programs see nor in silicon."]:
        wrapped(console, line)


_HOW = {
    cpu.CPUID: "by CPUID faulting",
    cpu.REWRITE: "by rewriting CPUID in memory",
    cpu.EMULATE: "by QEMU only",
    cpu.KNOBS: "by the libraries' own knobs only, which is partial",
}


@app.command("show")
def show(
    profile: Annotated[str, typer.Argument(help="A profile's name, or host.")], as_json: options.Json = False
) -> None:
    """Show what a profile is: identity, features and caches."""
    host = cpu.host()
    if profile == cpu.HOST:
        data = host.facts()
    else:
        data = cpu.find(profile, Path()).model_dump(mode="json")
    if as_json:
        typer.echo(json.dumps(data, indent=1, sort_keys=True))
        return
    console = Console(highlight=False)
    for key, value in data.items():
        if key == "name":
            continue
        if key == "expect":
            chosen = [f"{library} {' or '.join(names)}" for library, names in value.items() if names]
            value = f"the libraries choose {', '.join(chosen)}" if chosen else "nothing"
        if key == "topology":
            value = (
                f"{value['cores']} cores of {value['threads_per_core']} threads, room for {value['ids']} APIC ids; "
                f"the real core tells its own, in what it has of {', '.join(value['real'])}"
            )
        if key == "differs":
            for what, why in value.items():
                console.print(f"{key:<9} {what}: {why}", markup=False)
            continue
        if key == "caches":
            for cache in value:
                console.print(
                    f"cache     L{cache['level']} {cache['type']}: {cache['size']}, {cache['ways']} ways, "
                    f"shared by {cache['threads']} threads",
                    markup=False,
                )
            continue
        text = ", ".join(value) if isinstance(value, list) else value
        console.print(f"{key:<9} {text}", markup=False)
    if profile != cpu.HOST:
        try:
            shown = cpu.enforced(profile, host, cpu.BEST)
            dropped = f", without {', '.join(shown.dropped)}" if shown.dropped else ""
            how = _HOW[shown.rung]
            console.print(f"here      can be shown {how}{dropped}", markup=False)
        except ProfileRefused as error:
            console.print(f"here      cannot be shown: {error.why}", markup=False)
