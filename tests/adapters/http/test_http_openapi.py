"""The OpenAPI document tells the truth: Schemathesis asks the running server all that it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.sources.http import HttpSettings, Rates
from adapters.sources.http.openapi import document
from tests.adapters.http.http_served import READINGS, WRITE, Served
from tests.adapters.payload.pushed import PUSHED, T0
from tests.intakes import CollectingIntake

pytestmark = pytest.mark.timeout(120)
# Not asked: that a message with a fault in it is refused. Of ours only the wrong part is.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,positive_data_acceptance,"
    "unsupported_method,allow_header_conformance,ignored_auth"
)


def of_a_known_device(told: dict[str, Any]) -> dict[str, Any]:
    """The document, where what is generated from it is of a device in the registry: then all that
    is right by it must be stored."""
    row = told["components"]["schemas"]["Row"]
    number = {"type": ["number", "boolean", "null"]}
    row["additionalProperties"] = False
    row["properties"] = {
        "device": {"type": "string", "enum": ["main-meter"]},
        "time": {"type": "integer", "enum": [T0, T0 + 1]},
        "values": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": dict.fromkeys(PUSHED, number),
        },
    }
    line = {"type": "string", "enum": ["meters,device=main-meter power.active=1"]}
    write = told["paths"][WRITE]["post"]
    write["requestBody"]["content"]["text/plain"]["schema"] = line
    for path in (WRITE, READINGS):
        asked = told["paths"][path]["post"]
        # Schemathesis says gzip and packs nothing.
        asked["parameters"] = [one for one in asked["parameters"] if one["in"] != "header"]
    return told


@pytest.mark.parametrize("known", [True, False], ids=["known-device", "as-published"])
def test_the_server_does_what_its_document_says(known: bool, tmp_path: Path) -> None:
    settings = {"rates": Rates(1e9, 1e9, 1e12), "per_gateway": 100, "hesitation": 0.0}
    with CollectingIntake() as intake, Served(intake, settings=settings) as served:
        told = served.ask("GET", "/openapi.json").json()
        assert told == json.loads(json.dumps(document(HttpSettings("main"))))
        path = tmp_path / "openapi.json"
        path.write_text(json.dumps(of_a_known_device(told) if known else told))
        checks = CHECKS if known else CHECKS.replace("positive_data_acceptance,", "")
        run = subprocess.run(
            [
                Path(sys.executable).parent / "st",
                *("run", path, "--url", served.url),
                *("--checks", checks, "--mode", "all", "--max-examples", "12"),
                *("--phases", "examples,coverage,fuzzing", "--seed", "1"),
                *("--continue-on-failure", "--no-color"),
                *("-H", "Authorization: Bearer token-of-gw-print"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "No test cases" not in run.stdout
        assert intake.count() > 0 if known else intake.refusals()
        assert served.count("http_requests", code="400") > 0
        assert served.count("http_requests", code="500") == 0
        assert served.post(b"{}", READINGS).status == 400
