"""Quotas of the policy: requests and new tokens per minute of a tenant and a user, in Redis."""

from __future__ import annotations

from typing import Literal

from shared import keys
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.policy.rules import Limits, Quota
from shared.scripts import script

from .redis_guard import RedisGuard

Over = Literal["", "tenant", "user"]
_SAID: tuple[Over, ...] = ("", "tenant", "user")
_ANY = -1


class Quotas:
    """Counts requests and new tokens across all front ends."""

    def __init__(self, state: RedisGuard) -> None:
        self._state = state
        self._admit = state.client.register_script(script("charge_quota"))

    async def over(self, user: str, quota: Quota, tokens: int, deadline: Deadline) -> Over:
        """Count a request of ``user`` with ``tokens`` new tokens; return whose quota refuses it.

        A playground counts for the user who opened it. A refused request is not counted. While
        Redis is unavailable, nothing is counted or refused: without Redis no new text reaches an
        engine anyway.
        """
        tenant, person = (keys.user_tag(of(user)) for of in (keys.tenant_of, keys.person_of))
        limits = [*_amounts(quota.tenant), *_amounts(quota.user)]
        names = [keys.tenant_quota(tenant), keys.user_quota(tenant, person)]
        try:
            asked = self._admit(keys=names, args=[tokens, *limits])
            said: int = await self._state.ask(asked, deadline, tenant)
            return _SAID[said]
        except Degraded:
            return ""


def _amounts(limits: Limits | None) -> tuple[int, int]:
    if limits is None:
        return _ANY, _ANY
    return (
        _ANY if limits.requests is None else limits.requests,
        _ANY if limits.tokens is None else limits.tokens,
    )
