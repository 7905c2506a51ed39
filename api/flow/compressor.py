"""A request's whole way: split, plan, look up, enqueue, wait, assemble."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import Block, Options, Original
from shared.settings import Settings
from shared.upstream import Counter, counter_for, detect

from .body import Split, split
from .dispatch import Dispatcher, Errand
from .facts import Candidate, Message, Plan, Rendered, count, decode, digest, read
from .options import RequestOptions
from .planner import ConversationPlanner, PlanOptions, Surroundings
from .render import join, render
from .sessions import Session, Sessions

_TOUCH_SECONDS = 30.0
_ANSWER_SECONDS = 0.02
"""Kept back from the deadline for putting the answer together."""


@dataclass(slots=True)
class Answer:
    """What the caller gets. ``pieces`` are the inside of the ``messages`` array."""

    pieces: list[bytes]
    messages: int
    changed: int
    tokens_before: int
    tokens_after: int
    transforms: list[str]
    hashes: list[str]
    model: str
    degraded: list[str]
    cache_hits: int = 0
    cache_misses: int = 0

    @property
    def tokens_saved(self) -> int:
        """Tokens removed, never negative."""
        return self.tokens_before - self.tokens_after

    @property
    def ratio(self) -> float:
        """Saved over before: 0.0 nothing, 1.0 everything."""
        return self.tokens_saved / self.tokens_before if self.tokens_before else 0.0


@dataclass(slots=True)
class _Turn:
    """One request while it is worked on."""

    session: Session
    split: Split
    messages: list[Message]
    counter: Counter
    decoded: dict[int, dict[str, Any]]
    query: str = ""
    originals: dict[str, Original] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    degraded: set[str] = field(default_factory=set)
    hits: int = 0
    misses: int = 0

    def raw(self, index: int) -> bytes:
        """Return message ``index`` as it came."""
        start, end = self.split.spans[index]
        return self.split.body[start:end]

    def message(self, index: int) -> dict[str, Any]:
        """Return message ``index`` decoded (once)."""
        if index not in self.decoded:
            self.decoded[index] = decode(self.raw(index))
        return self.decoded[index]


class Compressor:
    """Compresses conversations; one per front-end process."""

    def __init__(self, settings: Settings, dispatcher: Dispatcher) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._planner = ConversationPlanner()
        self.sessions = Sessions(settings.max_user_sessions, settings.memo_bytes)
        self._touched: dict[str, float] = {}

    async def compress(
        self, user: str, body: bytes, deadline: Deadline, request_id: str, *, bypass: bool = False
    ) -> Answer:
        """Compress the conversation in ``body`` for ``user`` by the deadline.

        Raises:
            RequestError: the body is the caller's mistake. Nothing was enqueued.
        """
        session = self.sessions.of(user)
        taken = split(body, session.trails)
        options = RequestOptions.read(taken.envelope, self._settings)
        turn = self._read(session, taken, counter_for(options.model))
        if bypass or not turn.messages:
            return self._untouched(turn, options.model)
        plan_options = options.plan_options(self._settings)
        self._plan(turn, plan_options)
        await self._fill(turn, options.engine_options(self._settings), deadline, request_id)
        answer = await self._assemble(turn, options.model, deadline)
        session.remember_trail(taken, turn.messages)
        self.sessions.settle(session)
        return answer

    # ── 1: read ─────────────────────────────────────────────────────────────────────

    def _read(self, session: Session, taken: Split, counter: Counter) -> _Turn:
        messages = list(taken.known)
        turn = _Turn(session, taken, messages, counter, {})
        for raw in taken.rest:
            name = digest(raw)
            facts = session.messages.get(name)
            if facts is None:
                facts, turn.decoded[len(messages)] = read(raw, name)
                session.remember_message(facts)
            messages.append(facts)
        for index, facts in enumerate(messages):
            if counter.id not in facts.tokens:
                count(facts, turn.message(index), counter)
        return turn

    def _untouched(self, turn: _Turn, model: str) -> Answer:
        tokens = self._tokens_before(turn)
        start = turn.split.spans[0][0] if turn.split.spans else 0
        end = turn.split.spans[-1][1] if turn.split.spans else 0
        pieces = [turn.split.body[start:end]] if turn.messages else []
        return Answer(pieces, len(turn.messages), 0, tokens, tokens, [], [], model, [])

    def _tokens_before(self, turn: _Turn) -> int:
        if not turn.messages:
            return 0
        name = turn.counter.id
        return sum([m.tokens[name] for m in turn.messages]) + turn.counter.overhead

    # ── 2: plan ─────────────────────────────────────────────────────────────────────

    def _plan(self, turn: _Turn, options: PlanOptions) -> None:
        planner = self._planner
        around = planner.surroundings(turn.messages, options)
        turn.query = around.query
        first_recent = len(turn.messages) - options.protect_recent
        refreshed = turn.session.refreshed
        for index, message in enumerate(turn.messages):
            recent = index >= first_recent
            key = planner.key(message, around, options, turn.counter, recent)
            if key == message.plan_key and all(h in refreshed for h in message.plan.originals):
                continue
            self._plan_one(turn, index, around, options, recent)

    def _plan_one(
        self, turn: _Turn, index: int, around: Surroundings, options: PlanOptions, recent: bool
    ) -> None:
        message = turn.messages[index]
        plan, originals, texts = self._planner.plan(
            message, turn.message(index), around, options, turn.counter, recent
        )
        turn.originals.update((o.hash, o) for o in originals)
        turn.texts.update(texts)
        message.plan = plan
        message.plan_key = self._planner.key(message, around, options, turn.counter, recent)
        message.rendered = {}

    # ── 3, 4, 5: look up, enqueue, wait ─────────────────────────────────────────────

    async def _fill(
        self, turn: _Turn, options: Options, deadline: Deadline, request_id: str
    ) -> None:
        """Get the forms this session does not know yet, as far as the deadline allows."""
        session = turn.session
        unknown = {
            candidate.key: (index, candidate)
            for index, message in enumerate(turn.messages)
            for candidate in message.plan.candidates
            if candidate.key not in session.forms
        }
        known = sum([len(m.plan.candidates) for m in turn.messages]) - len(unknown)
        turn.hits, turn.misses = known, 0
        if not unknown:
            return
        try:
            found = await self._dispatcher.lookup(session.tag, list(unknown), deadline)
        except Degraded as error:
            turn.degraded.add(error.reason)
            turn.misses = len(unknown)
            return
        turn.hits += len(found)
        turn.misses = len(unknown) - len(found)
        errands = [
            self._errand(turn, index, candidate)
            for key, (index, candidate) in unknown.items()
            if key not in found
        ]
        if errands:
            margin = Deadline(deadline.monotonic - _ANSWER_SECONDS, deadline.wall)
            done, reasons = await self._dispatcher.compress(
                session.tag,
                errands,
                options=options,
                context=turn.query,
                request_id=request_id,
                deadline=margin,
            )
            found.update(done)
            turn.degraded |= reasons
        now = time.monotonic()
        for key, form in found.items():
            session.remember_form(key, form)
            if key in turn.texts:  # stored by the worker a moment ago
                session.refreshed.update(dict.fromkeys(form.stored, now))

    def _errand(self, turn: _Turn, index: int, candidate: Candidate) -> Errand:
        text = turn.texts.get(candidate.key)
        if text is None:
            text = _text_of(turn.message(index), candidate)
        block = Block(
            candidate.key, text, candidate.shape, candidate.role, candidate.call, detect(text)
        )
        return Errand(candidate.pool, block)

    # ── 6: assemble ─────────────────────────────────────────────────────────────────

    async def _assemble(self, turn: _Turn, model: str, deadline: Deadline) -> Answer:
        rendered = self._render(turn)
        stored = {h for item in rendered if item.stored for h in item.stored}
        if not await self._keep(turn, stored, deadline):
            self._without_unstored(turn, rendered)
        pieces, changed = join(turn.split.body, turn.split.spans, rendered)
        after = sum([item.tokens for item in rendered]) + turn.counter.overhead
        shown = dict.fromkeys(h for item in rendered if item.shown for h in item.shown)
        transforms = [t for item in rendered if item.transforms for t in item.transforms]
        degraded = sorted(turn.degraded)
        transforms += [f"farm:verbatim:{reason}" for reason in degraded]
        return Answer(
            pieces,
            len(rendered),
            changed,
            self._tokens_before(turn),
            after,
            transforms,
            list(shown),
            model,
            degraded,
            turn.hits,
            turn.misses,
        )

    def _render(self, turn: _Turn) -> list[Rendered]:
        forms = turn.session.forms
        name = turn.counter.id
        rendered = []
        for index, message in enumerate(turn.messages):
            candidates = message.plan.candidates
            wanted = tuple([forms.get(c.key) for c in candidates]) if candidates else ()
            item = message.rendered.get(name)
            if item is None or item.forms != wanted:
                raw = turn.raw(index) if wanted or message.plan.replacements else b""
                item = render(message, raw, wanted, turn.counter)
                message.rendered = {name: item}
                turn.session.size += len(item.data or b"")
            rendered.append(item)
        return rendered

    async def _keep(self, turn: _Turn, stored: Iterable[str], deadline: Deadline) -> bool:
        """Store the originals that markers of this answer name, and prolong the others."""
        session = turn.session
        now = time.monotonic()
        stale = now - self._settings.ccr_ttl_seconds / 4
        late = [h for h in stored if session.refreshed.get(h, -1e9) < stale]
        fresh = [turn.originals[h] for h in late if h in turn.originals]
        refresh = [h for h in late if h not in turn.originals]
        touch = self._touched.get(session.user, -1e9) < now - _TOUCH_SECONDS
        try:
            if fresh or refresh:
                await self._dispatcher.keep(session.tag, fresh, refresh, deadline)
                session.refreshed.update(dict.fromkeys(late, now))
            if touch:
                if len(self._touched) > 2 * self._settings.max_user_sessions:
                    self._touched.clear()
                self._touched[session.user] = now
                await self._dispatcher.touch(session.user, session.tag, deadline)
        except Degraded as error:
            turn.degraded.add(error.reason)
            return not fresh or all(h in session.refreshed for h in late)
        return True

    def _without_unstored(self, turn: _Turn, rendered: list[Rendered]) -> None:
        """Let the messages whose markers would lead nowhere leave as they came."""
        refreshed = turn.session.refreshed
        for index, message in enumerate(turn.messages):
            if any(h not in refreshed for h in message.plan.originals):
                message.plan_key, message.plan, message.rendered = None, Plan(), {}
                rendered[index] = render(message, b"", (), turn.counter)


def _text_of(message: dict[str, Any], candidate: Candidate) -> str:
    """Return a candidate's text from its message, as headroom's router reads it."""
    content = message["content"]
    if candidate.index is None:
        return str(content)
    inner = content[candidate.index]["text" if candidate.shape == "text" else "content"]
    if candidate.parts:
        return "".join([part.get("text", "") for part in inner])
    return str(inner)
