"""The JSON Schema of the answer, as text: `python -m numdev.report.schema > docs/answer.schema.json`."""

from __future__ import annotations

import json

from numdev.analysis.result import schema


def text() -> str:
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema()}, indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")
