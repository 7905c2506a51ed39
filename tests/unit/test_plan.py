"""A message's plan depends on earlier messages only."""

from __future__ import annotations

import json
import json.decoder
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.pipeline.fold.references import Folded
from api.pipeline.form_or_reference import STAYS, decide_block
from api.pipeline.message import Candidate, Message, Place, Plan, count, digest, read
from api.pipeline.plan_message import MIN_CHARS, ConversationPlanner
from api.pipeline.plan_options import PlanOptions
from api.pipeline.planning_context import ConversationContext
from shared.headroom import counter_for
from shared.jobs import Form

from ..texts import events, page, prose

COUNTER = counter_for("claude-x")
OPTIONS = PlanOptions("ccr", False, None, 4, 250, False)
CODE = Path(json.decoder.__file__).read_text("utf-8")[:9000]
ROWS = json.dumps([{"id": i, "name": f"row {i}", "ok": i % 7 > 0} for i in range(120)])
FAILED_JOBS = json.dumps(
    [{"id": i, "state": "failed", "error": f"Exception: job {i} failed"} for i in range(40)]
)
PROSE = prose()


class Talk:
    """A conversation, and the plans of its messages."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.decoded = list(messages)
        self.facts: list[Message] = []
        for message in messages:
            raw = json.dumps(message).encode()
            facts, _ = read(raw, digest(raw))
            count(facts, message, COUNTER)
            self.facts.append(facts)
        self.planner = ConversationPlanner()

    def around(self, options: PlanOptions = OPTIONS) -> ConversationContext:
        return ConversationContext(self.facts, options, COUNTER)

    def plan(self, index: int, options: PlanOptions = OPTIONS) -> tuple[Plan, dict[str, str]]:
        context = self.around(options).of(index)
        return self.planner.plan(context, self.facts[index], self.decoded[index])

    def candidates(self, index: int, options: PlanOptions = OPTIONS) -> tuple[Candidate, ...]:
        return self.plan(index, options)[0].candidates


def _call(name: str, inputs: dict[str, Any], call: str = "a") -> dict[str, Any]:
    block = {"type": "tool_use", "id": call, "name": name, "input": inputs}
    return {"role": "assistant", "content": [block]}


def _result(text: Any, call: str = "a", **more: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": call, "content": text, **more}
    return {"role": "user", "content": [block]}


def _said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


RUN = _call("Bash", {"command": "x"})


def test_json_goes_to_cpu_and_prose_to_gpu() -> None:
    for text, pool in ((ROWS, "cpu"), (PROSE, "gpu")):
        plan, texts = Talk(RUN, _result(text)).plan(1)
        assert [c.pool for c in plan.candidates] == [pool]
        assert list(texts.values()) == [text]


def test_marker_free_request_reaches_no_text_engine() -> None:
    options = replace(OPTIONS, marker_mode="marker-free")
    assert [c.pool for c in Talk(RUN, _result(PROSE)).candidates(1, options)] == ["cpu"]


def test_protected_content_allows_no_loss() -> None:
    failed = "Traceback (most recent call last):\nValueError: failed, error, exception\n" * 12
    cases = [
        (RUN, _result(failed)),
        (RUN, _result(ROWS[:3000], is_error=True)),
        (_call("Read", {"file_path": "/a"}), _result(ROWS)),
        (_call("headroom_retrieve", {"hash": "x"}), _result(ROWS)),
        (_call("mcp__jira__get", {}), _result(ROWS[:3000])),
        (_said("hello"), _said(ROWS)),
        (_said("hello"), {"role": "system", "content": ROWS}),
        (RUN, _result("<<ccr:abcdefabcdef>> " + ROWS)),
    ]
    for case in cases:
        assert all(c.may != "engine" for c in Talk(*case).candidates(1)), case[1]


def test_text_of_user_and_system_stays() -> None:
    for message in (_said(ROWS), {"role": "system", "content": ROWS}):
        assert Talk(_said("hello"), message).candidates(1) == ()


@pytest.mark.parametrize("text", [ROWS, PROSE, CODE], ids=["rows", "prose", "code"])
def test_cache_mark_protects_no_text(text: str) -> None:
    plain, _ = Talk(RUN, _result(text)).plan(1)
    marked, _ = Talk(RUN, _result(text, cache_control={"type": "ephemeral"})).plan(1)
    assert marked == plain
    assert marked.candidates


@pytest.mark.parametrize("text", [ROWS, PROSE, CODE], ids=["rows", "prose", "code"])
def test_later_messages_never_change_a_plan(text: str) -> None:
    later = [
        {"role": "assistant", "content": "ok"},
        _call("Edit", {"file_path": "/a.py"}, "b"),
        _result("done", "b"),
        _said("please review and debug this code"),
        _call("Read", {"file_path": "/b"}),
        _result("other", "a"),
    ] * 3
    for call in (RUN, _call("Read", {"file_path": "/a.py"})):
        short = Talk(_said("what is there"), call, _result(text))
        grown = Talk(*short.decoded, *later)
        assert short.plan(2) == grown.plan(2)
        assert short.around().key(2) == grown.around().key(2)


def test_code_depends_on_question_of_its_turn() -> None:
    tool = _result(CODE)
    asked = Talk(_said("please review this code"), RUN, tool)
    calm = Talk(_said("what is there"), RUN, tool)
    assert asked.around().key(2) != calm.around().key(2)
    assert [c.key for c in asked.candidates(2)] != [c.key for c in calm.candidates(2)]


@pytest.mark.parametrize("text", [ROWS, PROSE, CODE], ids=["rows", "prose", "code"])
def test_result_without_its_call_depends_on_no_question(text: str) -> None:
    alone = Talk(_result(text))
    asked = Talk(_said("please review this code"), _result(text))
    assert alone.around().key(0) == asked.around().key(1)
    assert alone.candidates(0) == asked.candidates(1)


def test_id_used_again_binds_to_nearest_call_before() -> None:
    talk = Talk(RUN, _result(ROWS), _call("Fetch", {"path": "/b"}), _result(ROWS))
    first, second = talk.candidates(1), talk.candidates(3)
    assert first[0].call is not None
    assert second[0].call is not None
    assert (first[0].call.name, second[0].call.name) == ("Bash", "Fetch")
    assert first[0].key != second[0].key


def test_call_that_comes_later_names_nothing() -> None:
    talk = Talk(_result(ROWS), RUN)
    assert [c.call for c in talk.candidates(0)] == [None]


def test_parts_of_a_result_are_separate_texts() -> None:
    parts = [
        {"type": "text", "text": ROWS},
        {"type": "image", "source": {}},
        {"type": "text", "text": PROSE},
        {"type": "text", "text": "short"},
    ]
    plan, texts = Talk(RUN, _result(parts)).plan(1)
    assert [c.place for c in plan.candidates] == [Place(0, 0), Place(0, 2)]
    assert list(texts.values()) == [ROWS, PROSE]


def test_small_result_may_be_written_without_loss() -> None:
    text = "\n".join(f"row {i} is here" for i in range(20))
    assert MIN_CHARS <= len(text) < 1000
    assert [c.may for c in Talk(RUN, _result(text)).candidates(1)] == ["reversible"]
    assert Talk(RUN, _result(text[: MIN_CHARS - 1])).candidates(1) == ()


def test_unreadable_shapes_stay_unchanged() -> None:
    odd = [
        {"role": ["x"], "content": {"a": 1}},
        {"role": "assistant", "tool_calls": "nonsense", "content": 7},
        {"role": "assistant", "tool_calls": [{"id": 5, "function": "x"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": {"a": [1]}}, "text", 3]},
        {"role": "user", "content": [{"type": "tool_result", "content": [1, {"text": 5}]}]},
        {"role": "tool", "tool_call_id": {"a": 1}, "content": 7},
        {},
    ]
    for message in odd:
        assert Talk(message).candidates(0) == (), message


def test_unhashable_call_id_only_prevents_savings() -> None:
    plan, _ = Talk({"role": "tool", "tool_call_id": {"a": 1}, "content": "x\n" * 2000}).plan(0)
    assert plan.transforms == ("farm:verbatim:unplanned",)
    assert plan.candidates == ()


def test_key_names_text_call_question_and_options() -> None:
    def key(text: str, command: str, options: PlanOptions = OPTIONS, asked: str = "go") -> str:
        call = _call("Bash", {"command": command})
        return Talk(_said(asked), call, _result(text)).candidates(2, options)[0].key

    assert key(ROWS, "a") == key(ROWS, "a")
    ratio = replace(OPTIONS, target_ratio=0.3)
    others = [
        key(ROWS, "a"),
        key(ROWS + " ", "a"),
        key(ROWS, "b"),
        key(ROWS, "a", ratio),
        key(ROWS, "a", asked="which row is not ok"),
        key(ROWS, "a", replace(OPTIONS, marker_mode="marker-free")),
    ]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize(
    ("command", "text", "changes", "may"),
    [
        ("cat decoder.py", CODE, {}, "fold"),
        ("cat decoder.py", CODE, {"code_aware": True}, "engine"),
        ("cat rules.yaml", "- name: high load\n  for: 5m\n" * 200, {}, "fold"),
        ("curl http://x/", page(), {}, "engine"),
        ("curl http://x/", page(), {"marker_mode": "marker-free"}, "fold"),
        ("curl http://x/jobs", FAILED_JOBS, {}, "reversible"),
        ("./jobs", FAILED_JOBS.replace("}, ", "}\n").strip("[]"), {}, "reversible"),
        ("tail -n 200 app.log", events(), {"marker_mode": "marker-free"}, "reversible"),
    ],
)
def test_only_what_may_change_goes_to_workers(
    command: str, text: str, changes: dict[str, Any], may: str
) -> None:
    talk = Talk(_call("Bash", {"command": command}), _result(text))
    found = talk.candidates(1, replace(OPTIONS, **changes))
    assert [one.may for one in found] == [may]


def test_output_of_a_failed_tool_loses_nothing_unless_it_shows_what_failed() -> None:
    listing = "\n".join(f"unit {n} is  {n * 7 % 90}  berths long" for n in range(900))
    asked = {"role": "user", "content": "What is wrong?"}
    call = _call("mcp__quay__inspect", {"berth": 7})
    for text, failed, may in (
        (listing, False, "engine"),
        (listing, True, "reversible"),
        (events(), True, "engine"),
    ):
        found = Talk(asked, call, _result(text, is_error=failed)).candidates(2)
        assert [c.may for c in found] == [may], (text[:20], failed)


@pytest.mark.parametrize("may", ["engine", "reversible", "fold"])
def test_text_that_may_lose_nothing_takes_no_form_with_a_marker(may: Any) -> None:
    [found] = Talk(RUN, _result(events())).candidates(1)
    candidate = replace(found, may=may)
    lossy, exact = Form("short", shown=("ab" * 6,)), Form("short")
    assert (decide_block(candidate, "x" * 99, lossy, None) is STAYS) is (may != "engine")
    assert decide_block(candidate, "x" * 99, exact, None).form is exact


@pytest.mark.parametrize(
    ("form", "wins"),
    [
        (Form("x" * 90), True),
        (Form("x" * 110), False),
        (Form("x" * 60, lossy=True), True),
        (Form("x" * 80, lossy=True), False),
        (Form("x" * 80, shown=("ab" * 6,)), False),
    ],
)
def test_form_that_loses_lines_must_be_much_shorter_than_references(form: Form, wins: bool) -> None:
    [candidate] = Talk(RUN, _result(events())).candidates(1)
    folded = Folded("y" * 100, (), 50)
    made = decide_block(candidate, "x" * 150, form, folded)
    assert made.form is (form if wins else None)
    assert made.folded is (None if wins else folded)
