"""A Dockerfile that says in familiar words what an image holds. numdev itself does not build with it."""

from __future__ import annotations

import json

from numdev.spec.stack import Stack, load_base
from numdev.stacks.image import ENVIRONMENT, ImagePlan
from numdev.stacks.lock import LIMIT as DOCKERFILE_LIMIT
from numdev.stacks.site import SITE


def dockerfile_for(stack: Stack, plan: ImagePlan) -> str:
    """The text of an equivalent Dockerfile (for a stack that is a Dockerfile: that one).

    An image that is built with it holds the same packages, but not the same bytes: files get the time of the build.
    """
    if stack.dockerfile:
        with open(stack.dockerfile, encoding="utf-8", errors="replace") as file:
            return file.read(DOCKERFILE_LIMIT)
    base = load_base(stack.folder.parent, stack.base)
    origin = base.registry or f"debian:{base.suite}-slim"
    lines = [
        f"# Equivalent to the image of the stack {stack.name}, {plan.image_id}.",
        f"# Build it in {stack.folder.name}/, where {stack.lock.name} lies: docker build -t {stack.name} -f FILE .",
        f"# Its packages are the same; the image ID is not: only `numdev images build {stack.name}` gives that.",
        "",
        f"FROM {origin} AS wheels",
        "RUN apt-get update && apt-get install -y --no-install-recommends python3-pip ca-certificates",
        f"COPY {stack.lock.name} /tmp/{stack.lock.name}",
        "RUN python3 -m pip install --no-deps --require-hashes --only-binary :all: --no-compile \\",
        f"        --target {SITE} -r /tmp/{stack.lock.name} && rm -rf {SITE}/bin",
        "",
        f"FROM {origin}",
    ]
    if not base.registry:
        packages = " ".join(base.include)
        lines += [
            f"RUN apt-get update && apt-get install -y --no-install-recommends {packages} \\",
            " && rm -rf /var/lib/apt/lists/*",
        ]
    lines.append(f"COPY --from=wheels {SITE} {SITE}")
    lines.append("ENV " + " ".join(f"{name}={value}" for name, value in ENVIRONMENT.items()))
    labels = [f"{name}={json.dumps(value)}" for name, value in plan.labels.items()]
    lines.append("LABEL " + " \\\n      ".join(labels))
    lines.append('CMD ["/usr/bin/python3"]')
    return "\n".join(lines) + "\n"
