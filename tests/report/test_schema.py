"""The schemas in docs/ are the code's. Renew as numdev/report/schema.py says."""

from pathlib import Path

from numdev.report.schema import compare_text, mitigate_text, text, trace_text

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_schema_is_up_to_date():
    assert (DOCS / "answer.schema.json").read_text() == text()


def test_the_schema_of_comparisons_is_up_to_date():
    assert (DOCS / "compare.schema.json").read_text() == compare_text()


def test_the_schema_of_mitigations_is_up_to_date():
    assert (DOCS / "mitigate.schema.json").read_text() == mitigate_text()


def test_the_schema_of_traces_is_up_to_date():
    assert (DOCS / "trace.schema.json").read_text() == trace_text()
