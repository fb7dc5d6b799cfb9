"""`numdev images`: what stacks there are, what is in them, and making their images and locks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from numdev.cli import options
from numdev.errors import InvalidInput, NumdevError, Problem
from numdev.files import atomic, cache_dir
from numdev.spec.architecture import ARCHITECTURES
from numdev.spec.stack import Stack, load_stack, stack_names
from numdev.stacks import dockerfile_for, image_plan, read_lock, write_archive
from numdev.stacks import relock as make_lock

app = typer.Typer(help="Software stacks: list, show, build and lock their images.", no_args_is_help=True)

Architecture = Annotated[
    str,
    typer.Option(
        "--architecture", metavar="x86_64|aarch64", help="For which the stack is made; by default this machine's."
    ),
]
Name = Annotated[str, typer.Argument(metavar="STACK", help="The name of a stack: see `numdev images list`.")]


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _known(architecture: str) -> str:
    if architecture and architecture not in ARCHITECTURES:
        problem = Problem("--architecture", architecture, f"one of {', '.join(ARCHITECTURES)}")
        raise InvalidInput("There is no such architecture.", [problem])
    return architecture


def _load_all(folder: Path, names: list[str], architecture: str) -> list[Stack]:
    """The stacks of these names (all, without names); raises InvalidInput with all their problems."""
    loaded: list[Stack] = []
    problems: list[Problem] = []
    for name in dict.fromkeys(names or stack_names(folder)):
        try:
            loaded.append(load_stack(folder, name, architecture))
            if not loaded[-1].dockerfile:
                read_lock(loaded[-1])
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput("Some stacks are not valid.", problems)
    if not loaded:
        raise InvalidInput(f"There are no stacks in {folder}.", [Problem(str(folder), "no folder has a stack.yaml")])
    return loaded


@app.command("list")
def list_stacks(images: options.Images = None) -> None:
    """List the stacks with their backend and pins."""
    folder = options.images_folder(images)
    names = stack_names(folder)
    width = max(map(len, names), default=0)
    for stack in _declared(folder, names):
        pins = ", ".join(f"{name} {version}" for name, version in stack.pins.items())
        typer.echo(f"{stack.name:{width}}  {stack.backend:11}  CPython {stack.python}  {pins or stack.description}")


def _declared(folder: Path, names: list[str]) -> list[Stack]:
    loaded, problems = [], []
    for name in names:
        try:
            loaded.append(load_stack(folder, name))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput("Some stacks are not valid.", problems)
    return loaded


@app.command()
def build(
    stacks: Annotated[
        list[str] | None,
        typer.Argument(help="Stacks to build (default: all but those for GPUs).", metavar="[STACK]..."),
    ] = None,
    images: options.Images = None,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", help="Write docker archives to this folder; no engine is needed."),
    ] = None,
    architecture: Architecture = "",
) -> None:
    """Build images. The same stack gives the same image ID, on every machine with the same base."""
    folder = options.images_folder(images)
    cache = cache_dir()
    wanted = _load_all(folder, stacks or [], _known(architecture))
    if not stacks and (large := [stack.name for stack in wanted if stack.gpu]):
        _say(f"{', '.join(large)}: left out, for these are gigabytes for GPUs; they are built where they are named.")
        wanted = [stack for stack in wanted if not stack.gpu]
    if archive is not None:
        for stack in wanted:
            _write(stack, archive, cache)
        return
    # Imported only here: the engine needs docker-py, which no other command of this file does.
    from numdev.engines import open_engine

    engine = open_engine("docker", cache)
    failed: list[tuple[Stack, NumdevError]] = []
    for stack in wanted:
        try:
            environment = engine.environment(stack, _say)
        except NumdevError as error:
            failed.append((stack, error))
            continue
        note = (
            "" if environment.facts.get("reproducible", True) else "  (built from a Dockerfile: not bit-reproducible)"
        )
        typer.echo(f"{stack.name}  {environment.id}{note}")
    if failed:
        for stack, error in failed[:-1]:
            _say(f"{stack.name} failed. {error}")
        raise failed[-1][1]


def _write(stack: Stack, folder: Path, cache: Path) -> None:
    plan = image_plan(stack, cache, _say)
    target = folder / f"{stack.name}.tar"
    with atomic(target) as file:
        write_archive(plan, file)
    typer.echo(f"{stack.name}  {plan.image_id}  {target}")


@app.command()
def show(
    stack: Name,
    images: options.Images = None,
    dockerfile: Annotated[bool, typer.Option("--dockerfile", help="Print an equivalent Dockerfile.")] = False,
    architecture: Architecture = "",
) -> None:
    """Show what a stack's image holds: its ID, its base, and all packages."""
    declared = load_stack(options.images_folder(images), stack, _known(architecture))
    plan = image_plan(declared, cache_dir(), _say)
    if dockerfile:
        typer.echo(dockerfile_for(declared, plan), nl=False)
        return
    typer.echo(f"stack    {declared.name}: {declared.description}")
    typer.echo(f"image    {plan.image_id or 'known when the engine has built it'}")
    typer.echo(f"tag      {plan.tag}")
    for name, value in sorted(plan.labels.items()):
        typer.echo(f"label    {name}={value}")


@app.command()
def lock(stack: Name, images: options.Images = None, architecture: Architecture = "") -> None:
    """Make a stack's lock anew from its pins (needs uv and the network); each architecture has one of its own."""
    declared = load_stack(options.images_folder(images), stack, _known(architecture))
    for package in make_lock(declared, cache_dir(), _say).values():
        typer.echo(f"{package.name}=={package.version}")
