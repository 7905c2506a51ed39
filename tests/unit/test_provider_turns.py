"""The retrieval loop in the shapes of the three APIs: calls found, requests continued, put back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from api.provider.billed_usage import add_usage
from api.provider.body import Unreadable, array_items
from api.provider.chat import Chat
from api.provider.messages import Messages
from api.provider.provider_interface import Exchange, Provider, Round, ToolResult, Turn
from api.provider.responses import Responses

HASH = "a1b2c3d4e5f6"
TEXT = ToolResult("r1", "the\noriginal")


class Anthropic:
    """Writes the Messages API's shapes."""

    provider: Provider = Messages()
    request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "go"}]}  # noqa: RUF012

    @staticmethod
    def answer(*parts: Any, stop: str | None = None, **more: Any) -> bytes:
        blocks = [_ANTHROPIC[part] for part in parts]
        calls = any(block["type"] == "tool_use" for block in blocks)
        stop = stop or ("tool_use" if calls else "end_turn")
        usage = {"input_tokens": 10, "output_tokens": 5}
        return json.dumps(
            {"id": "msg_1", "content": blocks, "stop_reason": stop, "usage": usage, **more}
        ).encode()

    @staticmethod
    def history(*parts: Any) -> list[Any]:
        return [{"role": "assistant", "content": [_ANTHROPIC[part] for part in parts]}]

    @staticmethod
    def heard(*ids: str) -> list[Any]:
        blocks = [{"type": "tool_result", "tool_use_id": i, "content": "ok"} for i in ids]
        return [{"role": "user", "content": blocks}]


_ANTHROPIC: dict[str, dict[str, Any]] = {
    "think": {"type": "thinking", "thinking": "hm", "signature": "sig=="},
    "think2": {"type": "thinking", "thinking": "so", "signature": "sig2"},
    "text": {"type": "text", "text": "Let me see."},
    "end": {"type": "text", "text": "Done."},
    "named": {"type": "text", "text": "The assistant is done."},
    "get": {"type": "tool_use", "id": "r1", "name": "headroom_retrieve", "input": {"hash": HASH}},
    "bad": {"type": "tool_use", "id": "r1", "name": "headroom_retrieve", "input": {"x": 1}},
    "own": {"type": "tool_use", "id": "c1", "name": "Bash", "input": {"command": "ls"}},
}


class OpenAIChat:
    """Writes Chat Completions' shapes."""

    provider: Provider = Chat()
    request = Anthropic.request

    @staticmethod
    def said(*parts: Any) -> dict[str, Any]:
        texts = [_ANTHROPIC[p]["text"] for p in parts if p in ("text", "end", "named")]
        calls = [_CALLS[part] for part in parts if part in _CALLS]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
        return {**message, "tool_calls": calls} if calls else message

    @classmethod
    def answer(cls, *parts: Any, stop: str | None = None, **more: Any) -> bytes:
        message = cls.said(*parts)
        stop = stop or ("tool_calls" if "tool_calls" in message else "stop")
        choice = {"index": 0, "message": message, "finish_reason": stop}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        return json.dumps({"id": "msg_1", "choices": [choice], "usage": usage, **more}).encode()

    @classmethod
    def history(cls, *parts: Any) -> list[Any]:
        return [cls.said(*parts)]

    @staticmethod
    def heard(*ids: str) -> list[Any]:
        return [{"role": "tool", "tool_call_id": i, "content": "ok"} for i in ids]


_CALLS: dict[str, dict[str, Any]] = {
    name: {
        "id": _ANTHROPIC[name]["id"],
        "type": "function",
        "function": {
            "name": _ANTHROPIC[name]["name"],
            "arguments": json.dumps(_ANTHROPIC[name]["input"]),
        },
    }
    for name in ("get", "bad", "own")
}


