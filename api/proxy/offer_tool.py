"""Whether a request offers the farm's retrieval tool.

Tools are the start of the provider's cached prefix, so a session that was offered the tool is
offered it in its later requests too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.keys import AGENT, OFFERED

from ..provider.body import Body

_AGENT_BYTES = 2048
"""Requests with at least this many bytes of tool definitions are offered the farm's tool, which has
a quarter of that size, from the first request on: if the tool were added with the first marker,
everything before the marker would have to be written to the cache again."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a request and its session's earlier ones say of the tool.

    ``known`` are the session's stored exchanges and notes; None if Redis is unavailable.
    """

    body: Body
    known: Sequence[bytes] | None = ()

    @property
    def is_agent(self) -> bool:
        """Whether the client has so many tools that the farm's one is offered from the start."""
        return len(self.body.field("tools")) >= _AGENT_BYTES

    @property
    def was_made(self) -> bool:
        """Whether the tool was offered to the session, whatever tools its requests have."""
        known = self.known or ()
        return OFFERED in known or (bool(known) and AGENT not in known)

    @property
    def stands(self) -> bool:
        """Whether an earlier request like this one was offered the tool.

        Such a request is offered it whatever its ``tool_choice``, because its markers and tools are
        in the provider's cache. Without Redis, it is assumed of an agent.
        """
        if self.known is None:
            return self.is_agent
        return self.was_made or (self.is_agent and AGENT in self.known)

    def note(self, *, agent: bool) -> bytes | None:
        """Return what to store for the session after the tool was offered, None for nothing."""
        if self.known is None or self.was_made or (agent and AGENT in self.known):
            return None
        return AGENT if agent else OFFERED
