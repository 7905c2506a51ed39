"""The requests that gateways send and the answers they expect, according to their documentation.

Each file in ``callers`` describes one gateway: its sources, and requests with expected answers.
``LOG`` stands for a log that must become shorter, ``USER`` for a unique user, ``TURN`` for the
turn that the previous request has opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.ports import free_port

from ..documented import examples
from ..farm import Answer, Farm, request, until, user
from ..texts import events

CALLERS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((Path(__file__).parent / "callers").glob("*.json"))
}
CASES = [
    pytest.param(caller, case, id=f"{name}: {case['name']}")
    for name, caller in CALLERS.items()
    for case in caller["cases"]
]
_IS: dict[str, Callable[[Any], bool]] = {
    "integer": lambda value: type(value) is int and value >= 0,
    "number": lambda value: type(value) is float,
    "string": lambda value: isinstance(value, str) and bool(value),
    "object": lambda value: isinstance(value, dict),
    "strings": lambda value: all(isinstance(one, str) for one in value),
    "hashes": lambda value: all(re.fullmatch("[a-f0-9]{12,24}", one) for one in value),
}


@pytest.fixture(scope="module")
def kept(farm: Farm) -> Iterator[str]:
    """The address of a front end of the same farm with ``HEADROOM_RATIO=kept``."""
    port = free_port()
    process = farm.start_api(port=port, ratio="kept")
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return request(url, "GET", "/readyz").json["checks"].get("cpu_workers") == 1
        except OSError:
            return False

    until("the other front end is ready", ready)
    yield url
    process.stop()


class Case:
    """The state of one case: the values of its names."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.names = {"USER": user(), "LOG": events(user()), "TURN": ""}

    def said(self, value: Any) -> Any:
        """Return a value of the file with the names replaced."""
        if isinstance(value, dict):
            return {key: self.said(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.said(one) for one in value]
        if isinstance(value, str):
            for name, given in self.names.items():
                value = value.replace(name, given)
        return value

    def ask(self, case: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Send the case's request."""
        given = {"content-type": "application/json", **headers}
        body = json.dumps(self.said(case["body"])).encode() if "body" in case else None
        method = case.get("method", "POST")
        return request(self.url, method, case["path"], body, self.said(given))


@pytest.mark.parametrize(("caller", "case"), CASES)
def test_caller_gets_what_it_expects(
    farm: Farm, kept: str, caller: dict[str, Any], case: dict[str, Any]
) -> None:
    tried = Case(kept if caller.get("settings") == {"ratio": "kept"} else farm.url)
    headers = case.get("headers", {})
    for step in (case, *case.get("then", [])):
        answer = tried.ask(step, headers)
        assert answer.status == step["status"], answer.body
        found = answer.json if answer.body else {}
        if "error" in step:
            assert found["error"]["type"] == step["error"]
            assert found["error"]["message"]
        for name, kind in step.get("fields", {}).items():
            assert _IS[kind](found[name]), (name, found[name])
        for name, value in step.get("equal", {}).items():
            assert found[name] == value, name
        tried.names["TURN"] = found.get("turn_id", "")
        if answer.status == 200 and step["path"].endswith("/compress"):
            _same_conversation(tried, step, found)
        if "retrieves" in step:
            _retrieves(tried, step, found, headers)


def _same_conversation(tried: Case, case: dict[str, Any], found: dict[str, Any]) -> None:
    """Check that count, order and roles are the same, and that only tool output became shorter."""
    array = case.get("array", "messages")
    sent, got = tried.said(case["body"][array]), found[array]
    assert [one.get("role") for one in got] == [one.get("role") for one in sent]
    for index in case.get("unchanged", []):
        assert got[index] == sent[index]
    for index in case.get("shorter", []):
        assert len(json.dumps(got[index])) < len(json.dumps(sent[index])) / 2
        assert {**got[index], "content": 0, "output": 0} == {
            **sent[index],
            "content": 0,
            "output": 0,
        }
    assert found["tokens_saved"] == found["tokens_before"] - found["tokens_after"]
    whole = found["tokens_before"] or 1
    part = found["tokens_after"] if case.get("ratio") == "kept" else found["tokens_saved"]
    if "ratio" in case or found["tokens_saved"]:
        assert found["compression_ratio"] == pytest.approx(part / whole)
    assert set(re.findall(r"hash=([a-f0-9]{12,24})", json.dumps(got))) == set(found["ccr_hashes"])
    if "body_without" in case:
        assert set(found["body"]) - {"tools"} == set(case["body"]) - set(case["body_without"])
        assert found["body"][array] == got


def _retrieves(
    tried: Case, case: dict[str, Any], found: dict[str, Any], headers: dict[str, str]
) -> None:
    assert found["ccr_hashes"]
    for digest in found["ccr_hashes"]:
        path = case["retrieves"].format(hash=digest)
        had = request(tried.url, "GET", path, None, tried.said(headers))
        assert had.json["original_content"] == tried.names["LOG"]


def test_every_caller_names_its_sources() -> None:
    assert set(CALLERS) == {"agentgateway", "go_plugin", "kong", "litellm", "portkey"}
    for caller in CALLERS.values():
        assert caller["sources"]
        assert len({case["name"] for case in caller["cases"]}) == len(caller["cases"])


@pytest.mark.parametrize(
    ("name", "caller", "case"),
    [
        ("go-plugin", "go_plugin", "takes its options at the top"),
        ("litellm", "litellm", "gets markers, and their originals"),
        ("kong", "kong", "names the session"),
        ("portkey", "portkey", "compresses with all of its parameters"),
        ("agentgateway", "agentgateway", "sends Responses items"),
    ],
)
def test_documented_request_is_one_sent_here(name: str, caller: str, case: str) -> None:
    (sent,) = [one["body"] for one in CALLERS[caller]["cases"] if one["name"] == case]
    assert json.loads(examples("docs/integration.md")[f"caller {name}"]) == sent