class OpenAIResponses:
    """Writes the Responses API's shapes."""

    provider: Provider = Responses()
    request: dict[str, Any] = {  # noqa: RUF012
        "model": "m",
        "store": False,
        "input": [{"role": "user", "content": "go"}],
    }

    @staticmethod
    def item(part: str) -> dict[str, Any]:
        block = _ANTHROPIC[part]
        if block["type"] == "thinking":
            return {"type": "reasoning", "id": part, "encrypted_content": block["signature"]}
        if block["type"] == "text":
            said = [{"type": "output_text", "text": block["text"]}]
            return {"type": "message", "role": "assistant", "content": said}
        arguments = json.dumps(block["input"])
        call = {"type": "function_call", "call_id": block["id"], "name": block["name"]}
        return {**call, "arguments": arguments}

    @classmethod
    def answer(cls, *parts: Any, stop: str | None = None, **more: Any) -> bytes:
        output = [cls.item(part) for part in parts]
        usage = {"input_tokens": 10, "output_tokens": 5}
        answer = {"id": "msg_1", "status": stop or "completed", "output": output, "usage": usage}
        return json.dumps({**answer, **more}).encode()

    @classmethod
    def history(cls, *parts: Any) -> list[Any]:
        return [cls.item(part) for part in parts]

    @staticmethod
    def heard(*ids: str) -> list[Any]:
        return [{"type": "function_call_output", "call_id": i, "output": "ok"} for i in ids]


APIS: list[Any] = [Anthropic, OpenAIChat, OpenAIResponses]
every_api = pytest.mark.parametrize("api", APIS, ids=lambda api: api.__name__)


def body_of(api: Any, *more: Any, **fields: Any) -> bytes:
    request = {**api.request, **fields}
    array = api.provider.array
    return json.dumps({**request, array: [*request[array], *more]}).encode()


def sent(api: Any, body: bytes) -> list[Any]:
    found: list[Any] = json.loads(body)[api.provider.array]
    return found


def exchange_of(api: Any, turns: list[Turn], last: Turn, at: int = 1) -> Exchange:
    mixed = last.next_step == "mixed"
    served = [*turns, last] if mixed else turns
    return Exchange(
        at=at,
        rounds=tuple(Round(msgspec.Raw(t.said), (TEXT,)) for t in served),
        mixed=mixed,
        answer=api.provider.marks(last.said),
        id=last.id,
        last_id="msg_9",
    )


@every_api
def test_finds_retrievals_and_the_clients_own_calls(api: Any) -> None:
    read = api.provider.read
    assert read(api.answer("end")).next_step == "done"
    assert read(api.answer("own")).next_step == "done"
    assert read(api.answer("think", "text", "get")).next_step == "follow_up"
    mixed = read(api.answer("own", "get"))
    assert mixed.next_step == "mixed"
    assert [(r.id, r.hash) for r in mixed.retrievals] == [("r1", HASH)]
    assert mixed.own_calls == 1
    assert mixed.id == "msg_1"


@every_api
def test_serves_a_call_without_a_hash_too(api: Any) -> None:
    turn = api.provider.read(api.answer("bad"))
    assert [(r.id, r.hash) for r in turn.retrievals] == [("r1", "")]


@every_api
def test_does_not_serve_calls_of_a_cut_answer(api: Any) -> None:
    stop = {OpenAIChat: "length", OpenAIResponses: "incomplete"}.get(api, "max_tokens")
    turn = api.provider.read(api.answer("get", stop=stop))
    assert turn.next_step == "done"


@every_api
def test_follow_up_repeats_the_output_byte_for_byte(api: Any) -> None:
    body = body_of(api, stream=True)
    turn = api.provider.read(api.answer("think", "text", "get"))
    followed = api.provider.follow_up(body, turn, [TEXT])
    array = body.index(b'"go"}') + len(b'"go"}')
    assert followed.startswith(body[:array])
    assert followed.endswith(body[array:])
    said = array_items(turn.said) if api is OpenAIResponses else [turn.said]
    assert b",".join(said) in followed
    assert json.loads(followed)["stream"] is True


def test_results_follow_the_calls_by_each_apis_rules() -> None:
    failed = ToolResult("r1", "gone", failed=True)
    turns = {api: api.provider.read(api.answer("text", "get")) for api in APIS}
    found = {
        api: sent(api, api.provider.follow_up(body_of(api), turn, [failed]))[1:]
        for api, turn in turns.items()
    }
    result = {"type": "tool_result", "tool_use_id": "r1", "content": "gone", "is_error": True}
    assert found[Anthropic] == [
        *Anthropic.history("text", "get"),
        {"role": "user", "content": [result]},
    ]
    assert found[OpenAIChat] == [
        *OpenAIChat.history("text", "get"),
        {"role": "tool", "tool_call_id": "r1", "content": "gone"},
    ]
    assert found[OpenAIResponses] == [
        *OpenAIResponses.history("text", "get"),
        {"type": "function_call_output", "call_id": "r1", "output": "gone"},
    ]


