"""This front end's memory of each user, limited in bytes over all users.

All data that a request may use without asking Redis is in its user's :class:`Session`. Nothing is
shared between users, not even the facts of equal messages.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from operator import is_

from shared import keys
from shared.jobs import Form
from shared.policy.rules import Subject

from .conversation import Conversation
from .message import Message, Seen
from .split_body import Split, Trail

_MESSAGE_BYTES = 1200
"""Measured bytes of a stored message without its texts (its fields, plan, dict entries)."""
_TRAILS = 16
"""Conversations kept per user: several, because an agent's sub-agents run in parallel."""

_TAKEN_BACK = 8
"""Maximum number of messages that a caller may remove; above it, the body counts as another
conversation."""

_SHARE = 0.25
"""Share of the memory, or of the sessions, above which a tenant's own are evicted first."""


def tenant_of(user: str) -> str:
    """Return the tenant of a user; a user without one is a tenant of its own."""
    return Subject.of(user, "").tenant


class Session:
    """One user's memory in this process."""

    __slots__ = ("conversations", "forms", "messages", "refreshed", "size", "tag", "trails", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.tag = keys.user_tag(user)
        self.messages: OrderedDict[bytes, Message] = OrderedDict()
        self.forms: OrderedDict[str, Form] = OrderedDict()
        self.trails: list[Trail] = []
        self.conversations: list[Conversation] = []
        self.refreshed: dict[str, float] = {}
        self.size = 0

    def remember_form(self, key: str, form: Form) -> None:
        """Keep a finished block's form."""
        if key not in self.forms:
            self.size += len(form.text or "") + 200
        self.forms[key] = form

    def remember_message(self, message: Message) -> None:
        """Keep a message's facts."""
        self.messages[message.digest] = message
        self.size += _MESSAGE_BYTES

    def remember_trail(
        self, split: Split, messages: list[Message], chains: list[bytes], marks: list[bytes]
    ) -> None:
        """Keep the body as the newest of its conversation.

        It replaces a body whose conversation it continues, disregarding cache marks.
        """
        if not split.head or not messages:
            return
        if (same := self._same(split, messages, chains)) is not None:
            self.trails.remove(same)
            self.trails.append(same)
            return
        continued = set(chains)
        kept = [t for t in self.trails if t.seen[-1].chain not in continued]
        prefix = split.body[: split.spans[-1][1]]
        seen = [Seen(*one) for one in zip(messages, chains, marks, strict=True)]
        self.trails = [*kept[-_TRAILS + 1 :], Trail(prefix, split.head, seen, split.spans)]

    def _same(self, split: Split, messages: list[Message], chains: list[bytes]) -> Trail | None:
        """Return the trail whose messages are exactly those of the body, with the same facts."""
        for trail in self.trails:
            if trail.seen is split.known and trail.seen[-1].chain == chains[-1]:
                facts = [one.facts for one in trail.seen]
                return trail if all(map(is_, facts, messages)) else None
        return None

    def read_before(self, body: bytes) -> tuple[int, int]:
        """Return where the messages begin and end that ``body`` shares with an earlier one.

        Both offsets are 0 if there are none.
        """
        found = (0, 0)
        for trail in self.trails:
            count = trail.messages_in(body)
            if count and trail.spans[count - 1][1] > found[1]:
                found = trail.head, trail.spans[count - 1][1]
        return found

    def conversation(self, seed: object, chains: list[bytes]) -> Conversation:
        """Return the conversation under ``seed`` that shares most with ``chains``, or a new one.

        It becomes the most recent of this user's conversations; the oldest are forgotten.
        """
        same = [one for one in self.conversations if one.seed == seed]
        best = max(same, key=lambda one: one.shared_with(chains), default=None)
        shared = best.shared_with(chains) if best is not None else 0
        if best is None or not shared:
            best = Conversation(seed)
        elif shared < len(chains) and len(best.chains) - shared > min(_TAKEN_BACK, shared):
            best = best.branch(shared)  # two with a common beginning must not replace each other
        rest = [one for one in self.conversations if one is not best]
        self.conversations = [*rest[-_TRAILS + 1 :], best]
        return best

    @property
    def cost(self) -> int:
        """Bytes of this session that count towards the memory limit."""
        bodies = sum(len(t.prefix) for t in self.trails)
        return self.size + bodies + sum(one.cost for one in self.conversations)

    def shrink(self) -> None:
        """Forget the older half of everything."""
        self.trails = self.trails[len(self.trails) // 2 + 1 :]
        self.conversations = self.conversations[len(self.conversations) // 2 + 1 :]
        for _ in range(len(self.messages) // 2 + 1):
            if self.messages:
                self.messages.popitem(last=False)
        for _ in range(len(self.forms) // 2 + 1):
            if self.forms:
                self.forms.popitem(last=False)
        self.refreshed = {}
        self.size = len(self.messages) * _MESSAGE_BYTES + sum(
            len(f.text or "") + 200 for f in self.forms.values()
        )


class Sessions:
    """All users' memories, least recently used first.

    If the limits are exceeded, the oldest session of a tenant that holds more than its share
    (:data:`_SHARE`) is evicted, so that a tenant that invents users cannot evict the sessions of
    others; if no tenant does, the oldest session of all is evicted.
    """

    def __init__(self, max_users: int, max_bytes: int) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._tenants: dict[str, OrderedDict[str, None]] = {}
        self._max_users = max_users
        self._max_bytes = max_bytes
        self._costs: dict[str, int] = {}
        self._tenant_costs: Counter[str] = Counter()
        self._total = 0

    def of(self, user: str) -> Session:
        """Return ``user``'s session and make it the most recently used.

        Sessions beyond the limit on their number are forgotten.
        """
        session = self._sessions.get(user)
        if session is None:
            session = self._sessions[user] = Session(user)
        self._sessions.move_to_end(user)
        users = self._tenants.setdefault(tenant_of(user), OrderedDict())
        users[user] = None
        users.move_to_end(user)
        # Evict here: a rejected request, or one left unchanged by the policy, never settles.
        while len(self._sessions) > self._max_users:
            held = {tenant: len(users) for tenant, users in self._tenants.items()}
            self._drop(self._oldest(held, self._max_users))
        return session

    def read_before(self, user: str, body: bytes) -> tuple[int, int]:
        """Return where the messages begin and end that ``body`` shares with an earlier one of
        ``user``; both offsets are 0 if there are none. It does not count as
        a use of the session."""
        session = self._sessions.get(user)
        return session.read_before(body) if session is not None else (0, 0)

    def settle(self, session: Session) -> None:
        """Account for the growth of ``session``; forget sessions beyond the memory limit."""
        self._charge(session)
        while self._total > self._max_bytes and len(self._sessions) > 1:
            self._drop(self._oldest(self._tenant_costs, self._max_bytes))
        if self._total > self._max_bytes:
            session.shrink()
            self._charge(session)

    def _oldest(self, held: Mapping[str, int], limit: int) -> str:
        """Return the user to evict, by each tenant's share of ``limit``."""
        greatest = max(held, key=lambda tenant: held[tenant])
        users = self._tenants[greatest]
        if held[greatest] > _SHARE * limit and len(users) > 1:
            return next(iter(users))
        return next(iter(self._sessions))

    def _charge(self, session: Session) -> None:
        if session.user not in self._sessions:
            return
        cost = session.cost
        growth = cost - self._costs.get(session.user, 0)
        self._total += growth
        self._tenant_costs[tenant_of(session.user)] += growth
        self._costs[session.user] = cost

    def _drop(self, user: str) -> None:
        del self._sessions[user]
        cost = self._costs.pop(user, 0)
        self._total -= cost
        tenant = tenant_of(user)
        self._tenant_costs[tenant] -= cost
        users = self._tenants[tenant]
        del users[user]
        if not users:
            del self._tenants[tenant], self._tenant_costs[tenant]

    def __len__(self) -> int:
        return len(self._sessions)
