"""The JSON Schemas of what is printed, as text.

`python -m numdev.report.schema > docs/answer.schema.json`, and with `compare`, `mitigate` or `trace` behind it that of
docs/compare.schema.json, docs/mitigate.schema.json or docs/trace.schema.json.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from numdev.analysis import comparison, mitigated, result, tracing


def text(schema: dict[str, Any] | None = None) -> str:
    """A schema as its file has it, of the answer where none is given."""
    return (
        json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **(schema or result.schema())}, indent=2)
        + "\n"
    )


def compare_text() -> str:
    return text(comparison.schema())


def mitigate_text() -> str:
    return text(mitigated.schema())


def trace_text() -> str:
    return text(tracing.schema())


if __name__ == "__main__":
    texts = {"compare": compare_text, "mitigate": mitigate_text, "trace": trace_text}
    print(texts[sys.argv[1]]() if sys.argv[1:] else text(), end="")