@every_api
def test_last_round_forbids_further_calls(api: Any) -> None:
    turn = api.provider.read(api.answer("get"))
    body = body_of(api, tool_choice="auto")
    choice = json.loads(api.provider.follow_up(body, turn, [TEXT], last=True))["tool_choice"]
    assert choice == ({"type": "none"} if api is Anthropic else "none")


@every_api
def test_client_sees_one_answer_without_retrievals(api: Any) -> None:
    turn = api.provider.read(api.answer("think", "text", "get"))
    merged = api.provider.merge(api.answer("think2", "end", "own", id="msg_2", x=1), [turn])
    seen = api.provider.read(merged)
    assert not seen.retrievals
    assert seen.own_calls == 1
    assert b"headroom" not in merged
    assert json.loads(merged)["x"] == 1
    assert json.loads(merged)["id"] == ("msg_1" if api is OpenAIResponses else "msg_2")
    assert list((seen.usage or {}).values())[:2] == [20, 10]
    if api is not OpenAIChat:
        parts = ("think", "text", "think2", "end", "own")
        shown = json.loads(api.answer(*parts))
        key = "content" if api is Anthropic else "output"
        assert json.loads(merged)[key] == shown[key]
    else:
        assert json.loads(seen.said)["content"] == "Let me see.Done."


@every_api
def test_mixed_answer_passes_the_clients_calls_on(api: Any) -> None:
    merged = api.provider.merge(api.answer("text", "get", "own"), [])
    shown = json.loads(api.answer("text", "own"))
    assert json.loads(merged) == shown


@every_api
def test_answer_with_only_unserved_calls_ends_turn(api: Any) -> None:
    turn = api.provider.read(api.answer("get"))
    merged = json.loads(api.provider.merge(api.answer("get"), [turn]))
    assert "headroom" not in json.dumps(merged)
    if api is Anthropic:
        assert merged["stop_reason"] == "end_turn"
    if api is OpenAIChat:
        assert merged["choices"][0]["finish_reason"] == "stop"
        assert "tool_calls" not in merged["choices"][0]["message"]


@every_api
@pytest.mark.parametrize("first", [("think", "text", "get"), ("get",)])
def test_exchange_is_put_back_as_it_was_said(api: Any, first: tuple[str, ...]) -> None:
    turn = api.provider.read(api.answer(*first))
    last = api.provider.read(api.answer("think2", "end", "own"))
    followed = sent(api, api.provider.follow_up(body_of(api), turn, [TEXT]))
    visible = [part for part in first if part != "get"]
    later = body_of(api, *api.history(*visible, "think2", "end", "own"), *api.heard("c1"))
    put = sent(api, api.provider.put_back(later, [exchange_of(api, [turn], last)]))
    assert put == [*followed, *api.history("think2", "end", "own"), *api.heard("c1")]


@every_api
def test_moved_exchange_is_put_back_at_its_first_part(api: Any) -> None:
    turn = api.provider.read(api.answer("text", "get"))
    last = api.provider.read(api.answer("think2", "end", "own"))
    followed = sent(api, api.provider.follow_up(body_of(api), turn, [TEXT]))
    later = body_of(api, *api.history("text", "think2", "end", "own"), *api.heard("c1"))
    put = sent(api, api.provider.put_back(later, [exchange_of(api, [turn], last, at=2)]))
    assert put == [*followed, *api.history("think2", "end", "own"), *api.heard("c1")]


@every_api
def test_exchange_without_calls_is_found_in_its_place(api: Any) -> None:
    turn = api.provider.read(api.answer("get"))
    last = api.provider.read(api.answer("end"))
    exchange = exchange_of(api, [turn], last)
    later = body_of(api, *api.history("end"), {"role": "user", "content": "more"})
    put = sent(api, api.provider.put_back(later, [exchange], "b"))
    assert len(put) == 5
    moved = body_of(api, {"role": "user", "content": "x"}, *api.history("end"))
    assert api.provider.put_back(moved, [exchange], "b") == moved


