"""The steps of a compression request: split, plan, look up, enqueue, wait, assemble."""

from __future__ import annotations

import asyncio
import time

import structlog

from shared import logs
from shared.bypass import REASON as BYPASS_SWITCH
from shared.deadline import Deadline
from shared.errors import BodyTooComplex, Degraded, RequestError
from shared.jobs import Block
from shared.settings import Settings

from ..runtime.admission import AdmissionControl
from ..runtime.bypass import BypassSwitch
from ..runtime.session_stats import SessionStats
from ..runtime.user_store import UserStore
from .after_answer import WorkBehind
from .apply_policy import PolicyRules, left_by_policy
from .compression_result import CompressionResult, result_of, untouched
from .decide_messages import decide_messages
from .dispatch_jobs import Dispatcher, Order, Origin
from .message import HEAVY_MESSAGE_BYTES, Candidate
from .message_reader import MessageReader, to_read_here
from .offload import HEAVY_BODY_BYTES, Offload
from .plan_request import RequestPlanner
from .render import join, render
from .request_context import RequestContext
from .request_options import RequestOptions, as_text
from .session_identity import Filed
from .session_memory import Sessions
from .split_body import Split, leave, split
from .store_originals import ShownOriginals
from .trace import Trace
from .trace_report import observe
from .verbatim_texts import LeftTexts

_log = structlog.get_logger(__name__)
_LEFT = {
    "failed": "engine",
    "refused": "overload",
    "quarantined": "quarantine",
    "unstored": "redis",
}
"""The reason in an answer's ``degraded`` list for a block's outcome."""


