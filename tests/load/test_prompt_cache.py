"""The providers' prompt-cache rules, checked against the examples in their documentation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bill.prompt_cache import (
    AutomaticSession,
    MarkedSession,
    bill_of,
    session_of,
)
from shared.prompt_cache_rules import Usage, rules_of

Body = dict[str, Any]
HOUR = {"type": "ephemeral", "ttl": "1h"}


def _part(text: str, tokens: int, mark: object = None) -> Body:
    part: Body = {"type": "text", "text": text, "size": tokens}
    return {**part, "cache_control": mark} if mark else part


def _blocks(count: int, marks: dict[int, Any] | None = None, tokens: int = 200) -> Body:
    """Return a request of ``count`` equal blocks; ``marks`` by number, from 1."""
    marked = marks or {}
    parts = [_part(f"block {i}", tokens, marked.get(i)) for i in range(1, count + 1)]
    return {"messages": [{"role": "user", "content": parts}]}


def _session() -> MarkedSession:
    return MarkedSession(count=lambda part: part["size"])


MARK = {"type": "ephemeral"}


def test_first_marked_request_writes_everything() -> None:
    assert _session().turn(_blocks(10, {10: MARK})) == Usage(written=2000)


def test_marked_prefix_is_read_again() -> None:
    session = _session()
    session.turn(_blocks(10, {10: MARK}))
    assert session.turn(_blocks(15, {15: MARK})) == Usage(written=1000, read=2000)


def test_mark_looks_back_over_twenty_positions() -> None:
    """The documentation's growing conversation: a mark on block 35 checks blocks 16 to 35."""
    session = _session()
    session.turn(_blocks(15, {15: MARK}))
    assert session.turn(_blocks(35, {35: MARK})) == Usage(written=7000)
    session = _session()
    session.turn(_blocks(15, {15: MARK}))
    assert session.turn(_blocks(34, {34: MARK})) == Usage(written=3800, read=3000)


def test_second_mark_finds_entry_missed_by_last() -> None:
    session = _session()
    session.turn(_blocks(15, {15: MARK}))
    usage = session.turn(_blocks(35, {15: MARK, 35: MARK}))
    assert usage == Usage(written=4000, read=3000)


def test_changed_block_invalidates_all_after_it() -> None:
    session = _session()
    session.turn(_blocks(10, {5: MARK, 10: MARK}, tokens=300))
    body = _blocks(10, {5: MARK, 10: MARK}, tokens=300)
    body["messages"][0]["content"][6]["text"] = "another"
    assert session.turn(body) == Usage(written=1500, read=1500)


def test_tools_come_before_system_before_messages() -> None:
    def body(tool: str, system: str) -> Body:
        return {
            "tools": [_part(tool, 1100, MARK)],
            "system": [_part(system, 1100, MARK)],
            "messages": [{"role": "user", "content": [_part("hello", 10)]}],
        }

    session = _session()
    assert session.turn(body("a", "b")) == Usage(uncached=10, written=2200)
    assert session.turn(body("a", "c")) == Usage(uncached=10, written=1100, read=1100)
    assert session.turn(body("d", "b")) == Usage(uncached=10, written=2200)


def test_prefix_below_the_minimum_is_not_cached() -> None:
    session = _session()
    for _ in range(2):
        assert session.turn(_blocks(5, {5: MARK})) == Usage(uncached=1000)
    haiku = MarkedSession(rules_of("claude-haiku-4-5-20251001"), lambda part: part["size"])
    assert haiku.turn(_blocks(20, {20: MARK})) == Usage(uncached=4000)


def test_no_mark_means_no_cache() -> None:
    session = _session()
    for _ in range(2):
        assert session.turn(_blocks(10)) == Usage(uncached=2000)


def test_only_four_marks_count() -> None:
    session = _session()
    session.turn(_blocks(40, dict.fromkeys((8, 31, 32, 33, 34), MARK)))
    assert session.turn(_blocks(8, {8: MARK})).read == 0


def test_prefix_includes_role_but_no_marks() -> None:
    session = _session()
    session.turn(_blocks(10, {10: MARK}))
    other = _blocks(10, {10: MARK})
    other["messages"][0]["role"] = "assistant"
    assert session.turn(other).read == 0
    assert session.turn(_blocks(10, {9: MARK, 10: HOUR})).read == 2000


def test_entry_expires_five_minutes_after_last_use() -> None:
    session = _session()
    body = _blocks(10, {10: MARK})
    session.turn(body, at=0)
    assert session.turn(body, at=290).read == 2000
    assert session.turn(body, at=580).read == 2000, "a use refreshes it at no cost"
    assert session.turn(body, at=881).read == 0


