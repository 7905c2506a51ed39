"""The compressor: cost of a request, effects of faults and defects, decisions that stay."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from api.pipeline.apply_policy import PolicyRules
from api.pipeline.compressor import Compressor
from api.pipeline.conversation import ALL_LEFT
from api.pipeline.dispatch_jobs import Fetched, Order, Origin
from api.pipeline.earlier_options import EarlierRequests
from api.pipeline.offload import HEAVY_BODY_BYTES
from api.runtime.admission import Admission
from api.runtime.bypass import BypassSwitch
from api.runtime.policy_reload import PolicySource
from shared.deadline import Deadline
from shared.errors import Degraded, InvalidField
from shared.headroom import counter_for
from shared.jobs import Form, Original, pack_form
from shared.policy.rules import Quota
from shared.settings import Settings

from ..texts import call, events, result

ROWS = json.dumps([{"id": i, "name": f"row {i}", "ok": i % 7 > 0} for i in range(120)])
LINES = "\n".join(f"{i} of these lines is like line {i % 7}" for i in range(120))
MARK = {"cache_control": {"type": "ephemeral"}}
MESSAGES = [
    {"role": "user", "content": "hello"},
    {"role": "tool", "tool_call_id": "a", "content": ROWS},
]


def _body(messages: list[Any], **more: Any) -> bytes:
    return json.dumps({"messages": messages, "model": "claude-x", **more}).encode()


BODY = _body(MESSAGES)


class Elsewhere:
    """A stand-in for Redis and the pools.

    Texts with one of the words ``late`` are not finished in time; ``reversible`` says whether
    texts have reversible forms.
    """

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.away = False
        self.reversible = True
        self.late: tuple[str, ...] = ()
        self.hashes: tuple[str, ...] = ()
        self.done: list[str] = []
        self.finished: dict[str, Form] = {}
        self.originals: dict[str, Original] = {}
        self.filed: dict[str, bytes] = {}
        self.pauses: tuple[tuple[str, str], ...] = ()
        self.fed: list[tuple[str, str, str]] = []
        self.over_quota = ""
        self.charged: list[int] = []
        self.noted: dict[bytes, frozenset[int]] = {}
        self.requests: dict[tuple[bytes, bytes], bytes] = {}

    async def fetch(self, order: Order, wanted: Any, make: Any, deadline: Deadline) -> Fetched:
        if self.broken:
            return Fetched(reasons={"redis"})
        found = Fetched()
        found.cached = {key for key in wanted if key in self.finished}
        for block in await make([key for key in wanted if key not in self.finished]):
            self.done.append(block.key)
            hashes = self.hashes if order.options.marker_mode == "ccr" else ()
            form = Form(f"short {block.key[:8]}", ("t",), hashes, hashes, "compressed")
            if block.reversible_only and not self.reversible:
                form = Form(None)
            if any(word in block.text for word in self.late):
                found.reasons.add("deadline")
            else:
                self.finished[block.key] = form
        found.forms = {key: self.finished[key] for key in wanted if key in self.finished}
        return found

    async def forms(
        self, user: str, block_keys: Iterable[str], deadline: Deadline
    ) -> dict[str, bytes]:
        return {key: pack_form(self.finished[key]) for key in block_keys if key in self.finished}

    async def keep(
        self,
        user: str,
        originals: Iterable[Original],
        refresh: Iterable[str],
        deadline: Deadline,
        shown: Mapping[str, bytes] | None = None,
    ) -> list[str]:
        self.filed.update(shown or {})
        self.originals.update({original.hash: original for original in originals})
        return [digest for digest in refresh if digest not in self.originals]

    async def left(
        self, user: str, chains: Iterable[bytes], deadline: Deadline
    ) -> dict[bytes, frozenset[int]]:
        return {chain: self.noted[chain] for chain in chains if chain in self.noted}

    async def recall(
        self,
        user: str,
        conversation: bytes,
        own: tuple[bytes, bytes],
        chains: Iterable[bytes],
        waiting: Iterable[bytes],
        deadline: Deadline,
    ) -> tuple[list[bytes | None], dict[bytes, frozenset[int]]]:
        if self.away:
            raise Degraded("redis")
        found = [self.requests.get((conversation, chain)) for chain in chains]
        self.requests.setdefault((conversation, own[0]), own[1])
        return found, await self.left(user, waiting, deadline)

    async def leave(
        self, user: str, left: Mapping[bytes, Iterable[int]], deadline: Deadline
    ) -> None:
        self.noted.update({chain: frozenset(numbers) for chain, numbers in left.items()})

    async def over(self, user: str, quota: Quota, tokens: int, deadline: Deadline) -> str:
        self.charged.append(tokens)
        return self.over_quota

    def paused(self, user: str) -> tuple[tuple[str, str], ...]:
        return self.pauses

    def shortened(self, user: str, engine: str, tool: str) -> None:
        self.fed.append(("shortened", engine, tool))

    def asked_back(self, user: str, engine: str, tool: str) -> None:
        self.fed.append(("back", engine, tool))

    def note(self, *arguments: Any) -> None:
        return None


def _compressor(elsewhere: Elsewhere) -> Compressor:
    switch = BypassSwitch(Settings(), elsewhere)  # type: ignore[arg-type, unused-ignore]
    parts: Any = elsewhere
    earlier = EarlierRequests(parts, Settings())
    policy = PolicyRules(PolicySource(Settings()), parts, parts, earlier)
    return Compressor(Settings(), parts, parts, parts, switch, policy)


def _compress(
    compressor: Compressor, body: bytes = BODY, seconds: float = 60.0, *, bypass: bool = False
) -> Any:
    async def answer() -> Any:
        given = Deadline.after(seconds)
        found = await compressor.compress("u", body, given, Origin("id"), bypass=bypass)
        await asyncio.gather(*compressor._left_texts._noting, *compressor._originals._storing)
        return found

    return asyncio.run(answer())


async def _crowded(compressor: Compressor, body: bytes) -> Any:
    """Answer a request that is not admitted."""
    admission = compressor.admission.admit("others", 1 << 30, Deadline.after(60))
    answer = await compressor.compress("u", body, Deadline.after(60), Origin("id"))
    await asyncio.gather(*compressor._left_texts._noting)
    admission.finish()
    return answer


def _messages(answer: Any) -> Any:
    return json.loads(b"[" + b",".join(answer.pieces) + b"]")


def _ran(*texts: str, identity: str = "a") -> list[dict[str, Any]]:
    """Return one turn of an agent: parallel calls, and their results in one message."""
    names = [f"{identity}{n}" for n in range(len(texts))]
    uses = [call("Bash", {"command": f"make {name}"}, name)["content"][0] for name in names]
    results = [result(t, name)["content"][0] for t, name in zip(texts, names, strict=True)]
    return [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]


def _other(word: str) -> str:
    return ROWS.replace("row", word)


# ── cost of a turn ─────────────────────────────────────────────────────────────────


def test_turn_without_new_texts_asks_no_service() -> None:
    elsewhere = Elsewhere()
    compressor = _compressor(elsewhere)
    first = _compress(compressor)
    assert len(elsewhere.done) == 1
    again = _compress(compressor)
    assert len(elsewhere.done) == 1
    assert again.pieces == first.pieces
    assert again.tokens_saved == first.tokens_saved > 0
    assert first.cache_misses == 1
    assert again.cache_misses == 0


def test_each_turn_decodes_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    from api.pipeline import message_reader as module
    from api.pipeline import request_context as turn

    compressor = _compressor(Elsewhere())
    _compress(compressor, _body([MESSAGES[0], {**MESSAGES[1], **MARK}]))
    read: list[bytes] = []
    real_read, real_decode = module.read, turn.decode
    monkeypatch.setattr(module, "read", lambda raw, name: read.append(raw) or real_read(raw, name))
    monkeypatch.setattr(turn, "decode", lambda raw: read.append(raw) or real_decode(raw))
    longer = [*MESSAGES, {"role": "user", "content": "and now", **MARK}]
    _compress(compressor, _body(longer))
    assert [json.loads(raw) for raw in read] == longer[2:]


# ── decided once ───────────────────────────────────────────────────────────────────


def test_moving_mark_changes_only_the_marks() -> None:
    compressor = _compressor(Elsewhere())
    turn = _ran(ROWS)
    turn[1]["content"][0].update(MARK)
    first = _messages(_compress(compressor, _body(turn)))
    assert first[1]["content"][0]["cache_control"] == MARK["cache_control"]
    assert first[1]["content"][0]["content"].startswith("short")
    turn[1]["content"][0].pop("cache_control")
    second = _messages(_compress(compressor, _body([*turn, *_ran(_other("x"), identity="b")])))
    first[1]["content"][0].pop("cache_control")
    assert second[:2] == first


def test_late_text_stays_on_every_replica() -> None:
    elsewhere = Elsewhere()
    elsewhere.late = ("late",)
    one, two = _compressor(elsewhere), _compressor(elsewhere)
    # The text after the late one is so long that replacing the late one would not pay.
    turns = _ran(_other("late"), _other("quick")) + _ran(_other("much") * 4, identity="b")
    first = _messages(_compress(one, _body(turns)))
    texts = [part["content"] for part in first[1]["content"]]
    assert texts[0] == _other("late")
    assert texts[1].startswith("short")
    elsewhere.late = ()
    _compress(_compressor(Elsewhere()), _body(turns))
    longer = turns + _ran(_other("more"), identity="c")
    for replica in (two, one, two):
        assert _messages(_compress(replica, _body(longer)))[:4] == first


def test_does_not_wait_for_late_text_again() -> None:
    elsewhere = Elsewhere()
    elsewhere.late = ("late",)
    turns = _ran(_other("quick")) + _ran(_other("late"), identity="b")
    turns += _ran(_other("much") * 4, identity="c")
    _compress(_compressor(elsewhere), _body(turns))
    elsewhere.done.clear()
    again = _compress(_compressor(elsewhere), _body(turns))
    assert elsewhere.done == []
    assert again.degraded == []


def test_late_text_that_pays_changes_on_every_replica() -> None:
    elsewhere = Elsewhere()
    elsewhere.late = ("late",)
    replicas = [_compressor(elsewhere), _compressor(elsewhere)]
    turn = _ran(_other("late"))
    first = [_messages(_compress(replica, _body(turn))) for replica in replicas]
    assert first == [turn, turn]
    elsewhere.late = ()
    _compress(_compressor(elsewhere_with(elsewhere)), _body(turn))
    longer = turn + _ran("nothing to do", identity="b")
    revised = _compress(replicas[0], _body(longer))
    assert "farm:revised:pays" in revised.transforms
    assert _messages(revised)[1]["content"][0]["content"].startswith("short")
    assert _messages(_compress(replicas[1], _body(longer))) == _messages(revised)
    longest = longer + _ran("nor now", identity="c")
    for replica in replicas:
        answer = _compress(replica, _body(longest))
        assert _messages(answer)[: len(longer)] == _messages(revised)
        assert not [t for t in answer.transforms if t.startswith("farm:revised")]


def test_text_revised_by_another_replica_changes_here() -> None:
    elsewhere = Elsewhere()
    elsewhere.late = ("late",)
    one, two = _compressor(elsewhere), _compressor(elsewhere)
    turns = _ran(_other("late"))
    _compress(one, _body(turns))
    turns += _ran(*[_other(f"much{n}") for n in range(9)], identity="b")
    assert _messages(_compress(two, _body(turns)))[:2] == turns[:2]
    elsewhere.late = ()
    _compress(_compressor(elsewhere_with(elsewhere)), _body(turns[:2]))
    turns += _ran("ok", identity="c")
    changed = _messages(_compress(one, _body(turns)))  # it pays, given what this replica knows
    assert changed[1]["content"][0]["content"].startswith("short")
    assert _messages(_compress(two, _body(turns))) == changed


def elsewhere_with(done: Elsewhere) -> Elsewhere:
    """Return a new state that shares the finished forms of ``done``."""
    other = Elsewhere()
    other.finished = done.finished
    return other


def test_text_of_an_overloaded_turn_stays_on_replicas() -> None:
    elsewhere = Elsewhere()
    one = _compressor(elsewhere)
    two = _compressor(elsewhere)
    turns = _ran(LINES, ROWS) + _ran(LINES, _other("more"), identity="b")
    answer = asyncio.run(_crowded(one, _body(turns)))
    assert _messages(answer) == turns
    assert set(elsewhere.noted.values()) == {frozenset({ALL_LEFT})}
    # They must not get a form or a reference now.
    longer = turns + _ran(_other("new"), identity="c")
    assert _messages(_compress(two, _body(longer)))[:4] == turns


def test_changed_options_leave_what_was_sent() -> None:
    compressor = _compressor(Elsewhere())
    turns = _ran(ROWS)
    before = _messages(_compress(compressor, _body(turns)))
    options = ({"target_ratio": 0.2}, {"min_tokens_to_compress": 10**6}, {"protect_recent": 0})
    for number, given in enumerate(options):
        turns += _ran(_other(f"turn{number}"), identity=f"t{number}")
        after = _messages(_compress(compressor, _body(turns, **given)))
        assert after[: len(before)] == before
        before = after


def test_equal_lines_are_referred_to_as_sent() -> None:
    compressor = _compressor(Elsewhere(broken=True))
    answer = _messages(_compress(compressor, _body(_ran(LINES) + _ran(LINES, identity="b"))))
    assert answer[1]["content"][0]["content"] == LINES
    assert "omitted here" in answer[3]["content"][0]["content"]
    assert "CALL a0" in answer[3]["content"][0]["content"]


def test_nothing_refers_to_output_that_provider_may_clear() -> None:
    edits = {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}
    turns = _ran(LINES) + _ran(LINES, identity="b")
    compressor = _compressor(Elsewhere(broken=True))
    kept = _messages(_compress(compressor, _body(turns, **edits)))
    assert [message["content"][0].get("content") for message in kept[1::2]] == [LINES, LINES]
    assert "omitted here" in json.dumps(_messages(_compress(compressor, _body(turns))))


def test_file_read_again_folds_only_with_the_option() -> None:
    read = [call("Read", {"file_path": "/srv/a.log"}, n) for n in "ab"]
    turns = [read[0], result(LINES, "a"), read[1], result(LINES, "b")]
    compressor = _compressor(Elsewhere())
    plain = _messages(_compress(compressor, _body(turns)))
    elsewhere = Elsewhere()
    asked = _messages(_compress(_compressor(elsewhere), _body(turns, fold_reads=True)))
    assert elsewhere.done == []
    assert not elsewhere.noted, "an engine was waited for"
    changed = _messages(_compress(compressor, _body(turns, fold_reads=True)))

    assert plain == changed == turns
    assert asked[:3] == turns[:3]
    assert "CALL a as shown above (Read: /srv/a.log)" in asked[3]["content"][0]["content"]


def test_reference_does_not_count_as_shortened() -> None:
    elsewhere = Elsewhere(broken=True)
    compressor = _compressor(elsewhere)
    said = []
    for number in range(4):  # the same command repeatedly, as in a test loop
        said += [call("Bash", {"command": "make check"}, f"c{number}"), result(LINES, f"c{number}")]
        answer = _messages(_compress(compressor, _body(said)))
    assert "Retrieve original" in answer[-1]["content"][0]["content"]
    assert not [told for told in elsewhere.fed if told[1] == "fold"]


@pytest.mark.parametrize("lossy", [True, False])
def test_form_that_lacks_lines_has_no_references(lossy: bool) -> None:
    elsewhere = Elsewhere()
    longer = "\n".join(secrets.token_hex(40) for _ in range(120))

    async def fetch(order: Order, wanted: Any, make: Any, deadline: Deadline) -> Fetched:
        form = Form(f"{LINES}\nend", outcome="compressed", lossy=lossy)
        blocks = await make(list(wanted))
        return Fetched({b.key: form if b.text == longer else Form(None) for b in blocks})

    elsewhere.fetch = fetch  # type: ignore[method-assign]
    turns = _ran(LINES) + _ran(longer, identity="b")
    shown = _messages(_compress(_compressor(elsewhere), _body(turns)))[3]["content"][0]["content"]
    assert (shown == f"{LINES}\nend") is lossy
    assert ("omitted here" in shown) is not lossy


def test_users_own_text_has_no_references() -> None:
    said = {"role": "user", "content": LINES}
    body = _body([*_ran(LINES), said], compress_user_messages=True, protect_recent=0)
    assert _messages(_compress(_compressor(Elsewhere(broken=True)), body))[-1] == said


def test_nothing_refers_to_a_form_that_grew() -> None:
    elsewhere = Elsewhere()
    compressor = _compressor(elsewhere)
    grown = "\n".join(f"{secrets.token_hex(20)} {n}" for n in range(100))
    small = "\n".join(f"a row of it, number {n}" for n in range(20))

    async def fetch(order: Order, wanted: Any, make: Any, deadline: Deadline) -> Fetched:
        blocks = await make(list(wanted))
        return Fetched(
            {b.key: Form(grown if b.text == small else None, outcome="compressed") for b in blocks}
        )

    elsewhere.fetch = fetch  # type: ignore[method-assign]
    turns = _ran(small) + _ran(grown, identity="b")
    assert _messages(_compress(compressor, _body(turns))) == turns


class AsRows(Elsewhere):
    """Its workers write every text as rows, of which they store no original."""

    async def fetch(self, order: Order, wanted: Any, make: Any, deadline: Deadline) -> Fetched:
        form = Form("...1\n...2", ("router:tool_result:farm_records",), outcome="compressed")
        return Fetched({block.key: form for block in await make(list(wanted))})


@pytest.mark.parametrize("mode", ["ccr", "marker-free"])
def test_rows_have_a_marker_if_it_is_redeemable(mode: str) -> None:
    elsewhere = AsRows()
    answer = _compress(_compressor(elsewhere), _body(_ran(LINES), config={"mode": mode}))
    shown = _messages(answer)[1]["content"][0]["content"]
    if mode == "ccr":
        (original,) = elsewhere.originals.values()
        assert original.content == LINES
        assert shown == f"...1\n...2\n[Nothing is missing. Retrieve original: hash={original.hash}]"
    else:
        assert shown == "...1\n...2"
        assert not elsewhere.originals


def test_message_removed_meanwhile_stays_as_sent() -> None:
    elsewhere = Elsewhere()
    compressor = _compressor(elsewhere)
    turns = [m for n in range(6) for m in _ran(_other(f"t{n}"), identity=f"t{n}-")]
    before = _messages(_compress(compressor, _body(turns)))
    longer = turns + _ran(_other("longer"), identity="long")
    shorter = turns[:8] + _ran(_other("else"), identity="else")
    real = elsewhere.fetch

    async def play() -> tuple[Any, Any]:
        waiting, over = asyncio.Event(), asyncio.Event()

        async def fetch(*arguments: Any) -> Fetched:
            elsewhere.fetch = real  # type: ignore[method-assign]
            waiting.set()
            await over.wait()
            return await real(*arguments)

        elsewhere.fetch = fetch  # type: ignore[method-assign]
        first = asyncio.create_task(
            compressor.compress("u", _body(longer), Deadline.after(60), Origin("id"))
        )
        await waiting.wait()
        second = await compressor.compress("u", _body(shorter), Deadline.after(60), Origin("id"))
        over.set()
        return await first, second

    first, second = asyncio.run(play())
    assert first.degraded == second.degraded == []
    assert _messages(first)[: len(before)] == before
    assert _messages(second)[:8] == before[:8]


# ── originals ──────────────────────────────────────────────────────────────────────


def _log_turn() -> tuple[list[dict[str, Any]], str]:
    lines = events()
    return _ran(lines), lines


@pytest.mark.parametrize(("share", "again_stored"), [(0.3, True), (0.2, False)])
def test_expired_original_is_stored_again(share: float, again_stored: bool) -> None:
    elsewhere = Elsewhere()
    elsewhere.hashes = ("ab" * 6,)
    compressor = _compressor(elsewhere)
    turn, lines = _log_turn()
    assert _compress(compressor, _body(turn)).hashes == ["ab" * 6]
    elsewhere.originals.clear()
    refreshed = compressor.sessions.of("u").refreshed
    refreshed["ab" * 6] -= share * Settings().ccr_ttl_seconds
    for _ in range(2):
        again = _compress(compressor, _body(turn))
        assert again.hashes == ["ab" * 6]
        kept = [original.content for original in elsewhere.originals.values()]
        assert kept == ([lines] if again_stored else [])
        elsewhere.originals.clear()
        again_stored = False  # it has just been renewed


def test_original_of_another_replica_is_stored_again() -> None:
    elsewhere = Elsewhere()
    elsewhere.hashes = ("ab" * 6,)
    turn, lines = _log_turn()
    _compress(_compressor(elsewhere), _body(turn))
    assert "ab" * 6 not in elsewhere.originals  # a worker would have stored it
    _compress(_compressor(elsewhere), _body(turn))
    assert elsewhere.originals["ab" * 6].content == lines


@pytest.mark.parametrize("crowded", [False, True])
def test_marker_free_request_never_gets_markers(crowded: bool) -> None:
    elsewhere = Elsewhere()
    elsewhere.hashes = ("ab" * 6,)
    compressor = _compressor(elsewhere)
    turn, _ = _log_turn()
    assert _compress(compressor, _body(turn)).hashes
    asked = len(elsewhere.done)
    body = _body(turn, config={"mode": "marker-free"})
    answer = asyncio.run(_crowded(compressor, body)) if crowded else _compress(compressor, body)
    assert answer.hashes == []
    assert (len(elsewhere.done) == asked) is crowded
    if crowded:
        assert _messages(answer) == turn


# ── bypass ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("asked", [False, True])
def test_bypass_reads_and_remembers_nothing(monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    elsewhere = Elsewhere()
    compressor = _compressor(elsewhere)
    compressor._switch.bypass = not asked

    def unexpected(*arguments: Any) -> None:
        raise AssertionError("read")

    monkeypatch.setattr("api.pipeline.message_reader.read", unexpected)
    monkeypatch.setattr("api.pipeline.message_reader.split", unexpected)
    answer = _compress(compressor, bypass=asked)
    assert _messages(answer) == MESSAGES
    assert answer.reason == ("bypass" if asked else "bypass_switch")
    assert answer.degraded == []
    assert elsewhere.done == []
    assert len(compressor.sessions) == 0


# ── faults and defects ─────────────────────────────────────────────────────────────


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Block the loading of a model's counter until the event is set."""
    loaded = threading.Event()

    def choose(model: str) -> Any:
        assert loaded.wait(60)
        return counter_for(model)

    monkeypatch.setattr("api.runtime.token_counters.counter_for", choose)
    yield loaded
    loaded.set()


