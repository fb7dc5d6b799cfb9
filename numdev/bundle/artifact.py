"""ARTIFACT.md: what a reviewer reads first, and can follow without knowing numdev."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numdev import cpu
from numdev.analysis import HOST, Answer
from numdev.bundle import layout
from numdev.bundle.draft import Draft, Part
from numdev.bundle.licences import of_results
from numdev.bundle.survey import Survey, mapping
from numdev.bundle.words import count, listed, marked, plain

# Rows of the table of one workload; what is beyond is in cells.jsonl, and that is said.
ROWS = 400
_LEFT_OUT = 100


def add_artifact(draft: Draft, survey: Survey, answer: Answer) -> None:
    text = "\n".join(_lines(draft, survey, answer)) + "\n"
    draft.add(layout.ARTIFACT, Part.of_bytes(text.encode("ascii")))


def _lines(draft: Draft, survey: Survey, answer: Answer) -> Iterator[str]:
    run = marked(draft.run.matrix, 100)
    yield f"# {marked(draft.title, 300) if draft.title else f'Artifact: the run {run}'}"
    yield ""
    yield (
        f"The same inference was run in {count(len(draft.run.factors.get('stack', [])), 'pinned software stack')} under {count(len(draft.run.factors.get('profile', [])), 'CPU profile')}"
        f" (what a program sees of the processor), and the outputs were compared byte by byte: {count(survey.cells, 'cell')} of "
        f"{count(len(survey.workloads), 'workload')}, {count(sum(survey.statuses.values()), 'replicate')} in all. A cell is one combination of stack, profile "
        "and whatever else was varied; a replicate is one run of it, in a process of its own; cells of one class gave the same bytes."
    )
    yield ""
    yield f"Made by numdev {plain(draft.description.numdev, 40)} from the run `{run}` of {draft.description.date}. {of_results(draft)}"
    if draft.authors:
        yield f"By {marked('; '.join(draft.authors), 1000)}."
    else:
        yield "Who made it was not stated."
    yield from _checking(draft)
    yield from _again(draft, survey)
    yield from _results(draft, answer)
    yield from _limits(draft, survey, answer)
    yield from _badges(draft, survey)
    yield from _members(draft)


def _checking(draft: Draft) -> Iterator[str]:
    yield ""
    yield "## Check it without numdev (a minute)"
    yield ""
    yield "```console"
    yield f"$ tar -xf {draft.name}{layout.SUFFIX}"
    yield f"$ cd {draft.name} && sh verify.sh"
    yield "```"
    yield ""
    yield (
        "`verify.sh` needs `sha256sum`, and Docker where there are `images/`. It says what it checked and what it did not, and prints the bundle's digest, "
        f"the SHA-256 of `{layout.SUMS}`: compare that with the digest that was published with the paper, for whoever changes a file can change the list too."
    )
    yield ""
    yield (
        f"Outputs are `.npy` files that `numpy.load` reads. Each line of `{layout.CELLS}` is a replicate: `outputs` are the names of its files in `outputs/`, so two "
        f"replicates gave the same bytes where these are equal. What many have in common is in `{layout.FACTS}`, by the names that stand in the lines."
    )


def _again(draft: Draft, survey: Survey) -> Iterator[str]:
    yield ""
    yield "## Run it again"
    yield ""
    yield "With numdev (Linux on x86-64, Python 3.11 or newer; Docker for the same images):"
    yield ""
    yield "```console"
    yield f"$ numdev bundle verify {draft.name}{layout.SUFFIX}   # every digest, and the analysis once more from the raw outputs"
    yield f"$ numdev bundle rerun {draft.name}{layout.SUFFIX}    # the same cells here: the same class, or another and why"
    yield "```"
    yield ""
    images = sum(name.startswith("images/") for name in draft.parts)
    engines = marked(listed(sorted(survey.engines)) or "an engine that is not known", 200)
    yield (
        f"The cells ran on {engines}. "
        + (
            f"{count(images, 'image')} of {len(survey.software)} {'is' if images == 1 else 'are'} in the bundle. "
            if images
            else "No image is in the bundle. "
        )
        + "Images are made of the definitions and locks in `stacks/`, and come out with the same ID each time:"
    )
    yield ""
    yield "| stack | image | frameworks |"
    yield "|---|---|---|"
    for name, software in survey.software.items():
        image = listed(sorted(software.images)) or "not known"
        note = " (no cell ran in it; it has the same wheels)" if software.equal else ""
        versions = listed(f"{key} {version}" for key, version in sorted(software.versions.items()))
        yield f"| {marked(name, 80)} | `{plain(image, 200)}`{note} | {marked(versions or 'not read back', 200)} |"


def _results(draft: Draft, answer: Answer) -> Iterator[str]:
    realised = _realised(draft)
    yield ""
    yield "## What came out"
    yield ""
    yield (
        "*Realised* is what the libraries themselves said that they chose in that cell, which is not always what one asks for: a profile only decides what they are "
        "shown. onnxruntime, MKL and oneDNN do not say what they chose; they choose by the CPUID that they are shown, which was read back in each cell. "
        f"`{layout.ANSWER_TEXT}` has the sizes of the deviations."
    )
    for workload in answer.workloads:
        yield ""
        yield f"### {marked(workload.workload, 80)}"
        yield ""
        classes = [one for one in workload.classes if not one.failed]
        yield f"{count(workload.cell_count, 'cell')}, {count(workload.runs, 'run')}: {count(len(classes), 'class', 'classes')} of equal bytes."
        yield ""
        keys = [key for key in draft.run.order if key in workload.levels and len(workload.levels[key]) > 1]
        keys = keys or [key for key in draft.run.order if key in workload.levels][:2]
        if same := [
            f"{key} {workload.levels[key][0]}" for key in draft.run.order if len(workload.levels.get(key, ())) == 1
        ]:
            yield f"The same in all of them: {marked(listed(same), 500)}."
            yield ""
        yield f"| {' | '.join(marked(key, 40) for key in keys)} | class | realised |"
        yield f"|{'---|' * (len(keys) + 2)}"
        for cell in workload.partition[:ROWS]:
            levels = [marked(cell.levels.get(key, ""), 80) for key in keys]
            outcome = {"~": "differs from run to run", "": "none"}.get(cell.outcome, cell.outcome)
            told = realised.get((workload.workload, frozenset(cell.levels.items())), "it has no record")
            yield f"| {' | '.join(levels)} | {marked(outcome, 40)} | {marked(told, 300)} |"
        if len(workload.partition) > ROWS:
            yield ""
            yield f"And {len(workload.partition) - ROWS:,} more cells: their lines are in `{layout.CELLS}`, their classes in `{layout.ANSWER}`."


def _realised(draft: Draft) -> dict[tuple[str, frozenset[tuple[str, str]]], str]:
    """For each cell, in words, what was realised in it: of all its replicates, as they may differ."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], dict[str, None]] = {}
    words: dict[tuple[Any, ...], str] = {}
    for cell in draft.cells():
        if cell.reference or cell.status == "missing":
            continue
        key = (cell.realised, cell.environment, cell.status, cell.reason, _read_back(cell))
        if key not in words:
            words[key] = _words(draft, cell)
        found.setdefault((cell.workload, frozenset(cell.factors.items())), {})[words[key]] = None
    return {key: " / ".join(several) for key, several in found.items()}


