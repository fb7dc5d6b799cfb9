"""The schema in docs/ is the code's. Renew: python -m numdev.report.schema > docs/answer.schema.json"""

from pathlib import Path

from numdev.report.schema import text

FILE = Path(__file__).resolve().parents[2] / "docs" / "answer.schema.json"


def test_the_schema_is_up_to_date():
    assert FILE.read_text() == text()