def test_hour_entry_costs_twice_and_lasts_an_hour() -> None:
    session = _session()
    body = _blocks(10, {10: HOUR})
    first = session.turn(body, at=0)
    assert first == Usage(written_1h=2000)
    assert first.cost(session.rules) == 4000
    assert session.turn(body, at=3500).read == 2000
    assert session.turn(body, at=7200).read == 0


def test_mixed_kinds_are_billed_by_position() -> None:
    """Read up to the hit, the 1 h price up to the last such mark, the rest for 5 minutes."""
    session = _session()
    session.turn(_blocks(10, {10: HOUR}))
    usage = session.turn(_blocks(20, {10: HOUR, 15: HOUR, 20: MARK}))
    assert usage == Usage(written=1000, written_1h=1000, read=2000)


def test_claude_prices_match_the_table() -> None:
    """Opus 4.1: 15 USD input, 18.75 and 30 for writes, 1.50 for a read, per million tokens."""
    rules = rules_of("claude-opus-4-1-20250805")
    million = 1e6
    amounts = [
        Usage(uncached=million),
        Usage(written=million),
        Usage(written_1h=million),
        Usage(read=million),
    ]
    assert [15 * usage.cost(rules) / million for usage in amounts] == [15, 18.75, 30, 1.5]


@pytest.mark.parametrize(
    ("model", "read", "write"),
    [
        ("gpt-5.5", 0.1, 1.0),
        ("gpt-5-mini", 0.1, 1.0),
        ("openai/gpt-4o-2024-08-06", 0.5, 1.0),
        ("gpt-4.1", 0.25, 1.0),
        ("gpt-5.6", 0.1, 1.25),
        ("anthropic/claude-sonnet-4-5", 0.1, 1.25),
    ],
)
def test_weights_of_a_model(model: str, read: float, write: float) -> None:
    rules = rules_of(model)
    assert (rules.read, rules.write) == (read, write)


def _responses(*texts: str) -> Body:
    return {"instructions": "", "input": [{"type": "message", "content": t} for t in texts]}


def test_openai_reads_1024_tokens_in_steps_of_128() -> None:
    session = AutomaticSession()
    session.turn(_responses("a" * 3500))
    assert session.turn(_responses("a" * 3500)).read == 0, "about 1015 tokens"
    session.turn(_responses("b" * 4000))
    again = session.turn(_responses("b" * 4000, "more"))
    assert again.read == 1152
    assert again.read % 128 == 0
    assert again.written == 0


def test_openai_prefix_ends_at_the_first_change() -> None:
    session = session_of("gpt-5.5")
    session.turn(_responses("a" * 7000, "b" * 7000))
    usage = session.turn(_responses("a" * 7000, "c" + "b" * 6999))
    assert usage.read == 1920
    assert usage.total == pytest.approx(usage.read + usage.uncached)


def test_later_openai_prefix_ends_at_request_boundary() -> None:
    """From GPT-5.6 on: no rounding to 128; a changed suffix loses the stable prefix before it."""
    session = session_of("gpt-5.6")
    first = session.turn(_responses("a" * 7000))
    assert first.uncached == first.read == 0
    grown = session.turn(_responses("a" * 7000, "b"))
    assert grown.read == int(first.total)
    assert session.turn(_responses("a" * 6000 + "b" * 1000)).read == 0


def test_openai_entry_ends_when_idle() -> None:
    session = AutomaticSession()
    body = _responses("a" * 7000)
    session.turn(body, at=0)
    assert session.turn(body, at=601).read == 0


def test_session_bill_is_sum_of_turns() -> None:
    bodies = [_blocks(n, {n: MARK}, tokens=1) for n in (100, 110, 120)]
    bill = bill_of(bodies, "claude-opus-4-8")
    session = session_of("claude-opus-4-8")
    usages = [session.turn(body) for body in bodies]
    assert bill.requests == 3
    assert bill.read > 0
    assert bill.tokens == pytest.approx(sum(u.total for u in usages))
    assert bill.cost == pytest.approx(sum(u.cost(session.rules) for u in usages))


_TURNS = st.lists(
    st.tuples(st.integers(1, 40), st.sets(st.integers(1, 40), max_size=6)), min_size=1, max_size=6
)


@given(_TURNS)
def test_shares_add_up_and_none_is_negative(turns: list[tuple[int, set[int]]]) -> None:
    session = _session()
    for count, marks in turns:
        usage = session.turn(_blocks(count, dict.fromkeys(marks, MARK)))
        assert usage.total == count * 200
        assert min(usage.uncached, usage.written, usage.written_1h, usage.read) >= 0