def _words(draft: Draft, cell: layout.CellLine) -> str:
    realised = mapping(draft.facts.get(cell.realised or ""))
    profile = mapping(mapping(draft.facts.get(cell.environment or "")).get("profile"))
    parts = [f"{name}: {what}" for name, what in cpu.dispatch(realised).items()]
    if not parts and profile.get("simd"):
        parts.append(f"shown {profile['simd']}")
    if rung := profile.get("rung"):
        parts.append(f"shown by {rung}{_read_back(cell)}")
    if cell.status != "ok":
        parts.insert(0, f"{cell.status}: {cell.reason}" if cell.reason else cell.status)
    return "; ".join(parts) or "the libraries did not say"


def _read_back(cell: layout.CellLine) -> str:
    """Whether the cell itself executed CPUID and got what its table says."""
    cpuid = mapping(cell.measured.get("cpuid"))
    if not cpuid.get("traps"):
        return ""
    return ", read back otherwise" if cpuid.get("mismatches") else ", read back as shown"


def _limits(draft: Draft, survey: Survey, answer: Answer) -> Iterator[str]:
    yield ""
    yield "## What this design can say, and what it cannot"
    yield ""
    few, most = survey.repeats
    each = str(few) if few == most else f"{few} to {most}"
    yield (
        f"- Each cell was run {each} times."
        if most > 1
        else "- Each cell was run once: nothing is known of what differs from run to run."
    )
    for status, number in sorted(survey.statuses.items()):
        if status != "ok":
            was = "was" if number == 1 else "were"
            what = f"{was} never run" if status == "missing" else f"ended as `{plain(status, 40)}`"
            yield f"- {count(number, 'replicate')} {what}."
    for name, why in sorted(answer.refused.items())[:50]:
        yield f"- The profile {marked(name, 100)} could not be shown: {marked(why)}"
    platforms = [plain(facts.get("brand", "unnamed"), 100) for facts in survey.platforms.values()]
    if platforms:
        yield f"- {count(len(platforms), 'real processor')}: {marked(listed(platforms), 400)}. A profile sets what programs are told of a CPU, on that silicon."
    if emulated := survey.rungs.get("emulate", 0):
        yield f"- {count(emulated, 'replicate')} ran under an emulator, whose silicon is none that is sold."
    if knobs := survey.rungs.get("knobs", 0):
        yield f"- {count(knobs, 'replicate')} were shown their profile by the libraries' own knobs, which is partial."
    if "local" in survey.engines:
        yield "- Cells of the local engine ran on this machine's own base system: its C library is not pinned."
    for level, host in sorted(draft.run.hosts.items()):
        declared = f", declared: programs were told {plain(host.declared, 80)}" if host.declared else ""
        yield f"- The host {marked(level, 100)} is that of the bundle {marked(host.bundle, 80)} of {plain(host.date, 20)}, digest `{plain(host.digest, 64)}`{declared}."
    for note in draft.run.joined[:50]:
        yield f"- {marked(note, 500)}"
    if not survey.reference:
        yield "- There is no reference, so nothing says which class is closer to the truth."
    for workload in answer.workloads:
        for line in workload.verdict:
            yield f"- {marked(workload.workload, 80)}: {marked(line, 500)}"
        for sentence in workload.sentences if workload.hosts else ():
            if sentence.about == HOST:
                yield f"- {marked(workload.workload, 80)}: hosts: {marked(sentence.text, 700)}"
        for note in workload.attribution_notes[:20]:
            yield f"- {marked(workload.workload, 80)}: {marked(note, 500)}"
        if workload.missing_cells:
            yield f"- {marked(workload.workload, 80)}: {count(len(workload.missing_cells), 'cell')} that would be needed to tell everything {'is' if len(workload.missing_cells) == 1 else 'are'} missing."
    yield (
        "- The records were made by whoever ran this, and a digest does not say who that was or that it happened: it says that nothing has changed since. Running again is "
        "what tells."
    )


