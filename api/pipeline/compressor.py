"""A request's whole way: split, plan, look up, enqueue, wait, assemble."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec
import structlog

from shared import logs
from shared.bypass import REASON as BYPASS_SWITCH
from shared.deadline import Deadline
from shared.errors import Degraded, RequestError
from shared.jobs import Block
from shared.settings import Settings
from shared.upstream import counter_for, detect

from ..runtime.admission import AdmissionControl
from ..runtime.bypass import BypassSwitch
from ..runtime.session_stats import SessionStats
from ..runtime.user_store import UserStore
from .context import RequestContext
from .dispatch import Dispatcher, Order, Origin
from .message import HEAVY_MESSAGE_BYTES, VERBATIM, Candidate, Plan, Rendered, digest, read
from .message_reader import MessageReader, to_read_here
from .offload import Offload, OffloadedPlan, TooHeavy
from .options import RequestOptions, as_text
from .plan import ConversationContext, ConversationPlanner
from .render import join, render
from .result import CompressionResult, reason_for_nothing, saved_by_engine, untouched
from .session_memory import Sessions
from .split import Split, leave
from .trace import Trace
from .trace_report import observe

_log = structlog.get_logger(__name__)
_LEFT = {
    "failed": "engine",
    "refused": "overload",
    "quarantined": "quarantine",
    "unstored": "redis",
}
"""The reason that an answer gives for a block of such an outcome."""


class Compressor:
    """Compresses conversations; one per front-end process."""

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        state: UserStore,
        activity: SessionStats,
        switch: BypassSwitch,
    ) -> None:
        self._settings = settings
        self._switch = switch
        self._dispatcher = dispatcher
        self._state = state
        self._activity = activity
        self.aside = Offload()
        self._reading = MessageReader(self.aside)
        self.room = AdmissionControl()
        self._planner = ConversationPlanner()
        self.sessions = Sessions(settings.max_user_sessions, settings.memo_bytes)

    async def compress(
        self,
        user: str,
        body: bytes,
        deadline: Deadline,
        origin: Origin,
        *,
        bypass: bool = False,
        trace: Trace | None = None,
    ) -> CompressionResult:
        """Compress the conversation in ``body`` for ``user`` by the deadline.

        ``trace`` is filled with the request's way.

        Raises:
            RequestError: the body is the caller's mistake. Nothing was enqueued.
        """
        session = self.sessions.of(user)
        try:
            taken = await self._reading.split(session, body, deadline)
        except RequestError:
            raise
        except Degraded as error:
            return self._left(leave(body), error.reason)
        except Exception as error:
            return self._broken(error, origin, leave(body))
        options = RequestOptions.read(taken.envelope, self._settings)
        place = self.room.enter(user, to_read_here(taken.rest), deadline)
        try:
            turn = await self._reading.turn(session, taken, options, deadline, place)
            turn.trace = trace
            turn.mark("read")
            tokens = self._tokens_before(turn)
            if bypass or not turn.messages:
                return untouched(taken, options, tokens, "bypass" if bypass else "empty")
            if self._switch.bypass:
                return _switched(taken, options, tokens)
            answer = await self._shrink(turn, origin)
            if self._switch.bypass:  # turned while this request waited
                return _switched(taken, options, tokens)
        except RequestError:
            raise
        except Degraded as error:
            return self._left(taken, error.reason)
        except Exception as error:  # a defect of ours must not cost a user his request
            return self._broken(error, origin, taken)
        finally:
            place.leave()
        if not place.refused:
            session.remember_trail(taken, turn.messages)
        self.sessions.settle(session)
        self._activity.note(user, answer.cache_hits, answer.cache_misses, answer.saved_by_cache)
        return answer

    def _broken(self, error: Exception, origin: Origin, taken: Split) -> CompressionResult:
        """Leave the messages as they came because of a defect of ours."""
        _log.error(
            "compress_failed",
            request_id=origin.request_id,
            error=type(error).__name__,
            at=logs.frames(error),
        )
        return self._left(taken, "internal")

    def _left(self, taken: Split, reason: str) -> CompressionResult:
        """Leave the messages as they came; their tokens are a guess by size."""
        options = RequestOptions.read(taken.envelope, self._settings)
        tokens = sum(end - start for start, end in taken.spans) // 4
        return untouched(taken, options, tokens, reason, degraded=[reason])

    def warm_up(self) -> None:
        """Plan a first message, so that no request waits for rules to load."""
        text = "\n".join(f"2026-01-01 00:00:{i:02d} INFO warm-up line {i}" for i in range(60))
        part = {"type": "tool_result", "tool_use_id": "warm-up", "content": text}
        raw = msgspec.json.encode({"role": "user", "content": [part]})
        facts, message = read(raw, digest(raw))
        options = RequestOptions("default").plan_options(self._settings)
        counter = counter_for("default")
        around = self._planner.surroundings([facts], options, counter)
        self._planner.plan(0, facts, message, around)

    async def _shrink(self, turn: RequestContext, origin: Origin) -> CompressionResult:
        await self._plan(turn)
        turn.mark("plan")
        await self._fill(turn, origin)
        turn.mark("wait")
        answer = await self._assemble(turn)
        turn.mark("assemble")
        return answer

    def _tokens_before(self, turn: RequestContext) -> int:
        if not turn.messages:
            return 0
        name = turn.counter.id
        return sum([m.tokens[name] for m in turn.messages]) + turn.counter.overhead

    # ── 2: plan ─────────────────────────────────────────────────────────────────────

    async def _plan(self, turn: RequestContext) -> None:
        """Plan every message; past the deadline the rest stays as it came."""
        if turn.place.refused:
            turn.plans = [m.plan if m.rendered is not None else VERBATIM for m in turn.messages]
            return
        options = turn.options.plan_options(self._settings)
        around = self._planner.surroundings(turn.messages, options, turn.counter)
        turn.query = around.query
        refreshed = turn.session.refreshed
        for index, message in enumerate(turn.messages):
            plan = message.plan
            if message.unread:
                turn.degraded.add("large")
                turn.plans.append(VERBATIM)
                continue
            if message.plan_key != around.key(index, message, plan) or (
                plan.originals and any(h not in refreshed for h in plan.originals)
            ):
                plan = await self._plan_in_time(turn, index, around)
            turn.plans.append(plan)
        turn.place.rest()

    async def _plan_in_time(
        self, turn: RequestContext, index: int, around: ConversationContext
    ) -> Plan:
        try:
            if turn.place.ends.remaining > 0:
                await turn.place.turn()
                return await self._plan_one(turn, index, around)
        except Degraded:  # others had the thread until the deadline
            pass
        turn.degraded.add("deadline")
        return VERBATIM

    async def _plan_one(
        self, turn: RequestContext, index: int, around: ConversationContext
    ) -> Plan:
        message = turn.messages[index]
        if message.size > HEAVY_MESSAGE_BYTES:
            planned = await self._plan_heavy(turn, index, around)
            if planned is None:
                return VERBATIM
            plan, originals, texts, detections = planned
            turn.detections.update(detections)
        else:
            plan, originals, texts = self._planner.plan(index, message, turn.message(index), around)
        turn.originals.update((o.hash, o) for o in originals)
        turn.texts.update(texts)
        message.plan = plan
        message.plan_key = around.key(index, message, plan)
        return plan

    async def _plan_heavy(
        self, turn: RequestContext, index: int, around: ConversationContext
    ) -> OffloadedPlan | None:
        turn.place.rest()
        message = turn.messages[index]
        context = around.context(index, message)
        try:
            return await self.aside.plan(turn.session.user, turn.raw(index), context, turn.deadline)
        except Degraded as error:
            turn.degraded.add(error.reason)
            if isinstance(error, TooHeavy):
                message.unread = "refused"
            return None

    # ── 3, 4, 5: look up, enqueue, wait ─────────────────────────────────────────────

    async def _fill(self, turn: RequestContext, origin: Origin) -> None:
        """Get the forms this session does not know yet, as far as the deadline allows."""
        session = turn.session
        unknown = {
            candidate.key: (index, candidate)
            for index, plan in enumerate(turn.plans)
            for candidate in plan.candidates
            if candidate.key not in session.forms
        }
        known = sum([len(p.candidates) for p in turn.plans]) - len(unknown)
        turn.hits, turn.misses = known, 0
        if turn.place.refused:
            return
        await self._reread_heavy(turn, unknown)
        if turn.trace is not None:
            turn.trace.unknown = frozenset(unknown)
        if not unknown:
            return
        order = Order(
            session.tag,
            turn.options.engine_options(self._settings),
            as_text(turn.query),
            origin,
        )
        found = await self._dispatcher.fetch(
            order,
            {key: candidate.pool for key, (_, candidate) in unknown.items()},
            lambda keys: self._blocks(turn, [unknown[key] for key in keys]),
            self.room.before(turn.deadline),
        )
        turn.mark("lookup", found.looked_up)
        turn.hits += len(found.cached)
        turn.misses = len(unknown) - len(found.cached)
        turn.fresh = found.forms.keys() - found.cached
        turn.degraded |= found.reasons
        now = time.monotonic()
        for key, form in found.forms.items():
            if form.outcome in _LEFT:
                turn.degraded.add(_LEFT[form.outcome])
            if form.outcome in ("failed", "refused", "unstored"):
                continue
            session.remember_form(key, form)
            if key in turn.texts:  # stored by the worker a moment ago
                session.refreshed.update(dict.fromkeys(form.stored, now))

    async def _reread_heavy(
        self, turn: RequestContext, unknown: dict[str, tuple[int, Candidate]]
    ) -> None:
        """Have the texts of heavy messages that an earlier turn planned, or do without."""
        wanted = {i for key, (i, _) in unknown.items() if key not in turn.texts}
        heavy = [i for i in wanted if turn.messages[i].size > HEAVY_MESSAGE_BYTES]
        if not heavy:
            return
        options = turn.options.plan_options(self._settings)
        around = self._planner.surroundings(turn.messages, options, turn.counter)
        for index in heavy:
            await self._plan_one(turn, index, around)
        for key in [k for k, (i, _) in unknown.items() if i in heavy and k not in turn.texts]:
            del unknown[key]

    async def _blocks(
        self, turn: RequestContext, wanted: list[tuple[int, Candidate]]
    ) -> list[Block]:
        """Make blocks of texts that nobody works on yet; then this request has done its reading."""
        blocks = []
        for index, candidate in wanted:
            await turn.place.turn()
            text = turn.text(index, candidate)
            what = turn.detections.get(candidate.key) or detect(text)
            blocks.append(
                Block(candidate.key, text, candidate.shape, candidate.role, candidate.call, what)
            )
        turn.place.leave()
        return blocks

    # ── 6: assemble ─────────────────────────────────────────────────────────────────

    async def _assemble(self, turn: RequestContext) -> CompressionResult:
        turn.place.leave()
        rendered = self._render(turn)
        stored = {h for item in rendered if item.stored for h in item.stored}
        if not await self._keep(turn, stored):
            self._without_unstored(turn, rendered)
        if turn.trace is not None:
            observe(turn.trace, turn, rendered)
        pieces, changed = join(turn.split.body, turn.split.spans, rendered)
        after = sum([item.tokens for item in rendered]) + turn.counter.overhead
        shown = dict.fromkeys(h for item in rendered if item.shown for h in item.shown)
        transforms = [t for item in rendered if item.transforms for t in item.transforms]
        degraded = sorted(turn.degraded)
        transforms += [f"farm:verbatim:{reason}" for reason in degraded]
        before = self._tokens_before(turn)
        engines, by_cache = saved_by_engine(turn, rendered)
        return CompressionResult(
            pieces=pieces,
            messages=len(rendered),
            changed=changed,
            tokens_before=before,
            tokens_after=after,
            transforms=transforms,
            hashes=list(shown),
            model=turn.options.model,
            degraded=degraded,
            cache_hits=turn.hits,
            cache_misses=turn.misses,
            reason="" if after < before else reason_for_nothing(turn, transforms),
            engines=engines,
            saved_by_cache=by_cache,
        )

    def _render(self, turn: RequestContext) -> list[Rendered]:
        forms = turn.session.forms
        rendered = []
        for index, (message, plan) in enumerate(zip(turn.messages, turn.plans, strict=True)):
            wanted = tuple([forms.get(c.key) for c in plan.candidates]) if plan.candidates else ()
            item = message.rendered
            if item is None or item.plan is not plan or item.forms != wanted:
                raw = turn.raw(index) if wanted or plan.replacements else b""
                item = message.rendered = render(message, plan, raw, wanted, turn.counter)
                turn.session.size += len(item.data or b"")
            rendered.append(item)
        return rendered

    async def _keep(self, turn: RequestContext, stored: Iterable[str]) -> bool:
        """Store the originals that markers of this answer name, and prolong the others."""
        session = turn.session
        now = time.monotonic()
        stale = now - self._settings.ccr_ttl_seconds / 4
        late = [h for h in stored if session.refreshed.get(h, -1e9) < stale]
        fresh = [turn.originals[h] for h in late if h in turn.originals]
        refresh = [h for h in late if h not in turn.originals]
        try:
            if fresh or refresh:
                await self._state.keep(session.tag, fresh, refresh, turn.deadline)
                session.refreshed.update(dict.fromkeys(late, now))
        except Degraded as error:
            turn.degraded.add(error.reason)
            return not fresh or all(h in session.refreshed for h in late)
        return True

    def _without_unstored(self, turn: RequestContext, rendered: list[Rendered]) -> None:
        """Let the messages whose markers would lead nowhere leave as they came."""
        refreshed = turn.session.refreshed
        for index, (message, plan) in enumerate(zip(turn.messages, turn.plans, strict=True)):
            if any(h not in refreshed for h in plan.originals):
                message.plan_key, message.rendered = None, None
                rendered[index] = render(message, VERBATIM, b"", (), turn.counter)


def _switched(taken: Split, options: RequestOptions, tokens: int) -> CompressionResult:
    """Leave the messages as they came because an operator wants it so."""
    answer = untouched(taken, options, tokens, BYPASS_SWITCH)
    answer.transforms = [f"farm:verbatim:{BYPASS_SWITCH}"]
    return answer
