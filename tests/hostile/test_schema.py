"""The API matches ``/openapi.json``: Schemathesis sends valid and invalid requests."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from api.http.openapi import document
from api.proxy.targets import MODEL_CALLS
from shared.settings import Settings

from ..farm import Farm, request, user
from ..texts import conversation, events, ran

DOCUMENT = schemathesis.openapi.from_dict(document(Settings()))
OPERATIONS = {
    f"{found.ok().method.upper()} {found.ok().path}": found.ok()
    for found in DOCUMENT.get_all_operations()
}
EXAMPLES = 15
UNSUITABLE = [
    # A request without a required field may still be accepted (a model, a user).
    negative_data_rejection,
    # An arbitrary string may be rejected by its endpoint (an unknown hash, a date).
    positive_data_acceptance,
]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_matches_openapi(target: Farm, name: str, mode: GenerationMode) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=OPERATIONS[name].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(target.url, excluded_checks=UNSUITABLE)

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "nothing can be asked"


def test_openapi_lists_every_route(target: Farm) -> None:
    served = target.get("/openapi.json").json
    deadline_ms = int(target.environment["HEADROOM_DEADLINE_MS"])
    assert served == document(Settings(deadline_ms=deadline_ms))
    assert set(MODEL_CALLS) <= set(served["paths"])
    for path, operations in served["paths"].items():
        if path in MODEL_CALLS:  # its provider answers OPTIONS
            assert request(target.url, "OPTIONS", path).status == 404
            continue
        allowed = request(target.url, "OPTIONS", path).headers["allow"]
        wanted = {method.strip().lower() for method in allowed.split(",")} - {"options"}
        assert wanted == set(operations), path


def test_real_answers_match_their_schemas(target: Farm) -> None:
    name = user()
    headers = {"x-maas-username": name}
    compress = OPERATIONS["POST /v1/compress"]
    case = compress.Case(body=conversation(ran(events(name))), media_type="application/json")
    answer = case.call_and_validate(target.url, headers=headers, excluded_checks=UNSUITABLE).json()
    retrieve = OPERATIONS["GET /v1/retrieve/{hash}"]
    case = retrieve.Case(path_parameters={"hash": answer["ccr_hashes"][0]})
    found = case.call_and_validate(target.url, headers=headers, excluded_checks=UNSUITABLE)
    assert found.json()["original_content"] == events(name)
    for path in ("/stats", "/stats/insights", "/stats-history", "/sessions"):
        case = OPERATIONS[f"GET {path}"].Case()
        assert case.call_and_validate(target.url).status_code == 200
