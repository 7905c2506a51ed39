"""How providers bill a prompt that is sent repeatedly, from prompt caches that keep its beginning.

Prices, lifetimes and their sources are in :mod:`shared.prompt_cache_rules`.

The module uses neither a clock nor the network. Times are in seconds, by any one clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from shared.prompt_cache_rules import (
    ANTHROPIC,
    AUTOMATIC_TTL_SECONDS,
    OPENAI,
    TTL_SECONDS,
    CacheRules,
    Usage,
    rules_of,
)

LOOKBACK_BLOCKS = 20
MAX_MARKS = 4
CHARS_PER_TOKEN = 3.5
"""JSON characters per token, used to estimate where no token counter is given."""


def without_marks(value: Any) -> Any:
    """Return ``value`` without any ``cache_control``: marks are not part of a cached prefix."""
    if isinstance(value, dict):
        return {k: without_marks(v) for k, v in value.items() if k != "cache_control"}
    return [without_marks(v) for v in value] if isinstance(value, list) else value


def estimated_tokens(value: Any) -> float:
    """Return an estimate of a JSON value's tokens."""
    return len(json.dumps(value, ensure_ascii=False)) / CHARS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class _Block:
    """One position of Anthropic's prefix; ``ttl`` is in seconds, None without a mark."""

    text: str
    tokens: float
    ttl: float | None


Counter = Callable[[Any], float]


class Session(Protocol):
    """Computes a provider's bill for the requests of one session, in their order."""

    rules: CacheRules

    def turn(self, body: Mapping[str, Any], at: float = 0.0) -> Usage:
        """Return how the request sent at time ``at`` (seconds) is billed."""
        ...


class MarkedSession:
    """Anthropic: prefixes that end at the caller's marks are cached."""

    def __init__(self, rules: CacheRules = ANTHROPIC, count: Counter = estimated_tokens) -> None:
        self.rules = rules
        self._count = count
        self._expires: dict[bytes, tuple[float, float]] = {}
        """Digest of a cached prefix -> its expiry time and its lifetime, in seconds."""

    def turn(self, body: Mapping[str, Any], at: float = 0.0) -> Usage:
        """Return how the request is billed; its marked prefixes are cached afterwards."""
        blocks = list(self._blocks(body))
        digests, sizes = _prefixes(blocks)
        marks = [i for i, block in enumerate(blocks) if block.ttl is not None][-MAX_MARKS:]
        hit = self._longest_hit(marks, digests, sizes, at)
        written, written_1h = self._written(marks, blocks, sizes, hit)
        for mark in marks:
            if sizes[mark] >= self.rules.minimum:
                ttl = blocks[mark].ttl or 0.0
                held = self._expires.get(digests[mark], (0.0, 0.0))[1]
                ttl = max(ttl, held) if held and self._alive(digests[mark], at) else ttl
                self._expires[digests[mark]] = (at + ttl, ttl)
        total = sizes[-1] if sizes else 0.0
        return Usage(total - hit - written - written_1h, written, written_1h, hit)

    def _alive(self, digest: bytes, at: float) -> bool:
        return digest in self._expires and at <= self._expires[digest][0]

    def _longest_hit(
        self, marks: list[int], digests: list[bytes], sizes: list[float], at: float
    ) -> float:
        """Return the tokens of the longest cached prefix that a mark finds, and renew it."""
        hit = 0.0
        for mark in marks:
            for i in range(mark, max(-1, mark - LOOKBACK_BLOCKS), -1):
                if self._alive(digests[i], at):
                    ttl = self._expires[digests[i]][1]
                    self._expires[digests[i]] = (at + ttl, ttl)
                    hit = max(hit, sizes[i])
                    break
        return hit

    def _written(
        self, marks: list[int], blocks: list[_Block], sizes: list[float], hit: float
    ) -> tuple[float, float]:
        """Return the tokens written for 5 minutes and for 1 hour."""
        long = hit
        last = hit
        for mark in marks:
            if sizes[mark] < self.rules.minimum:
                continue
            last = max(last, sizes[mark])
            if blocks[mark].ttl == TTL_SECONDS["1h"]:
                long = max(long, sizes[mark])
        return last - long, long - hit

    def _blocks(self, body: Mapping[str, Any]) -> Iterator[_Block]:
        """Yield the request's blocks in the order in which the provider caches them."""
        for tool in body.get("tools") or []:
            yield self._block("", tool)
        for part in _parts(body.get("system")):
            yield self._block("", part)
        for message in body.get("messages") or []:
            for part in _parts(message.get("content")):
                yield self._block(str(message.get("role")), part)

    def _block(self, role: str, part: Any) -> _Block:
        plain = without_marks(part)
        return _Block(role + json.dumps(plain), self._count(plain), _ttl(part))


