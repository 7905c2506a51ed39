"""The API matches ``/openapi.json``: Schemathesis sends valid and invalid requests."""

from __future__ import annotations

from functools import cache
from typing import Any

import hypothesis
import pytest

from api.http.openapi import document
from api.proxy.upstream_routes import MODEL_CALLS
from shared.settings import Settings

from ..farm import Farm, request, user
from ..texts import conversation, events, ran

NAMES = [
    f"{method.upper()} {path}"
    for path, operations in document(Settings())["paths"].items()
    for method in operations
]
EXAMPLES = 15


@cache
def _operations() -> dict[str, Any]:
    import schemathesis

    found = schemathesis.openapi.from_dict(document(Settings())).get_all_operations()
    return {f"{one.ok().method.upper()} {one.ok().path}": one.ok() for one in found}


def _validated(case: Any, **given: Any) -> Any:
    """Send a case, check that its answer matches the document, and return it."""
    from schemathesis.specs.openapi import checks

    unsuitable = [
        # A request without a required field may still be accepted (a model, a user).
        checks.negative_data_rejection,
        # An arbitrary string may be rejected by its endpoint (an unknown hash, a date).
        checks.positive_data_acceptance,
    ]
    return case.call_and_validate(excluded_checks=unsuitable, **given)


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("name", NAMES)
def test_every_answer_matches_openapi(target: Farm, name: str, mode: str) -> None:
    from schemathesis import GenerationMode

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=_operations()[name].as_strategy(generation_mode=GenerationMode(mode)))
    def ask(case: Any) -> None:
        _validated(case, base_url=target.url)

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        assert mode == "negative", "nothing can be asked"


def test_openapi_lists_every_route(target: Farm) -> None:
    assert set(NAMES) == set(_operations())
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
    compress = _operations()["POST /v1/compress"]
    case = compress.Case(body=conversation(ran(events(name))), media_type="application/json")
    answer = _validated(case, base_url=target.url, headers=headers).json()
    retrieve = _operations()["GET /v1/retrieve/{hash}"]
    case = retrieve.Case(path_parameters={"hash": answer["ccr_hashes"][0]})
    found = _validated(case, base_url=target.url, headers=headers)
    assert found.json()["original_content"] == events(name)
    for path in ("/stats", "/stats/insights", "/stats-history", "/sessions"):
        case = _operations()[f"GET {path}"].Case()
        assert _validated(case, base_url=target.url).status_code == 200