class Compressor:
    """Compresses conversations; one per front-end process."""

    def __init__(
        self,
        settings: Settings,
        dispatcher: Dispatcher,
        state: UserStore,
        activity: SessionStats,
        switch: BypassSwitch,
        policy: PolicyRules,
    ) -> None:
        self._settings = settings
        self._switch = switch
        self._dispatcher = dispatcher
        self._activity = activity
        self.offload = Offload()
        self.behind = WorkBehind()
        self._reading = MessageReader(self.offload)
        self.admission = AdmissionControl()
        self._planning = RequestPlanner(settings, self.offload)
        self._left_texts = LeftTexts(state, settings)
        self._originals = ShownOriginals(state, settings)
        self._policy = policy
        self._earlier = policy.earlier
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
        redeems: bool | None = None,
        session: str = "",
    ) -> CompressionResult:
        """Compress the conversation in ``body`` for ``user`` by the deadline.

        ``trace`` is filled with the request's steps. ``redeems`` says whether the model can
        retrieve originals; None means that this depends on the request's own tools.
        ``session`` is the client's session name from outside the body, empty if it gives none.

        Raises:
            RequestError: the body is the caller's mistake. Nothing was enqueued.
        """
        if bypass or self._switch.bypass:
            return self._bypassed(body, bypass)
        try:
            taken = await self._reading.split(self.sessions.of(user), body, deadline)
        except RequestError:
            raise
        except Degraded as error:
            return self._left_unread(user, session, leave(body), redeems, error.reason)
        except Exception as error:
            _log_defect(error, origin)
            return self._left_unread(user, session, leave(body), redeems, "internal")
        if redeems is not None:
            taken.envelope.redeems = redeems
        options = RequestOptions.read(taken.envelope, self._settings)
        traced = trace is not None
        options, filed = self._policy.apply(user, session, taken, options, traced=traced)
        if filed is None or filed.arm == "on":
            answer = await self._answered(user, taken, options, deadline, origin, trace)
            answer.filed = answer.filed or filed
            return answer
        answer = left_by_policy(taken, options, _guessed(taken), filed.arm)
        if filed.arm != "off":
            answer.filed = filed
            answer.behind = self._go_on_behind(user, taken, options, origin, filed)
        return answer

    def _go_on_behind(
        self, user: str, taken: Split, options: RequestOptions, origin: Origin, filed: Filed
    ) -> asyncio.Task[CompressionResult | None] | None:
        """Compute the result of a conversation that was sent unchanged."""

        async def work() -> CompressionResult:
            deadline = Deadline.after(self._settings.deadline_ms / 1000)
            return await self._answered(user, taken, options, deadline, origin)

        return self.behind.begin(filed.session, len(taken.body), work)

    async def _answered(
        self,
        user: str,
        taken: Split,
        options: RequestOptions,
        deadline: Deadline,
        origin: Origin,
        trace: Trace | None = None,
    ) -> CompressionResult:
        session = self.sessions.of(user)
        admission = self.admission.admit(user, to_read_here(taken.rest), deadline)
        try:
            turn = await self._reading.turn(session, taken, options, deadline, admission)
            turn.trace = trace
            turn.mark("read")
            tokens = self._tokens_before(turn)
            if not turn.messages:
                return untouched(taken, options, tokens, "empty")
            answer = await self._shrink(turn, origin)
            if self._switch.bypass:  # switched on while this request waited
                return _switched(taken, options, tokens)
        except RequestError:
            raise
        except Degraded as error:
            return self._left(taken, error.reason, options)
        except Exception as error:  # a defect of the farm must not fail the request
            _log_defect(error, origin)
            return self._left(taken, "internal", options)
        finally:
            admission.finish()
            self.sessions.settle(session)
        if not admission.refused:
            session.remember_trail(taken, turn.messages, turn.chains, turn.marks)
            self.sessions.settle(session)
        saved = 0 if options.arm == "audit" else answer.saved_by_cache
        self._activity.note(user, answer.cache_hits, answer.cache_misses, saved)
        return answer

    def _bypassed(self, body: bytes, asked: bool) -> CompressionResult:
        """Return the messages unchanged and unread, as requested by the caller or an operator.

        Raises:
            RequestError: the body is the caller's mistake.
        """
        try:
            taken = leave(body)
        except BodyTooComplex:  # possibly invalid JSON; parsing it raises the right error
            if len(body) > HEAVY_BODY_BYTES:
                raise
            taken = split(body, ())
        options = RequestOptions.read(taken.envelope, self._settings)
        if asked:
            return untouched(taken, options, _guessed(taken), "bypass")
        return _switched(taken, options, _guessed(taken))

    def _left_unread(
        self, user: str, session: str, taken: Split, redeems: bool | None, reason: str
    ) -> CompressionResult:
        """Return messages that could not be read unchanged, with the mode they would have had."""
        if redeems is not None:
            taken.envelope.redeems = redeems
        options = RequestOptions.read(taken.envelope, self._settings)
        options, filed = self._policy.apply(user, session, taken, options)
        answer = self._left(taken, reason, options)
        if filed is not None and filed.arm != "on":
            answer.mode = ""
        return answer

    def _left(self, taken: Split, reason: str, options: RequestOptions) -> CompressionResult:
        """Return the messages unchanged; their tokens are estimated by size."""
        return untouched(taken, options, _guessed(taken), reason, degraded=[reason])

    def warm_up(self) -> None:
        """Plan a first message, so that no request waits for rules to load."""
        self._planning.warm_up()

    async def _shrink(self, turn: RequestContext, origin: Origin) -> CompressionResult:
        if turn.options.arm == "control":
            await self._policy.leave_as_came(turn)
            return await self._assemble(turn)
        await self._left_texts.revise(turn)
        await self._planning.plan(turn)
        turn.mark("plan")
        await self._fill(turn, origin)
        turn.mark("wait")
        answer = await self._assemble(turn)
        turn.mark("assemble")
        if turn.options.arm == "audit":
            await self._earlier.note_as_came(turn)
        return answer

    def _tokens_before(self, turn: RequestContext) -> int:
        if not turn.messages:
            return 0
        name = turn.counter.id
        return sum([m.tokens[name] for m in turn.messages]) + turn.counter.overhead

    # ── 3, 4, 5: look up, enqueue, wait ─────────────────────────────────────────────

    async def _fill(self, turn: RequestContext, origin: Origin) -> None:
        """Get the forms that this session does not have yet, as far as the deadline allows."""
        if turn.admission.refused:
            return
        turn.admission.release_thread()  # let other requests run during the lookup
        await self._earlier.recall(turn)
        if turn.earlier or turn.as_came:
            await self._planning.plan(turn)
        await self._policy.keep_to_quota(turn, origin)
        await decide_messages(turn, final=False)
        session = turn.session
        wanted = {
            candidate.key: (index, candidate)
            for index in range(turn.conversation.shared_with(turn.chains), len(turn.messages))
            for number, candidate in enumerate(turn.plans[index].candidates)
            if candidate.may != "fold" and not turn.is_left(index, number)
        }
        unknown = {key: one for key, one in wanted.items() if key not in session.forms}
        await self._reread_heavy(turn, unknown)
        if turn.trace is not None:
            turn.trace.unknown = frozenset(unknown)
        if not unknown:
            return
        for some in _by_pressure(turn, unknown):
            await self._fetch(turn, some, origin)

    async def _fetch(
        self, turn: RequestContext, unknown: dict[str, tuple[int, Candidate]], origin: Origin
    ) -> None:
        session, context = turn.session, turn.context
        first = next(iter(unknown.values()))[0]
        query = context.of(first).query if context is not None else ""
        pressure = context.pressure(first) if context is not None else (None, 1)
        options = turn.options.engine_options(self._settings, *pressure)
        order = Order(session.tag, options, as_text(query), origin)
        found = await self._dispatcher.fetch(
            order,
            {key: candidate.pool for key, (_, candidate) in unknown.items()},
            lambda keys: self._blocks(turn, [unknown[key] for key in keys]),
            self.admission.wait_deadline(turn.deadline),
        )
        turn.mark("lookup", found.looked_up)
        turn.misses += len(unknown) - len(found.cached)
        turn.fresh |= found.forms.keys() - found.cached
        turn.degraded |= found.reasons
        now = time.monotonic()
        for key, form in found.forms.items():
            if form.outcome in _LEFT:
                turn.degraded.add(_LEFT[form.outcome])
            if form.outcome in ("failed", "refused", "unstored"):
                continue
            session.remember_form(key, form)
            if key in turn.fresh:  # the worker has just stored it
                session.refreshed.update(dict.fromkeys(form.stored, now))

    async def _reread_heavy(
        self, turn: RequestContext, unknown: dict[str, tuple[int, Candidate]]
    ) -> None:
        """Read the texts of heavy messages that an earlier turn planned; leave out failed ones."""
        wanted = {i for key, (i, _) in unknown.items() if key not in turn.texts}
        heavy = [i for i in wanted if turn.messages[i].size > HEAVY_MESSAGE_BYTES]
        if not heavy or turn.context is None:
            return
        for index in heavy:
            await self._planning.plan_one(turn, index, turn.context)
        for key in [k for k, (i, _) in unknown.items() if i in heavy and k not in turn.texts]:
            del unknown[key]

    async def _blocks(
        self, turn: RequestContext, wanted: list[tuple[int, Candidate]]
    ) -> list[Block]:
        """Make blocks of the texts that are in no job, which is the last step of reading."""
        blocks = []
        for index, candidate in wanted:
            await turn.admission.acquire_thread()
            text = turn.text(index, candidate)
            blocks.append(
                Block(
                    candidate.key,
                    text,
                    candidate.shape,
                    candidate.role,
                    candidate.call,
                    reversible_only=candidate.may != "engine",
                    without=candidate.without,
                )
            )
        turn.admission.finish()
        return blocks

    # ── 6: assemble ─────────────────────────────────────────────────────────────────

    async def _assemble(self, turn: RequestContext) -> CompressionResult:
        turn.admission.finish()
        await decide_messages(turn, final=True)
        sent = turn.conversation.sent[: len(turn.messages)]
        # No await from here: another request of this conversation could write other cache marks.
        for index, (message, item) in enumerate(zip(turn.messages, sent, strict=True)):
            raw = turn.raw(index) if item.changes else b""
            render(message, item, raw, turn.marks[index], turn.counter)
        pieces, changed = join(turn.split.body, turn.split.spans, sent)
        if turn.trace is not None:
            observe(turn.trace, turn, sent)
        await self._originals.keep(turn, sent)
        self._left_texts.note(turn, sent)
        if turn.trace is None and turn.options.arm == "on":
            self._policy.learn(turn, sent)
        result = result_of(turn, sent, pieces, changed)
        turn.conversation.used = time.monotonic()
        return result


def _by_pressure(
    turn: RequestContext, unknown: dict[str, tuple[int, Candidate]]
) -> list[dict[str, tuple[int, Candidate]]]:
    """Group the texts by the pressure with which engines shorten them."""
    groups: dict[object, dict[str, tuple[int, Candidate]]] = {}
    for key, (index, candidate) in unknown.items():
        pressure = turn.context.pressure(index) if turn.context is not None else None
        groups.setdefault(pressure, {})[key] = (index, candidate)
    return list(groups.values())


def _log_defect(error: Exception, origin: Origin) -> None:
    _log.error(
        "compress_failed",
        request_id=origin.request_id,
        error=type(error).__name__,
        at=logs.frames(error),
    )


def _guessed(taken: Split) -> int:
    """Return an estimate of the messages' tokens by their size."""
    return sum(end - start for start, end in taken.spans) // 4


def _switched(taken: Split, options: RequestOptions, tokens: int) -> CompressionResult:
    """Return the messages unchanged because an operator switched compression off."""
    answer = untouched(taken, options, tokens, BYPASS_SWITCH)
    answer.transforms = [f"farm:verbatim:{BYPASS_SWITCH}"]
    return answer
