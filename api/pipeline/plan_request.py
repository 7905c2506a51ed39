"""Step 2 of a request: plans its new messages by the deadline, heavy ones in the child process."""

from __future__ import annotations

import msgspec

from shared.errors import Degraded
from shared.headroom import counter_for
from shared.settings import Settings

from .earlier_options import AS_IT_CAME
from .message import HEAVY_MESSAGE_BYTES, VERBATIM, Plan, digest, read
from .offload import Offload, OffloadedPlan, TooHeavy
from .plan_message import ConversationPlanner
from .planning_context import ConversationContext
from .request_context import RequestContext
from .request_options import RequestOptions


class RequestPlanner:
    """Plans requests' messages; those for which there is no time stay verbatim."""

    def __init__(self, settings: Settings, offload: Offload) -> None:
        self._settings = settings
        self._offload = offload
        self._planner = ConversationPlanner()

    def warm_up(self) -> None:
        """Plan a first message, so that no request waits for rules to load."""
        text = "\n".join(f"2026-01-01 00:00:{i:02d} INFO warm-up line {i}" for i in range(60))
        part = {"type": "tool_result", "tool_use_id": "warm-up", "content": text}
        raw = msgspec.json.encode({"role": "user", "content": [part]})
        facts, message = read(raw, digest(raw))
        options = RequestOptions("default").plan_options(self._settings)
        around = ConversationContext([facts], options, counter_for("default"))
        self._planner.plan(around.of(0), facts, message)

    async def plan(self, turn: RequestContext) -> None:
        """Plan the messages that are new to the conversation.

        Those for which there is no time before the deadline stay verbatim.
        """
        turn.plans = [VERBATIM] * len(turn.messages)
        if turn.admission.refused:
            turn.unplanned.update(range(turn.known, len(turn.messages)))
            return
        if turn.known == len(turn.messages):
            return
        options = turn.options.plan_options(self._settings)
        around = ConversationContext(turn.messages, options, turn.counter, turn.earlier)
        turn.context = around
        for index in range(turn.known, len(turn.messages)):
            message = turn.messages[index]
            if index in turn.as_came:
                turn.plans[index] = AS_IT_CAME
                continue
            if message.unread:
                turn.degraded.add("large")
                continue
            turn.plans[index] = message.plan
            if message.plan_key != (key := around.key(index)):
                turn.plans[index] = await self._plan_in_time(turn, index, around)
                if index not in turn.unplanned:
                    message.plan, message.plan_key = turn.plans[index], key

    async def _plan_in_time(
        self, turn: RequestContext, index: int, around: ConversationContext
    ) -> Plan:
        try:
            if turn.admission.ends.remaining > 0:
                await turn.admission.acquire_thread()
                return await self.plan_one(turn, index, around)
        except Degraded:  # other requests occupied the thread until the deadline
            pass
        turn.degraded.add("deadline")
        turn.unplanned.add(index)
        return VERBATIM

    async def plan_one(self, turn: RequestContext, index: int, around: ConversationContext) -> Plan:
        """Return the plan of one message, whose texts are then in ``turn.texts``."""
        message = turn.messages[index]
        if message.size > HEAVY_MESSAGE_BYTES:
            planned = await self._plan_heavy(turn, index, around)
            if planned is None:
                return VERBATIM
            plan, texts = planned
        else:
            plan, texts = self._planner.plan(around.of(index), message, turn.message(index))
        turn.texts.update(texts)
        return plan

    async def _plan_heavy(
        self, turn: RequestContext, index: int, around: ConversationContext
    ) -> OffloadedPlan | None:
        turn.admission.release_thread()
        message = turn.messages[index]
        raw = turn.raw(index)
        try:
            return await self._offload.plan(turn.session.user, raw, around.of(index), turn.deadline)
        except Degraded as error:
            turn.degraded.add(error.reason)
            turn.unplanned.add(index)
            if isinstance(error, TooHeavy):
                message.unread = "refused"
            return None
