"""Exchanges that a session keeps: many, large ones, and too much of them."""

from __future__ import annotations

import re
import secrets
from itertools import pairwise

from api.provider.provider_interface import Exchange
from api.provider.retrieval_exchange import pack
from api.runtime.retrieval_exchange_store import MOST_BYTES
from shared import keys
from shared.scripts import script

from ..farm import Farm, user
from ..texts import events
from .saying import Anthropic
from .scripted import ScriptedProvider
from .sdk_clients import END, OWN, AnthropicClient, array_of, say


def test_prefix_stays_after_many_retrievals(proxy: Farm, provider: ScriptedProvider) -> None:
    one = AnthropicClient(proxy, name := user())
    one.hear(events(secrets.token_hex(4)))
    provider.will_say(
        *[
            say(Anthropic, part, stream=False)
            for number in range(3)
            for part in (("get", f"r{number}"), ("own", f"c{number}"))
        ]
    )
    for number in range(3):
        one.ask(stream=False)
        one.go_on(f"c{number}")
        if not number:
            (key,) = proxy.redis.keys(keys.exchanges(keys.user_tag(name), "")[:-24] + "*")
            proxy.redis.rpush(key, *[pack(Exchange(n, (), False, ("id:x",))) for n in range(40)])
    for before, after in pairwise(provider.asked):
        assert array_of(Anthropic, after).startswith(array_of(Anthropic, before))


def test_model_is_told_of_an_original_that_is_too_large_to_keep(
    proxy: Farm, provider: ScriptedProvider
) -> None:
    def not_kept() -> float:
        found = re.search(
            r'^headroom_proxy_retrievals_total{outcome="not_kept"} (\S+)',
            proxy.get("/metrics").body.decode(),
            re.M,
        )
        return float(found[1]) if found else 0

    before = not_kept()
    one = AnthropicClient(proxy, user())
    one.hear(text := events(secrets.token_hex(4), count=6000))
    assert len(text) * 3 > MOST_BYTES > len(text)
    provider.will_say(
        say(Anthropic, ("get", "r1"), ("get", "r2"), ("get", "r3"), OWN, stream=True),
        say(Anthropic, ("get", "r4"), stream=True),
        say(Anthropic, END, stream=True),
    )
    one.ask(stream=True)
    one.go_on("c1")
    one.ask(stream=True)
    _, second, third = (asked.json["messages"] for asked in provider.asked)
    told = second[-1]["content"]
    assert [result["tool_use_id"] for result in told] == ["r1", "r2", "r3", "c1"]
    assert all("without other calls" in result["content"] for result in told[:3])
    assert [result.get("is_error") for result in told] == [True] * 3 + [None]
    assert third[-1]["content"][0]["content"] == text
    assert not_kept() == before + 3


def test_turn_that_nothing_marks_is_not_kept(proxy: Farm, provider: ScriptedProvider) -> None:
    """The client names no session, so a text is no place: many answers are 'Done.'"""
    one = AnthropicClient(proxy, name := user())
    one.hear(events(secrets.token_hex(4)))
    said = (("get", "r1"), END, ("get", "r2"), OWN)
    provider.will_say(*[say(Anthropic, part, stream=False) for part in said])
    notes = keys.exchanges(keys.user_tag(name), "")[:-24] + "*"
    lengths = []
    for _ in range(2):
        one.ask(stream=False)
        lengths.append([proxy.redis.llen(key) for key in proxy.redis.keys(notes)])
        one.go_on()
    assert lengths == [[1], [2]]  # a note that the tool was offered, then an exchange


def test_too_many_exchanges_lose_their_oldest_half_at_once(proxy: Farm) -> None:
    add = proxy.redis.register_script(script("keep_exchange"))
    name = keys.exchanges(keys.user_tag(user()), "s")

    def kept() -> list[bytes]:
        return [bytes(one) for one in proxy.redis.lrange(name, 0, -1)]  # type: ignore[union-attr]

    dropped = [add(keys=[name], args=[b"%d" % number, 8, 1000, 60]) for number in range(12)]
    assert dropped == [0] * 8 + [5, 0, 0, 0]
    assert kept() == [b"%d" % number for number in range(5, 12)]
    assert add(keys=[name], args=[b"x" * 995, 8, 1000, 60]) == 7
    assert kept() == [b"x" * 995]  # the newest is kept, however large
    assert add(keys=[name], args=[b"y" * 20, 8, 1000, 60]) == 1
    assert kept() == [b"y" * 20]
    assert 0 < proxy.redis.ttl(name) <= 60  # type: ignore[operator]
