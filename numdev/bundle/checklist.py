"""CHECKLIST.md: answers to the NeurIPS paper checklist, of what a run can answer, ready to be pasted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from numdev.analysis import Answer
from numdev.bundle import layout
from numdev.bundle.draft import Draft, Part
from numdev.bundle.inside import Inside
from numdev.bundle.licences import UNKNOWN, of_workload
from numdev.bundle.survey import Survey
from numdev.bundle.words import count, listed, pasted

# The numbers of the checklist's questions that nothing in a run can answer.
NOT_OURS = {
    1: "Claims",
    3: "Theory assumptions and proofs",
    9: "Code of ethics",
    10: "Broader impacts",
    11: "Safeguards",
    14: "Crowdsourcing and research with human subjects",
    15: "Institutional review board approvals",
    16: "Declaration of LLM usage",
}


def add_checklist(draft: Draft, survey: Survey, answer: Answer, insides: Mapping[str, Inside]) -> None:
    text = "\n".join(_lines(draft, survey, answer, insides)) + "\n"
    draft.add(layout.CHECKLIST, Part.of_bytes(text.encode("ascii")))


def _lines(draft: Draft, survey: Survey, answer: Answer, insides: Mapping[str, Inside]) -> Iterator[str]:
    yield "# Answers for the NeurIPS paper checklist"
    yield ""
    yield (
        "Filled in from the run, for the experiments that are in this bundle and for nothing else of a paper. `\\answerYes{}` and its like are the checklist's own. "
        "Where a sentence is in [brackets], only the author can finish it."
    )
    for number, title, verdict, words in _answers(draft, survey, answer, insides):
        yield ""
        yield f"## {number}. {title}"
        yield ""
        yield f"Answer: \\answer{verdict}{{}}"
        yield ""
        yield f"Justification: {words}"
    yield ""
    yield "## Not answered"
    yield ""
    yield "A run cannot answer " + "; ".join(f"{number}. {title}" for number, title in NOT_OURS.items()) + "."


def _answers(
    draft: Draft, survey: Survey, answer: Answer, insides: Mapping[str, Inside]
) -> Iterator[tuple[int, str, str, str]]:
    yield 2, "Limitations", "Yes", _limitations(survey, answer)
    yield 4, "Experimental result reproducibility", "Yes", _reproducibility(draft, survey)
    yield (5, "Open access to data and code", *_access(draft, survey))
    yield 6, "Experimental setting/details", "Yes", _setting(draft, survey)
    yield (7, "Experiment statistical significance", *_statistics(survey, answer))
    yield (8, "Experiments compute resources", *_resources(survey))
    yield (12, "Licenses for existing assets", *_licenses(draft, survey, insides))
    yield (13, "New assets", *_assets(draft))


def _limitations(survey: Survey, answer: Answer) -> str:
    silicon = (
        count(len(survey.platforms), "real processor")
        if survey.platforms
        else "processors that the records do not name"
    )
    gaps = sum(number for status, number in survey.statuses.items() if status != "ok")
    parts = [
        f"The results are of {silicon}; other CPUs were shown to the programs by their CPUID, which sets what libraries choose and not the silicon."
    ]
    if gaps:
        parts.append(f"{count(gaps, 'replicate')} of {sum(survey.statuses.values()):,} gave no result.")
    if answer.refused:
        parts.append(
            f"{count(len(answer.refused), 'profile')} could not be shown: {pasted(listed(sorted(answer.refused)), 300)}."
        )
    parts.append("ARTIFACT.md lists what the design cannot tell.")
    return " ".join(parts)


def _reproducibility(draft: Draft, survey: Survey) -> str:
    known = sum(bool(software.images) for software in survey.software.values())
    return (
        f"The bundle `{draft.name}{layout.SUFFIX}` has the matrix, the definitions and locks of all {len(survey.software)} stacks with the SHA-256 of every wheel, the image IDs of "
        f"{known} of them, the CPUID tables that programs were shown, and the raw outputs of every run, named by their SHA-256. `numdev bundle rerun` runs the same cells again."
    )


def _access(draft: Draft, survey: Survey) -> tuple[str, str]:
    where = (
        f"It is at https://doi.org/{pasted(draft.doi, 200)}."
        if draft.doi
        else "[Say where the bundle is, and its digest.]"
    )
    inside = [
        name for name in sorted(survey.workloads) if any(part.startswith(f"workloads/{name}/") for part in draft.parts)
    ]
    outside = [name for name in sorted(survey.workloads) if name not in inside]
    words = [where]
    if inside:
        words.append(f"Models and inputs inside: {pasted(listed(inside), 300)}.")
    if outside:
        words.append(f"Named by SHA-256, with where to get them: {pasted(listed(outside), 300)}.")
    words.append("numdev is open source (Apache-2.0).")
    return ("Yes" if draft.doi else "TODO"), " ".join(words)


def _setting(draft: Draft, survey: Survey) -> str:
    factors = "; ".join(
        f"{pasted(key, 60)}: {pasted(listed(draft.run.factors[key]), 300)}"
        for key in draft.run.order
        if key in draft.run.factors
    )
    seeds = (
        "Nothing is trained. Inputs and models are fixed files, named by their SHA-256; built-in seeded models have their seed in numdev's source, and Python's hash seed is "
        "0 in every process."
    )
    return f"Every combination of {factors}, but for those that run.json and ARTIFACT.md name. {seeds} Every replicate is a process of its own."


def _statistics(survey: Survey, answer: Answer) -> tuple[str, str]:
    few, most = survey.repeats
    if most < 2:
        return (
            "No",
            "Each cell was run once, so nothing is known of what differs from run to run. Outputs are compared by their bytes, without a tolerance.",
        )
    each = str(few) if few == most else f"{few} to {most}"
    noisy = sum(len(workload.noise) for workload in answer.workloads)
    bounds = [workload.repeats.bound for workload in answer.workloads if workload.repeats.bound is not None]
    words = f"Each cell was run {each} times, each in a process of its own, and outputs are compared by their bytes, without a tolerance. "
    if noisy:
        words += f"{count(noisy, 'cell')} differed from run to run, and {'has' if noisy == 1 else 'have'} no class."
    elif bounds:
        words += f"No cell differed from run to run; of a workload's runs at most {100 * max(bounds):.2g} % deviate, at 95 % confidence."
    else:
        words += "No cell differed from run to run."
    return "Yes", words


def _resources(survey: Survey) -> tuple[str, str]:
    brands = sorted({pasted(facts.get("brand", "unnamed"), 100) for facts in survey.platforms.values()})
    words = f"Processors: {listed(brands) or 'not recorded'}. Engine: {pasted(listed(sorted(survey.engines)), 100) or 'not recorded'}"
    words += f", Linux {pasted(listed(sorted(survey.kernels)), 200)}. " if survey.kernels else ". "
    words += f"C library: {pasted(listed(sorted(survey.libcs)), 200)}. " if survey.libcs else ""
    words += f"The inferences of all {sum(survey.statuses.values()):,} replicates took {survey.seconds:,.2f} s together. [Memory, and runs that are not in this bundle.]"
    return ("Yes" if brands else "No"), words


def _licenses(draft: Draft, survey: Survey, insides: Mapping[str, Inside]) -> tuple[str, str]:
    known = {name: of_workload(draft, name) for name in sorted(survey.workloads)}
    unknown = [name for name, licence in known.items() if licence == UNKNOWN]
    said = [f"{name} ({licence})" for name, licence in known.items() if licence != UNKNOWN]
    words = ""
    if said:
        words += f"Models and inputs: {pasted(listed(said), 600)}. "
    if unknown:
        words += f"[State the licences of {pasted(listed(unknown), 300)}: numdev does not know them.] "
    packages = sum(len(inside.locked) for inside in insides.values())
    words += f"LICENSES.md lists the {count(packages, 'package')} of the stacks with the licence that each states."
    return ("TODO" if unknown else "Yes"), words


def _assets(draft: Draft) -> tuple[str, str]:
    licence = f"under {pasted(draft.license, 100)}" if draft.license else "[under which licence was not stated]"
    words = (
        f"The bundle is documented by ARTIFACT.md, as an RO-Crate with one action a run, by bills of materials (CycloneDX), and by a citation file; it is published {licence}. "
        "What names a user or a machine was replaced in what numdev writes; models and inputs are as their authors made them."
    )
    return ("Yes" if draft.license else "TODO"), words