def test_loading_one_models_library_delays_no_other(loading: threading.Event) -> None:
    compressor = _compressor(Elsewhere())
    counter_for("claude-x")

    async def play() -> tuple[Any, Any]:
        body = BODY.replace(b"claude-x", f"new-{secrets.token_hex(4)}".encode())
        waits = asyncio.create_task(
            compressor.compress("u", body, Deadline.after(60), Origin("slow"))
        )
        await asyncio.sleep(0)
        other = await compressor.compress("v", BODY, Deadline.after(60), Origin("id"))
        assert not waits.done()
        loading.set()
        return other, await waits

    for answer in asyncio.run(play()):
        assert answer.degraded == []
        assert answer.tokens_saved > 0


@pytest.mark.parametrize(("refused", "reason"), [(False, "deadline"), (True, "overload")])
def test_slow_library_loading_only_prevents_savings(
    monkeypatch: pytest.MonkeyPatch, loading: threading.Event, refused: bool, reason: str
) -> None:
    compressor = _compressor(Elsewhere())
    if refused:
        own = compressor.admission
        monkeypatch.setattr(own, "admit", lambda user, _, until: Admission(own, user, 0, until))
    body = BODY.replace(b"claude-x", f"new-{secrets.token_hex(4)}".encode())
    answer = _compress(compressor, body, seconds=0.05)
    assert answer.degraded == [reason]
    assert _messages(answer) == MESSAGES


