"""``POST /v1/usage``: measured cost in addition to the estimate, counted once per request."""

from __future__ import annotations

from typing import Any

import pytest

from ..farm import Answer, Farm, post, request, user
from ..texts import conversation, ran, rows

ANTHROPIC = {
    "input_tokens": 1000,
    "cache_creation_input_tokens": 2000,
    "cache_read_input_tokens": 40_000,
    "output_tokens": 500,
}
MODEL = "claude-opus-4-6"
INPUT_USD = (1000 * 5 + 2000 * 6.25 + 40_000 * 0.5) / 1e6
OUTPUT_USD = 500 * 25 / 1e6


def _tell(farm: Farm, body: Any, name: str, **headers: str) -> Answer:
    given = {k.replace("_", "-"): v for k, v in headers.items()}
    return post(farm.url, body, {"x-maas-username": name, **given}, "/v1/usage")


def _cost(farm: Farm, name: str) -> Any:
    return request(farm.url, "GET", f"/stats?user={name}").json["summary"]["cost"]


def test_shows_measured_cost_beside_estimate(farm: Farm) -> None:
    name = user()
    body = {**conversation(ran(rows(name))), "model": MODEL}
    assert farm.post(body, name, x_request_id=f"{name}-1").json["tokens_saved"] > 0
    before = _cost(farm, name)
    answer = _tell(farm, {"request_id": f"{name}-1", "usage": ANTHROPIC}, name)
    assert answer.status == 200
    assert answer.json["model"] == MODEL, "the model of the answered request"
    assert answer.json["measured_usd"] == pytest.approx(INPUT_USD)
    after = _cost(farm, name)
    assert after["measured_requests"] == 1
    assert after["measured_usd"] == pytest.approx(INPUT_USD)
    assert after["measured_output_usd"] == pytest.approx(OUTPUT_USD)
    assert after["measured_tokens"] == {
        "uncached": 1000,
        "written": 2000,
        "read": 40_000,
        "output": 500,
    }
    estimate = ("without_headroom_usd", "with_headroom_usd", "total_saved_usd")
    assert [after[key] for key in estimate] == [before[key] for key in estimate]
    rows_by_user = farm.get(f"/stats/insights?user={name}").json["by_user"]
    assert rows_by_user[0]["measured_usd"] == pytest.approx(INPUT_USD)
    assert rows_by_user[0]["requests"] == 1, "reported usage is not a request"


def test_session_usage_has_price_of_last_model(farm: Farm) -> None:
    name = user()
    body = {**conversation(ran(rows(name))), "config": {"session_id": "s-1"}}
    for model in ("gpt-4o", MODEL):
        assert farm.post({**body, "model": model}, name).json["session"]["id"] == "s-1"
    told = {"session_id": "s-1", "usage": ANTHROPIC}
    answer = _tell(farm, told, name).json
    assert (answer["model"], answer["session_id"]) == (MODEL, "s-1")
    assert answer["measured_usd"] == pytest.approx(INPUT_USD)
    assert _tell(farm, told, user()).json["model"] == "default", "the session is another user's"
    assert _cost(farm, name)["measured_requests"] == 1
    (row,) = farm.get(f"/stats/insights?user={name}").json["by_user"]
    assert row["requests"] == 2


def test_repeated_usage_counts_once(farm: Farm) -> None:
    name = user()
    body = {"request_id": "once", "model": MODEL, "usage": ANTHROPIC}
    for _ in range(3):
        assert _tell(farm, body, name).status == 200
    assert _cost(farm, name)["measured_requests"] == 1
    corrected = {**body, "usage": {**ANTHROPIC, "cache_read_input_tokens": 0}}
    _tell(farm, corrected, name)
    cost = _cost(farm, name)
    assert cost["measured_requests"] == 1
    assert cost["measured_usd"] == pytest.approx(INPUT_USD - 40_000 * 0.5 / 1e6)
    _tell(farm, {**body, "request_id": "another"}, name)
    assert _cost(farm, name)["measured_requests"] == 2


def test_two_users_can_share_a_request_id(farm: Farm) -> None:
    names = user(), user()
    for name in names:
        _tell(farm, {"request_id": "same", "model": MODEL, "usage": ANTHROPIC}, name)
    assert [_cost(farm, name)["measured_requests"] for name in names] == [1, 1]


def test_accepts_upstreams_body(farm: Farm) -> None:
    name = user()
    usage = {"cache_read_input_tokens": 10, "cache_creation_input_tokens": 0}
    body = {"session_id": "a session", "usage": usage}
    answer = _tell(farm, body, name, x_request_id="turn-1").json
    assert (answer["session_id"], answer["applied"]) == ("a session", True)
    assert answer["cost_is_fallback"] is True, "headroom's body names no model"
    _tell(farm, body, name, x_request_id="turn-1")
    _tell(farm, body, name, x_request_id="turn-2")
    assert _cost(farm, name)["measured_requests"] == 2


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"usage": ANTHROPIC},
        {"request_id": "", "usage": ANTHROPIC},
        {"request_id": 5, "usage": ANTHROPIC},
        {"request_id": "x" * 257, "usage": ANTHROPIC},
        {"request_id": "a"},
        {"request_id": "a", "usage": {"output_tokens": 1}},
        {"request_id": "a", "usage": {"input_tokens": -1}},
        {"request_id": "a", "usage": ANTHROPIC, "model": 3},
    ],
)
def test_rejects_malformed_usage_body(farm: Farm, body: Any) -> None:
    name = user()
    answer = _tell(farm, body, name)
    assert answer.status == 400
    assert answer.json["error"]["message"]
    assert _cost(farm, name)["measured_requests"] == 0
