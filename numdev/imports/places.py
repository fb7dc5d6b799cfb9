"""What a result's path in the repository says: the experiment, the workload and the platform."""

from __future__ import annotations

import re
from dataclasses import dataclass

from numdev.imports.layout import RESULTS
from numdev.imports.platforms import CPU, GPU

MAIN = "equivalence_classes"
# Runs of these are containers of their own: experiments/equivalence_classes/common.py and experiments/race_conditions/run.py
# start one for each.
FRESH = (MAIN, "race_conditions")
MULTIPLICATIONS = "num_multiplications"
_MAIN_NAME = re.compile(r"(?P<platform>.+)-(?P<model>[A-Za-z0-9_]+)-i(?P<sample>[0-9]{1,6})\.json")


@dataclass(frozen=True)
class Place:
    """`model` is empty where only the file itself tells it, `sample` where nothing does."""

    experiment: str
    workload: str
    platform: str
    kind: str
    model: str = ""
    sample: str = ""

    @property
    def run(self) -> str:
        return run_name(self.experiment)


def run_name(experiment: str) -> str:
    """The run that holds an experiment; the main one has the shortest name."""
    return "unannticipated" if experiment == MAIN else f"unannticipated-{experiment.replace('_', '-')}"


def place(path: str) -> Place | None:
    """None where the path is not one of the layout."""
    parts = path.removeprefix(RESULTS).split("/")
    if len(parts) < 2:
        return None
    experiment, *folders, name = parts
    host, dot, suffix = name.rpartition(".")
    if not host or dot + suffix != ".json":
        return None
    if experiment == MAIN and len(folders) == 2 and folders[1] in (CPU, GPU):
        found = _MAIN_NAME.fullmatch(name)
        if not found:
            return None
        cloud, kind = folders
        model, sample = found["model"], found["sample"]
        return Place(experiment, f"{model}-i{sample}-{kind}", f"{cloud}/{found['platform']}", kind, model, sample)
    if experiment == "precision" and len(folders) == 1:
        return Place(experiment, folders[0], host, CPU, folders[0])
    if experiment == "race_conditions" and not folders:
        return Place(experiment, "race_conditions", host, CPU)
    if experiment == "raw_simd" and len(folders) == 1:
        return Place(experiment, "raw_simd", f"{folders[0]}/{host}", CPU)
    if experiment == "input_distribution" and len(folders) == 2:
        return Place(experiment, "/".join(folders), host, CPU, folders[0])
    if experiment == "parameter_distribution" and len(folders) == 2:
        # The file names the condition as its model.
        name, _, drawn = host.rpartition("-")
        if name and drawn in ("random", "samples"):
            return Place(experiment, "/".join([*folders, drawn]), name, CPU)
        return Place(experiment, "/".join(folders), host, CPU)
    return None


def path_of(one: Place) -> str:
    """The path at which the repository has a result: the inverse of `place`."""
    folder = f"{RESULTS}{one.experiment}"
    if one.experiment == MAIN:
        cloud, _, rest = one.platform.partition("/")
        return f"{folder}/{cloud}/{one.kind}/{rest}-{one.model}-i{one.sample}.json"
    if one.experiment in ("race_conditions", "raw_simd"):
        return f"{folder}/{one.platform}.json"
    first, *more = one.workload.split("/")
    if one.experiment == "parameter_distribution" and len(more) == 2:
        return f"{folder}/{first}/{more[0]}/{one.platform}-{more[1]}.json"
    return f"{folder}/{one.workload}/{one.platform}.json"