def test_heavy_message_blocks_no_admission_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    compressor = _compressor(Elsewhere())
    heavy = [{"role": "tool", "tool_call_id": "a", "content": f"{n} {ROWS * 150}"} for n in "abc"]
    attack = _body(heavy)
    assert 2_500_000 < len(attack) < HEAVY_BODY_BYTES

    async def play() -> tuple[Any, Any]:
        begun, over = asyncio.Event(), asyncio.Event()

        async def read(*arguments: Any) -> None:
            begun.set()
            await over.wait()
            raise Degraded("large")

        monkeypatch.setattr(compressor.offload, "read", read)
        attacked = asyncio.create_task(
            compressor.compress("attacker", attack, Deadline.after(60), Origin("id"))
        )
        await begun.wait()
        assert compressor.admission._admitted < len(attack) / 100
        honest = await compressor.compress("u", BODY, Deadline.after(60), Origin("id"))
        over.set()
        return honest, await attacked

    honest, attacked = asyncio.run(play())
    assert honest.degraded == []
    assert honest.tokens_saved > 0
    assert "large" in attacked.degraded
    assert compressor.admission._admitted == 0


@pytest.mark.parametrize(
    "step", ["_reading.turn", "_planning.plan", "_fill", "_assemble", "_left_texts.revise"]
)
def test_defect_in_a_step_only_prevents_savings(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    compressor = _compressor(Elsewhere())

    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("a defect")

    *owner, name = step.split(".")
    monkeypatch.setattr(getattr(compressor, owner[0]) if owner else compressor, name, broken)
    answer = _compress(compressor)
    assert _messages(answer) == MESSAGES
    assert answer.degraded == ["internal"]
    assert answer.tokens_saved == 0


def test_invalid_request_raises_request_error() -> None:
    compressor = _compressor(Elsewhere())
    with pytest.raises(InvalidField):
        _compress(compressor, b'{"messages":[5]}')


def test_unavailable_redis_fails_no_request() -> None:
    elsewhere = Elsewhere(broken=True)
    compressor = _compressor(elsewhere)
    answer = _compress(compressor)
    assert _messages(answer) == MESSAGES
    assert answer.degraded == ["redis"]
    elsewhere.broken = False
    later = [*MESSAGES, *_ran(_other("later"))]
    answer = _compress(compressor, _body(later))
    assert answer.degraded == []
    assert _messages(answer)[:2] == MESSAGES
    assert answer.tokens_saved > 0


def test_failing_user_state_fails_no_request() -> None:
    class Away(Elsewhere):
        async def keep(self, *arguments: Any) -> list[str]:
            raise Degraded("redis")

        left = leave = forms = keep  # type: ignore[assignment]

    elsewhere = Away()
    elsewhere.hashes = ("ab" * 6,)
    compressor = _compressor(elsewhere)
    turn, _ = _log_turn()
    _compress(compressor, _body(turn))
    compressor.sessions.of("u").refreshed.clear()
    answer = _compress(compressor, _body(turn))
    assert answer.degraded == ["redis"]
    assert answer.messages == len(turn)


def test_original_left_at_the_deadline_is_stored_after_the_answer() -> None:
    class Late(AsRows):
        refusals = 1

        async def keep(self, *arguments: Any) -> list[str]:
            if self.refusals:
                self.refusals -= 1
                raise Degraded("deadline")
            return await super().keep(*arguments)

    elsewhere = Late()
    compressor = _compressor(elsewhere)
    answer = _compress(compressor, _body(_ran(LINES)))
    assert answer.degraded == ["deadline"]
    assert list(elsewhere.originals) == answer.hashes != []
    assert compressor.sessions.of("u").refreshed.keys() == elsewhere.originals.keys()


def test_planning_stops_at_the_deadline() -> None:
    elsewhere = Elsewhere()
    compressor = _compressor(elsewhere)
    answer = _compress(compressor, seconds=0.0)
    assert _messages(answer) == MESSAGES
    assert answer.degraded == ["deadline"]
    assert elsewhere.done == []


def test_overload_keeps_known_forms_and_new_texts() -> None:
    elsewhere = Elsewhere()
    compressor = _compressor(elsewhere)
    first = _compress(compressor)
    longer = [*MESSAGES, {"role": "user", "content": "and now"}, *_ran(_other("line"))]
    answer = asyncio.run(_crowded(compressor, _body(longer)))
    assert answer.degraded == ["overload"]
    assert "farm:verbatim:overload" in answer.transforms
    assert _messages(answer)[:2] == _messages(first)
    assert _messages(answer)[2:] == longer[2:]
    assert (answer.messages, answer.changed) == (5, 1)
    assert answer.tokens_saved > 0
    assert len(elsewhere.done) == 1
    longest = [*longer, *_ran(_other("next"), identity="n")]
    again = _compress(compressor, _body(longest))
    assert again.degraded == []
    assert _messages(again)[:5] == _messages(answer)
    assert again.changed == 2


def test_new_conversation_under_overload_stays_verbatim() -> None:
    compressor = _compressor(Elsewhere())
    _compress(compressor)
    other = BODY.replace(b"claude-x", b"gpt-4o")  # another model: tokens are counted anew
    answer = asyncio.run(_crowded(compressor, other))
    assert _messages(answer) == MESSAGES
    assert answer.degraded == ["overload"]
    assert answer.tokens_before == answer.tokens_after > 0