def _badges(draft: Draft, survey: Survey) -> Iterator[str]:
    yield ""
    yield "## Badges (ACM Artifact Review and Badging 1.1)"
    yield ""
    yield "A badge is given by reviewers and never by a file. This is what the bundle supports, and what they have to do:"
    yield ""
    yield "| badge | what is here | what a reviewer does |"
    yield "|---|---|---|"
    doi = (
        f"its DOI is {plain(draft.doi, 200)}"
        if draft.doi
        else "no DOI was stated: the author has to put it into a public archive first"
    )
    licence = "a licence is stated" if draft.license else "no licence was stated"
    yield f"| Artifacts Available | {doi}; {licence} | looks whether that place keeps it for good, and compares the digest |"
    own = (
        "models and inputs of the author's own are inside"
        if any(name.startswith("workloads/") for name in draft.parts)
        else "no model or input is inside"
    )
    yield f"| Artifacts Evaluated: Functional | documented here, complete but for what is listed below ({own}), checkable by `verify.sh` | runs `verify.sh` and `numdev bundle verify` |"
    yield "| Artifacts Evaluated: Reusable | RO-Crate, CycloneDX, definitions and locks of all stacks | judges whether others could build on it |"
    yield "| Results Reproduced | raw outputs, and classes by cell above | runs `numdev bundle rerun`, and compares classes and realised dispatch with this table |"
    yield "| Results Replicated | nothing: that takes another implementation | writes one |"


def _members(draft: Draft) -> Iterator[str]:
    yield ""
    yield "## What is inside, and what is not"
    yield ""
    yield f"`{layout.CRATE}` lists every file (RO-Crate 1.1, Process Run Crate 0.5); `sbom/` has the packages of each stack with their hashes, and the libraries inside them."
    left_out = draft.description.left_out
    if not left_out:
        yield ""
        yield "Nothing was left out."
        return
    yield ""
    yield "Left out:"
    yield ""
    for name, why in sorted(left_out.items())[:_LEFT_OUT]:
        yield f"- `{plain(name, 200)}`: {marked(why, 400)}"
    if len(left_out) > _LEFT_OUT:
        yield f"- and {len(left_out) - _LEFT_OUT} more, all in `{layout.DESCRIPTION}`"
