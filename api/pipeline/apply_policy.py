"""Applies the policy to a request: its options, its group, its quota."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from shared.policy.control_group import Arm
from shared.policy.rules import Subject
from shared.policy.tool_rules import paused

from ..runtime.policy_reload import PolicySource
from ..runtime.quotas import Quotas
from ..runtime.retrieval_feedback import Feedback
from .compression_result import CompressionResult, untouched
from .conversation import Sent
from .dispatch_jobs import Origin
from .earlier_options import AS_IT_CAME, EarlierRequests
from .message import VERBATIM
from .repeated_calls import newest_calls, repeated_calls
from .request_context import RequestContext
from .request_options import RequestOptions
from .session_identity import Filed, session_digest
from .split_body import Split

_log = structlog.get_logger(__name__)


class PolicyRules:
    """Applies the current policy to requests."""

    def __init__(
        self,
        source: PolicySource,
        quotas: Quotas,
        feedback: Feedback,
        earlier: EarlierRequests,
    ) -> None:
        self.source = source
        self._feedback = feedback
        self._quotas = quotas
        self.earlier = earlier

    def apply(
        self,
        user: str,
        session: str,
        taken: Split,
        options: RequestOptions,
        *,
        traced: bool = False,
    ) -> tuple[RequestOptions, Filed | None]:
        """Return a request's options under the policy and its policy record; None without a policy.

        Engines that are paused for a tool are not used for it, with or without a policy.
        ``session`` is the client's session name from outside the body, empty if it gives none.
        A request that is traced belongs to no group of a comparison: it shows what ``on`` sends.
        """
        policy = self.source.policy
        pauses = self._feedback.paused(user)
        if policy is None:
            return replace(options, tools=paused("", pauses)), None
        ruling = policy.ruling(Subject.of(user, options.model))
        named = session_digest(user, options.session_id or session or taken.envelope.session, taken)
        arm = ruling.arm(named)
        filed = Filed(ruling.rule, "on" if traced and arm != "off" else arm, named)
        ruled = options.under(ruling, taken.envelope, filed)
        return replace(ruled, tools=paused(ruled.tools, pauses)), filed

    async def leave_as_came(self, turn: RequestContext) -> None:
        """Send all messages unchanged, including those that were sent compressed before."""
        turn.admission.release_thread()
        async with turn.conversation.lock:
            sent = turn.conversation.sent[: turn.known]
            first = next((i for i, item in enumerate(sent) if item.changes), turn.known)
            turn.conversation.cut(first)
        turn.known = first
        turn.plans = [AS_IT_CAME] * len(turn.messages)
        await self.earlier.note_as_came(turn)

    async def keep_to_quota(self, turn: RequestContext, origin: Origin) -> None:
        """Send new messages unchanged if the request is over its quota.

        Earlier messages stay as they were sent, because a change would be billed as new.
        """
        quota = turn.options.quota
        if quota is None:
            return
        name = turn.counter.id
        tokens = sum([m.tokens[name] for m in turn.messages[turn.replayed :]])
        over = await self._quotas.over(turn.session.user, quota, tokens, turn.deadline)
        if over:
            turn.degraded.add("quota")
            _log.info("over_quota", request_id=origin.request_id, quota=over, new_tokens=tokens)
            for index in range(turn.replayed, len(turn.messages)):
                turn.plans[index] = VERBATIM
                turn.unplanned.add(index)

    def learn(self, turn: RequestContext, sent: Sequence[Sent]) -> None:
        """Count the new texts that were shortened, and the earlier ones requested again."""
        user, first = turn.session.user, max(turn.known, turn.replayed)
        for item in sent[first:]:
            for lost in item.lost:
                self._feedback.shortened(user, lost.engine, lost.tool)
        if newest_calls(turn.messages) < first:  # a repeated request
            return
        repeated = set(repeated_calls(turn.messages).values())
        for lost in [lost for item in sent for lost in item.lost] if repeated else ():
            if lost.call_id in repeated:
                self._feedback.asked_back(user, lost.engine, lost.tool)


def left_by_policy(
    taken: Split, options: RequestOptions, tokens: int, arm: Arm
) -> CompressionResult:
    """Return the messages unchanged because of the policy; ``tokens`` is an estimate."""
    answer = untouched(taken, options, tokens, f"policy_{arm}")
    answer.transforms = [f"farm:policy:{arm}"]
    return answer
