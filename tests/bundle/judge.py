"""Lets others' tools judge an unpacked bundle, in an environment that has them: judge.py FOLDER. Prints what they find and exits with 1.

The crate validator fetches RO-Crate's context from w3id.org. It is given the file beside this one, which has the terms of that context that
our crates use: what is judged must not depend on whether a web site answers.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import urllib.request
import urllib.response
from email.message import Message
from pathlib import Path

import jsonschema
import requests
import requests.adapters
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from rocrate_validator import models, services
from urllib3 import HTTPResponse

CONTEXT = Path(__file__).with_name("ro-crate-1.1.context.json").read_bytes()
WHERE = "https://w3id.org/ro/crate/1.1/context"
HEADERS = {"Content-Type": "application/ld+json"}


def answer_here() -> None:
    """Requests for the context are answered with the file, whichever of two libraries makes them."""
    opened, sent = urllib.request.OpenerDirector.open, requests.adapters.HTTPAdapter.send

    def open_(self, request, *rest, **named):
        url = request if isinstance(request, str) else request.full_url
        if not url.startswith(WHERE):
            return opened(self, request, *rest, **named)
        headers = Message()
        headers["Content-Type"] = HEADERS["Content-Type"]
        answer = urllib.response.addinfourl(io.BytesIO(CONTEXT), headers, url, 200)
        answer.msg = "OK"
        return answer

    def send(self, request, **named):
        if not request.url.startswith(WHERE):
            return sent(self, request, **named)
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 200, request.url, request
        answer._content = CONTEXT
        answer.headers.update(HEADERS)
        answer.raw = HTTPResponse(io.BytesIO(CONTEXT), status=200, headers=HEADERS, preload_content=False)
        return answer

    urllib.request.OpenerDirector.open, requests.adapters.HTTPAdapter.send = open_, send


def of_crate(folder: Path):
    answer_here()
    for profile in ("ro-crate-1.1", "process-run-crate-0.5"):
        settings = services.ValidationSettings(
            rocrate_uri=str(folder), profile_identifier=profile, requirement_severity=models.Severity.REQUIRED
        )
        result = services.validate(settings)
        yield from (f"{profile}: {issue.message}" for issue in result.get_issues())
        if not result.passed():
            yield f"{profile}: not passed"
        print(f"{profile}: judged")


def of_boms(folder: Path):
    judge = JsonStrictValidator(SchemaVersion.V1_6)
    for path in sorted(folder.glob("sbom/*.json")):
        if error := judge.validate_str(path.read_text()):
            yield f"{path.name}: {str(error)[:1000]}"
        print(f"{path.name}: judged")


def of_citation(folder: Path):
    # The package is not imported: what it needs for that is not installed.
    (package,) = importlib.util.find_spec("cffconvert").submodule_search_locations
    schema = json.loads(Path(package, "schemas", "1.2.0", "schema.json").read_text())
    citation = yaml.load((folder / "CITATION.cff").read_text(), Loader=yaml.BaseLoader)
    for error in jsonschema.Draft7Validator(schema).iter_errors(citation):
        yield f"CITATION.cff: {error.message[:300]}"
    print("CITATION.cff: judged")


if __name__ == "__main__":
    found = [one for judge in (of_crate, of_boms, of_citation) for one in judge(Path(sys.argv[1]))]
    print("\n".join(found))
    sys.exit(bool(found))