@every_api
def test_text_alone_is_no_place_in_another_conversation(api: Any) -> None:
    turn = api.provider.read(api.answer("get"))
    last = api.provider.read(api.answer("end"))
    exchange = msgspec.structs.replace(exchange_of(api, [turn], last), beginning="a")
    later = body_of(api, *api.history("end"), {"role": "user", "content": "more"})
    assert len(sent(api, api.provider.put_back(later, [exchange], "a"))) == 5
    for beginning in ("b", ""):  # another conversation; one without a name
        assert api.provider.put_back(later, [exchange], beginning) == later


@every_api
def test_unique_part_that_the_client_left_out_proves_no_place(api: Any) -> None:
    turn = api.provider.read(api.answer("get"))
    last = api.provider.read(api.answer("think", "end", "own"))
    exchange = exchange_of(api, [turn], last)
    later = body_of(api, *api.history("end"), {"role": "user", "content": "more"})
    assert api.provider.put_back(later, [exchange]) == later
    moved = body_of(api, {"role": "user", "content": "more"}, *api.history("end"))
    assert api.provider.put_back(moved, [exchange], "b") == moved


@every_api
def test_first_part_alone_is_not_the_answer(api: Any) -> None:
    turn = api.provider.read(api.answer("think", "get"))
    exchange = exchange_of(api, [turn], api.provider.read(api.answer("end")))
    later = body_of(api, *api.history("think"), {"role": "user", "content": "more"})
    assert api.provider.put_back(later, [exchange], "b") == later


@pytest.mark.parametrize("api", [Anthropic, OpenAIChat])
def test_users_own_words_are_not_the_answer(api: Any) -> None:
    turn = api.provider.read(api.answer("get"))
    exchange = exchange_of(api, [turn], api.provider.read(api.answer("named")))
    said = {"role": "user", "content": _ANTHROPIC["named"]["text"]}
    assert api.provider.put_back(body_of(api, said), [exchange], "b") == body_of(api, said)
    answered = body_of(api, {**said, "role": "assistant"})
    assert len(sent(api, api.provider.put_back(answered, [exchange], "b"))) == 4


def test_chat_message_without_text_has_null_only_beside_calls() -> None:
    turn = Chat().read(OpenAIChat.answer("text", "get"))
    for parts, content in ((("own",), None), ((), "")):
        last = Chat().read(OpenAIChat.answer(*parts))
        later = body_of(OpenAIChat, *OpenAIChat.history("text", *parts))
        exchange = exchange_of(OpenAIChat, [turn], last)
        put = sent(OpenAIChat, Chat().put_back(later, [exchange], "b"))
        assert [message["content"] for message in put[1:]] == ["Let me see.", TEXT.text, content]


def test_usage_is_added_where_it_is_a_number() -> None:
    first = {"tokens": 1, "fast": True, "cache": {"read": 2}}
    second = {"tokens": None, "fast": True, "cache": {"read": 3, "write": None}}
    assert add_usage([first, None, second]) == {
        "tokens": 1,
        "fast": True,
        "cache": {"read": 5, "write": None},
    }
    assert add_usage([first, second])["fast"] is True


def test_iterations_of_the_provider_are_listed_with_the_farms() -> None:
    steps = [{"type": "compaction"}, {"type": "message"}]
    turn = Messages().read(Anthropic.answer("get", usage={"iterations": steps}))
    merged = json.loads(Messages().merge(Anthropic.answer("end"), [turn]))
    last = {"type": "message", "input_tokens": 10, "output_tokens": 5}
    assert merged["usage"]["iterations"] == [*steps, last]


def test_signed_thinking_before_a_retrieval_marks_its_place() -> None:
    turn = Messages().read(Anthropic.answer("think", "get"))
    exchange = exchange_of(Anthropic, [turn], Messages().read(Anthropic.answer("end")))
    later = body_of(Anthropic, *Anthropic.history("think", "end"))
    assert len(sent(Anthropic, Messages().put_back(later, [exchange]))) == 4


@every_api
def test_mixed_exchange_is_put_back_with_both_results(api: Any) -> None:
    last = api.provider.read(api.answer("text", "get", "own"))
    later = body_of(api, *api.history("text", "own"), *api.heard("c1"))
    put = sent(api, api.provider.put_back(later, [exchange_of(api, [], last)]))
    assert put[1 : 1 + len(api.history("text", "get", "own"))] == api.history("text", "get", "own")
    rest = json.dumps(put[1 + len(api.history("text", "get", "own")) :])
    assert rest.index("r1") < rest.index("c1")
    assert "original" in rest
    assert len(put) == len(json.loads(later)[api.provider.array]) + (
        0 if api is Anthropic else 1 if api is OpenAIChat else 2
    )


