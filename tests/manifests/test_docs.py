"""The operators' pages: every alert has a section, and examples match the farm's answers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from api.server.drain import drain_limit
from shared.headroom import retrieval_tool
from shared.settings import Settings

from ..documented import ROOT, examples, page
from ..farm import Answer, Farm, post, request, user

RUNBOOK = page("docs/runbook.md")
EXAMPLES = examples("docs/integration.md")
# Configurations of neighbours and clients; the tests that run these read them.
OTHERS = ("litellm", "codex")


def test_every_alert_has_runbook_section() -> None:
    rules = yaml.safe_load((ROOT / "deploy/grafana/alerts.yaml").read_text())["groups"][0]["rules"]
    titles = re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    for rule in rules:
        where, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert where == "docs/runbook.md"
        assert anchor == rule["alert"].lower()
        assert anchor in anchors


def test_every_runbook_section_has_a_command() -> None:
    for section in RUNBOOK.split("\n## ")[1:]:
        assert re.search(r"^    (kubectl|deploy/)", section, re.MULTILINE), section[:40]


def test_documented_examples_match_answers(farm: Farm) -> None:
    shown = {name: json.loads(EXAMPLES[name]) for name in EXAMPLES if name not in OTHERS}
    ada, bob = user(), user()
    log = shown["ask compress"]["messages"][2]["content"]

    def check(name: str, answer: Answer, status: int = 200) -> None:
        assert answer.status == status, name
        assert _with_log(shown[f"answer {name}"], log) == _opened(answer.json), name

    check("compress", farm.post(shown["ask compress"], ada))
    check("compress", farm.post(shown["ask compress"], ada))  # from the cache
    free = farm.post({**shown["ask compress"], "mode": "marker-free"}, ada).json
    assert free["ccr_hashes"] == []
    check("wrong", farm.post(shown["ask wrong"], ada), 400)
    named = {"x-maas-username": ada}
    check("retrieve", post(farm.url, shown["ask retrieve"], named, "/v1/retrieve"))
    check(
        "another",
        post(farm.url, shown["ask retrieve"], {"x-maas-username": bob}, "/v1/retrieve"),
        404,
    )
    (path,) = re.findall(r"`GET (/v1/retrieve/\w+)`", page("docs/integration.md"))
    again = request(farm.url, "GET", path, None, named).json
    assert again["original_content"] == log
    for kind in ("anthropic", "openai"):
        check(kind, post(farm.url, shown[f"ask {kind}"], named, "/v1/retrieve/tool_call"))


def test_documented_turn_matches_answers(farm: Farm) -> None:
    """The options' example, then a turn from its first half to its end."""
    shown = {name: json.loads(EXAMPLES[name]) for name in EXAMPLES if name not in OTHERS}
    named = {"x-maas-username": user()}
    log = shown["ask compress"]["messages"][2]["content"]
    names = {
        "THE MESSAGES": shown["ask compress"]["messages"],
        "THE SHORTER MESSAGES": shown["answer compress"]["messages"],
        "THE TOOL": [retrieval_tool("openai")],
    }
    turn = ""
    for name in ("options", "turn", "redrive", "done"):
        path = "/v1/compress/response" if turn else "/v1/compress"
        asked = _spliced(json.loads(json.dumps(shown[f"ask {name}"]).replace("TURN", turn)), names)
        answer = post(farm.url, asked, named, path)
        assert answer.status == 200, answer.body
        turn = answer.json.get("turn_id", "")
        expected = _spliced(_with_log(shown[f"answer {name}"], log), names)
        if turn:
            expected["turn_id"] = turn
        assert _opened(expected) == _opened(answer.json), name


def _spliced(value: Any, names: dict[str, list[Any]]) -> Any:
    """Return a documented value with placeholders replaced by the items that they name."""
    if isinstance(value, dict):
        return {key: _spliced(one, names) for key, one in value.items()}
    if not isinstance(value, list):
        return value
    items: list[Any] = []
    for one in value:
        named = names.get(one) if isinstance(one, str) else None
        items += named if named is not None else [_spliced(one, names)]
    return items


def _with_log(value: Any, log: str) -> Any:
    """Return a documented answer, opened, with the placeholder for the log replaced."""
    text = json.dumps(_opened(value))
    return json.loads(text.replace('"THE LOG"', json.dumps(log)))


def _opened(value: Any) -> Any:
    """Return an answer in which strings that hold a JSON object are decoded."""
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if isinstance(value, dict):
        return {name: _opened(item) for name, item in value.items()}
    if isinstance(value, str) and value.startswith("{"):
        return _opened(json.loads(value))
    return value


@pytest.mark.parametrize("streams", [4, 300])
def test_documented_time_to_stop_is_the_servers(streams: int) -> None:
    (spare,) = re.findall(r"the deadline \+ (\d+) s", page("docs/reliability.md"))
    settings = Settings(
        deadline_ms=8000,
        stream_drain_seconds=streams,
        drain_seconds=2,
        anthropic_target_api_url="https://provider",  # type: ignore[call-arg, unused-ignore]
    )
    assert drain_limit(settings) == 2 + max(8, streams) + int(spare)


def test_every_documented_example_is_tested() -> None:
    """A block that no test reads could be wrong."""
    blocks = re.findall(r"^```(?:json|toml|yaml)$", page("docs/integration.md"), re.MULTILINE)
    assert len(blocks) == len(EXAMPLES) + 1  # the plugin's configuration cannot be run here
    asked = {name.partition(" ")[2] for name in EXAMPLES if name.startswith("ask ")}
    answered = {name.partition(" ")[2] for name in EXAMPLES if name.startswith("answer ")}
    assert answered - asked == {"another"}