def _parts(content: Any) -> Sequence[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def _ttl(part: Any) -> float | None:
    """Return the lifetime, in seconds, that a part's mark asks for; None without a mark."""
    mark = part.get("cache_control") if isinstance(part, dict) else None
    if not mark:
        return None
    return TTL_SECONDS.get(mark.get("ttl", "5m"), TTL_SECONDS["5m"])


def _prefixes(blocks: Sequence[_Block]) -> tuple[list[bytes], list[float]]:
    """Return, for each block, the digest and the tokens of the prefix that ends with it."""
    digests: list[bytes] = []
    sizes: list[float] = []
    digest, size = b"", 0.0
    for block in blocks:
        digest = blake2b(digest + block.text.encode("utf-8", "replace"), digest_size=16).digest()
        size += block.tokens
        digests.append(digest)
        sizes.append(size)
    return digests, sizes


class AutomaticSession:
    """OpenAI: the longest prefix of any earlier request is read from the cache, without marks."""

    def __init__(self, rules: CacheRules = OPENAI) -> None:
        self.rules = rules
        self._seen: list[tuple[str, float]] = []
        """Earlier requests as text, and the time of their last use (seconds)."""

    def turn(self, body: Mapping[str, Any], at: float = 0.0) -> Usage:
        """Return how the request is billed; it is cached afterwards."""
        text = _rendered(body)
        self._seen = [(old, used) for old, used in self._seen if at - used <= AUTOMATIC_TTL_SECONDS]
        common, nearest = 0, -1
        for i, (old, _) in enumerate(self._seen):
            shared = _common_prefix(old, text)
            if self.rules.ends_with_request and shared < len(old):
                continue
            if shared > common:
                common, nearest = shared, i
        step = self.rules.step
        read = common / CHARS_PER_TOKEN // step * step
        read = read if read >= self.rules.minimum else 0.0
        if read:
            self._seen[nearest] = (self._seen[nearest][0], at)
        self._seen.append((text, at))
        rest = len(text) / CHARS_PER_TOKEN - read
        if self.rules.write != 1.0 and rest + read >= self.rules.minimum:
            return Usage(written=rest, read=read)
        return Usage(uncached=rest, read=read)


def _rendered(body: Mapping[str, Any]) -> str:
    """Return a Responses or Chat Completions request as one text, in the provider's order."""
    items = body.get("input") if body.get("input") is not None else body.get("messages")
    if isinstance(items, str):
        items = [items]
    head = json.dumps(body.get("tools")) + (body.get("instructions") or "")
    return head + "".join(json.dumps(item) for item in items or [])


def _common_prefix(a: str, b: str) -> int:
    """Return how many leading characters two texts share."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def session_of(model: str) -> Session:
    """Return an empty cache of the provider of ``model``."""
    rules = rules_of(model)
    return AutomaticSession(rules) if rules.automatic else MarkedSession(rules)


@dataclass(frozen=True, slots=True)
class SessionBill:
    """A session's bill: tokens sent, and their price in uncached input tokens."""

    requests: int
    tokens: float
    cost: float
    read: float


def bill_of(
    bodies: Sequence[Mapping[str, Any]], model: str, times: Sequence[float] = ()
) -> SessionBill:
    """Return the bill of a session, given as whole request bodies, from an empty cache.

    ``times`` are the requests' times in seconds; without them, all are sent at the same time.
    """
    session = session_of(model)
    at = times or [0.0] * len(bodies)
    usages = [session.turn(body, when) for body, when in zip(bodies, at, strict=True)]
    return SessionBill(
        requests=len(usages),
        tokens=sum(usage.total for usage in usages),
        cost=sum(usage.cost(session.rules) for usage in usages),
        read=sum(usage.read for usage in usages),
    )