@every_api
def test_two_exchanges_find_their_own_places(api: Any) -> None:
    turn = api.provider.read(api.answer("get"))
    last = api.provider.read(api.answer("end"))
    between = {"role": "user", "content": "again"}
    early, late = (exchange_of(api, [turn], last, at) for at in (1, 3))
    later = body_of(api, *api.history("end"), between, *api.history("end"))
    for order in ([early, late], [late, early]):
        put = sent(api, api.provider.put_back(later, order, "b"))
        said = json.dumps(put)
        assert said.count("the\\\\noriginal") + said.count("the\\noriginal") == 2
        assert put[0] == api.request[api.provider.array][0]
        assert between in put
        after = json.dumps(put[put.index(between) :])
        assert after.count("original") == 1


@every_api
@pytest.mark.parametrize("parts", [("text",), ("text", "own"), ("end", "end")])
def test_answer_changed_by_client_stays_unchanged(api: Any, parts: tuple[str, ...]) -> None:
    turn = api.provider.read(api.answer("get"))
    exchange = exchange_of(api, [turn], api.provider.read(api.answer("end")))
    later = body_of(api, *api.history(*parts))
    if api is OpenAIResponses and parts == ("end", "end"):
        return  # two items: the first is the answer
    assert api.provider.put_back(later, [exchange], "b") == later


@every_api
def test_offers_the_tool_after_the_clients_own(api: Any) -> None:
    own = {"name": "Bash"} if api is not OpenAIChat else {"function": {"name": "Bash"}}
    body = body_of(api, tools=[own])
    offered = api.provider.offer(body)
    assert not api.provider.offers(body)
    assert api.provider.offers(offered)
    assert json.loads(offered)["tools"][0] == own
    assert len(json.loads(offered)["tools"]) == 2
    assert offered == api.provider.offer(body)
    assert api.provider.offers(api.provider.offer(body_of(api)))


@every_api
def test_knows_the_tool_under_an_mcp_servers_name(api: Any) -> None:
    name = "mcp__headroom__headroom_retrieve"
    tool = {"name": name} if api is not OpenAIChat else {"function": {"name": name}}
    assert api.provider.offers(body_of(api, tools=[7, tool]))
    told = {"name": "x", "description": "not headroom_retrieve"}
    assert not api.provider.offers(body_of(api, tools=[told]))


def test_offers_no_tool_that_cannot_be_served() -> None:
    assert not Chat().can_offer(body_of(OpenAIChat, n=2))
    assert not Chat().can_offer(body_of(OpenAIChat, functions=[]))
    assert Chat().can_offer(body_of(OpenAIChat, n=1))
    assert not Responses().can_offer(b'{"input":"text","store":false}')
    assert not Responses().can_offer(b'{"input":[],"background":true,"store":false}')


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
def test_offers_no_tool_where_content_is_stored(name: str) -> None:
    assert not Responses().can_offer(body_of(OpenAIResponses, **{name: "x"}))
    assert not Responses().can_offer(body_of(OpenAIResponses, **{name: {"id": "x"}}))
    assert Responses().can_offer(body_of(OpenAIResponses, **{name: None}))


def test_stored_answers_need_a_client_that_repeats_calls() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "Bash", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": '"type":"x_call"'}
    for store in ({}, {"store": True}, {"store": None}):
        for items, offered in ([call, output], True), ([output], False), ([], False):
            body = json.dumps({"input": items, **store}).encode()
            assert Responses().can_offer(body) is offered
    assert Responses().can_offer(json.dumps({"input": [output], "store": False}).encode())


@every_api
@pytest.mark.parametrize("tools", [{}, "x", 3])
def test_odd_tools_are_refused(api: Any, tools: Any) -> None:
    with pytest.raises(Unreadable):
        api.provider.can_offer(body_of(api, tools=tools))


