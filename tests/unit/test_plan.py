"""Plans hang on what is around a message, and on nothing else."""

from __future__ import annotations

import json
import json.decoder
from pathlib import Path
from typing import Any

from api.pipeline.message import Message, count, digest, read
from api.pipeline.plan import ConversationContext, ConversationPlanner, PlanOptions
from shared.upstream import counter_for

COUNTER = counter_for("claude-x")
OPTIONS = PlanOptions("ccr", False, None, 4, 250, False)
CODE = Path(json.decoder.__file__).read_text("utf-8")[:9000]
ROWS = json.dumps([{"id": i, "name": f"row {i}", "ok": i % 7 > 0} for i in range(120)])


class Talk:
    """A conversation whose plans are asked for."""

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
        return self.planner.surroundings(self.facts, options, COUNTER)

    def plan(self, index: int, options: PlanOptions = OPTIONS) -> Any:
        return self.planner.plan(
            index, self.facts[index], self.decoded[index], self.around(options)
        )


def _call(name: str, inputs: dict[str, Any], call: str = "a") -> dict[str, Any]:
    block = {"type": "tool_use", "id": call, "name": name, "input": inputs}
    return {"role": "assistant", "content": [block]}


def _result(text: Any, call: str = "a", **more: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": call, "content": text, **more}
    return {"role": "user", "content": [block]}


def _said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_json_is_for_the_cpu_pool_and_prose_for_the_gpu_pool() -> None:
    prose = " ".join(f"This is sentence {i} of a long and quiet report." for i in range(80))
    for text, pool in ((ROWS, "cpu"), (prose, "gpu")):
        plan, originals, texts = Talk(_call("Bash", {"command": "x"}), _result(text)).plan(1)
        assert [c.pool for c in plan.candidates] == [pool]
        assert list(texts.values()) == [text]
        assert not originals


def test_marker_free_sends_nothing_to_the_text_engine() -> None:
    prose = " ".join(f"This is sentence {i} of a long and quiet report." for i in range(80))
    options = PlanOptions("marker-free", False, None, 4, 250, False)
    plan, _, _ = Talk(_call("Bash", {"command": "x"}), _result(prose)).plan(1, options)
    assert [c.pool for c in plan.candidates] == ["cpu"]


def test_protected_content_reaches_no_engine() -> None:
    failed = "Traceback (most recent call last):\nValueError: failed, error, exception\n" * 12
    cases = [
        (_call("Bash", {"command": "x"}), _result(ROWS, cache_control={"type": "ephemeral"})),
        (_call("Bash", {"command": "x"}), _result(failed)),
        (_call("Bash", {"command": "x"}), _result(ROWS[:3000], is_error=True)),
        (_call("Read", {"file_path": "/a"}), _result(ROWS)),
        (_call("headroom_retrieve", {"hash": "x"}), _result(ROWS)),
        (_call("mcp__jira__get", {}), _result(ROWS[:3000])),
        (_said("hello"), _said(ROWS)),
        (_said("hello"), {"role": "system", "content": ROWS}),
        (_call("Bash", {"command": "x"}), _result("<<ccr:abcdefabcdef>> " + ROWS)),
    ]
    for case in cases:
        plan, _, _ = Talk(*case).plan(1)
        assert plan.candidates == (), case[1]
        assert plan.replacements == ()


def test_code_is_protected_while_recent_or_under_analysis_and_the_plan_says_so() -> None:
    tool = {"role": "tool", "tool_call_id": "a", "content": CODE}
    filler = [{"role": "assistant", "content": "ok"}] * 5
    recent = Talk(tool)
    plan, _, _ = recent.plan(0)
    assert plan.code
    assert plan.candidates == ()
    assert "router:protected:recent_code" in plan.transforms
    old = Talk(tool, *filler)
    plan, _, _ = old.plan(0)
    assert plan.code
    assert len(plan.candidates) == 1
    asked = Talk(tool, *filler, _said("please review this"))
    plan, _, _ = asked.plan(0)
    assert "router:protected:analysis_context" in plan.transforms
    keys = {t.around().key(0, t.facts[0], plan) for t in (recent, old, asked)}
    assert len(keys) == 3


def test_what_does_not_hang_on_recency_keeps_its_key() -> None:
    short = Talk(_call("Bash", {"command": "x"}), _result(ROWS))
    long = Talk(*short.decoded, *[{"role": "assistant", "content": "ok"}] * 9)
    plan, _, _ = short.plan(1)
    assert not plan.code
    key = short.around().key(1, short.facts[1], plan)
    assert key == long.around().key(1, long.facts[1], plan)


def test_a_read_goes_stale_when_its_file_is_edited_and_leaves_its_original() -> None:
    text = "line of the file\n" * 60
    read_it = [_call("Read", {"file_path": "/a.py"}), _result(text)]
    edited = [_call("Edit", {"file_path": "/a.py"}, "b"), _result("done", "b")]
    fresh, stale = Talk(*read_it), Talk(*read_it, *edited)
    plan, originals, _ = fresh.plan(1)
    assert plan.replacements == ()
    before = fresh.around().key(1, fresh.facts[1], plan)
    plan, originals, _ = stale.plan(1)
    assert [o.content for o in originals] == [text]
    assert f"hash={originals[0].hash}" in plan.replacements[0].text
    assert plan.originals == (originals[0].hash,)
    assert before != stale.around().key(1, stale.facts[1], plan)


def test_the_same_id_used_again_changes_the_key_of_what_it_named() -> None:
    first = Talk(_call("Bash", {"command": "x"}), _result(ROWS))
    again = Talk(*first.decoded, _call("Read", {"file_path": "/b"}))
    plan, _, _ = first.plan(1)
    assert first.around().key(1, first.facts[1], plan) != again.around().key(
        1, again.facts[1], plan
    )


def test_what_headroom_cannot_read_goes_through() -> None:
    odd = [
        {"role": ["x"], "content": {"a": 1}},
        {"role": "assistant", "tool_calls": "nonsense", "content": 7},
        {"role": "assistant", "tool_calls": [{"id": 5, "function": "x"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": {"a": [1]}}, "text", 3]},
        {"role": "tool", "tool_call_id": {"a": 1}, "content": "x" * 2000},
        {},
    ]
    for message in odd:
        plan, originals, _ = Talk(message).plan(0)
        assert plan.replacements == ()
        assert not originals


def test_the_key_names_text_call_and_options() -> None:
    def key(text: str, command: str, options: PlanOptions = OPTIONS) -> str:
        plan, _, _ = Talk(_call("Bash", {"command": command}), _result(text)).plan(1, options)
        return str(plan.candidates[0].key)

    assert key(ROWS, "a") == key(ROWS, "a")
    ratio = PlanOptions("ccr", False, 0.3, 4, 250, False)
    keys = {key(ROWS, "a"), key(ROWS + " ", "a"), key(ROWS, "b"), key(ROWS, "a", ratio)}
    assert len(keys) == 4