@every_api
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"content": 5, "choices": 5, "output": 5}',
        b'{"content": [5], "choices": [{"message": 5}], "output": [5]}',
        b'{"content": [{}], "choices": [{}], "output": [{"type": 1}]}',
        b'{"content": [{"type": "tool_use", "id": 4}],'
        b'"choices": [{"message": {"tool_calls": [{"id": 4}]}}],'
        b'"output": [{"type": "function_call", "call_id": 4}]}',
    ],
)
def test_answers_of_another_shape_are_refused(api: Any, answer: bytes) -> None:
    with pytest.raises(Unreadable):
        api.provider.read(answer)


def test_several_choices_are_not_served() -> None:
    message = {"message": OpenAIChat.said("get"), "finish_reason": "tool_calls"}
    turn = Chat().read(json.dumps({"choices": [message, message]}).encode())
    assert turn.next_step == "done"


def test_unstored_reasoning_without_content_is_not_repeated() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    call = OpenAIResponses.item("get")
    turn = Responses().read(json.dumps({"output": [reasoning, call]}).encode())
    for store, repeated in ((False, [call]), (True, [reasoning, call])):
        followed = Responses().follow_up(body_of(OpenAIResponses, store=store), turn, [TEXT])
        assert sent(OpenAIResponses, followed)[1:-1] == repeated


@pytest.mark.parametrize(
    ("items", "own"),
    [
        ([{"type": "tool_search_call", "execution": "client", "call_id": "s"}], 1),
        ([{"type": "tool_search_call", "execution": "server", "call_id": None}], 0),
        ([{"type": "tool_search_call"}], 0),
        ([{"type": "shell_call", "call_id": "s"}], 1),
        (
            [{"type": "shell_call", "call_id": "s"}, {"type": "shell_call_output", "call_id": "s"}],
            0,
        ),
        ([{"type": "web_search_call"}, {"type": "mcp_approval_request"}], 1),
    ],
)
def test_calls_that_the_client_answers_are_told_from_the_providers(
    items: list[Any], own: int
) -> None:
    call = OpenAIResponses.item("get")
    turn = Responses().read(json.dumps({"output": [*items, call]}).encode())
    assert turn.own_calls == own
    assert turn.next_step == ("mixed" if own else "follow_up")


def test_mixed_results_follow_a_response_by_its_id() -> None:
    last = Responses().read(OpenAIResponses.answer("get", "own"))
    exchange = exchange_of(OpenAIResponses, [], last)
    body = {"previous_response_id": "msg_1", "input": OpenAIResponses.heard("c1")}
    put = sent(OpenAIResponses, Responses().put_back(json.dumps(body).encode(), [exchange]))
    assert [item["call_id"] for item in put] == ["r1", "c1"]
    sent_after = Responses().put_back(json.dumps(body).encode(), [exchange])
    assert json.loads(sent_after)["previous_response_id"] == "msg_9"
    other = json.dumps({**body, "previous_response_id": "msg_2"}).encode()
    assert Responses().put_back(other, [exchange]) == other


def test_client_may_mark_blocks_and_drop_thinking() -> None:
    turn = Messages().read(Anthropic.answer("think", "text", "get"))
    last = Messages().read(Anthropic.answer("think2", "end", "own"))
    kept = [_ANTHROPIC["text"], _ANTHROPIC["end"], _ANTHROPIC["own"]]
    kept[-1] = {**kept[-1], "cache_control": {"type": "ephemeral"}}
    later = body_of(Anthropic, {"role": "assistant", "content": kept}, *Anthropic.heard("c1"))
    exchange = exchange_of(Anthropic, [turn], last)
    put = sent(Anthropic, Messages().put_back(later, [exchange]))
    assert len(put) == 5
    assert put[3]["content"] == kept[1:]
    assert put[1]["content"] == json.loads(turn.said)


def test_mixed_exchange_waits_for_the_results() -> None:
    last = Messages().read(Anthropic.answer("get", "own"))
    exchange = exchange_of(Anthropic, [], last)
    later = body_of(Anthropic, *Anthropic.history("own"))
    assert Messages().put_back(later, [exchange]) == later
    spoke = body_of(Anthropic, *Anthropic.history("own"), *Anthropic.history("end"))
    assert Messages().put_back(spoke, [exchange]) == spoke
    texted = body_of(Anthropic, *Anthropic.history("own"), {"role": "user", "content": "no"})
    put = sent(Anthropic, Messages().put_back(texted, [exchange]))
    assert [block["type"] for block in put[2]["content"]] == ["tool_result", "text"]
