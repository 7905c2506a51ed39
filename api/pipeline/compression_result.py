"""The result of a request: the answer, and the figures for its usage record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from .conversation import Sent
from .repeated_calls import repeated_calls
from .request_context import RequestContext
from .request_options import RequestOptions, as_text
from .revision_rule import is_cold, ttl_seconds
from .session_identity import Filed
from .split_body import Split


@dataclass(frozen=True, slots=True)
class CacheShares:
    """Tokens of a request's messages, split by whether the provider has them in its prompt cache.

    ``read`` are the tokens that the provider has from the conversation's last request,
    ``new`` are all others; ``before`` is without the farm, ``after`` with it, so that
    ``read_before + new_before`` is the original's size. ``marked`` says whether the provider
    charges for writing the new tokens to the cache (Anthropic's ``cache_control``),
    ``ttl_seconds`` how long it keeps them after their last use (300 or 3600).
    """

    read_before: int
    new_before: int
    read_after: int
    new_after: int
    marked: bool = True
    ttl_seconds: int = 300


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session as upstream describes it; the names are upstream's."""

    id: str
    frozen_message_count: int
    cached_prefix_replayed: bool


@dataclass(slots=True)
class CompressionResult:
    """The result for the caller. ``pieces`` are the content of the ``messages`` array.

    ``reason`` says why nothing was saved (empty if something was). ``engines`` has the number of
    messages that each engine shortened and the tokens saved (``several``: a message shortened by
    more than one). ``saved_by_cache`` are the tokens saved by forms known before, ``cache`` the
    shares of the messages in the provider's cache (None: unknown, all count as new).
    ``session`` is set if the request named one: how many leading messages are sent as before or
    unchanged. ``warnings`` are about the request's options. ``mode`` is the marker mode, empty if
    there was nothing to do: the request was empty, or compression was off for it.
    ``filed`` is set if there is a policy. ``behind`` is set if the messages were sent unchanged and
    work continues: its result is what would have been sent (``audit``) or the request's figures
    (``control``), None if it failed.
    """

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
    reason: str = ""
    engines: dict[str, tuple[int, int]] = field(default_factory=dict)
    saved_by_cache: int = 0
    cache: CacheShares | None = None
    array: str = "messages"
    session: SessionState | None = None
    warnings: tuple[str, ...] = ()
    mode: str = ""
    filed: Filed | None = None
    behind: asyncio.Task[CompressionResult | None] | None = None

    @property
    def tokens_saved(self) -> int:
        """Tokens removed, never negative."""
        return self.tokens_before - self.tokens_after

    @property
    def ratio(self) -> float:
        """Saved over before: 0.0 nothing, 1.0 everything."""
        return self.tokens_saved / self.tokens_before if self.tokens_before else 0.0

    @property
    def kept(self) -> float:
        """After over before, as upstream defines it: 1.0 nothing saved."""
        return self.tokens_after / self.tokens_before if self.tokens_before else 1.0


def untouched(
    taken: Split, options: RequestOptions, tokens: int, reason: str, degraded: Sequence[str] = ()
) -> CompressionResult:
    """Return the messages unchanged with the ``reason``; ``degraded`` lists failures."""
    spans = taken.spans
    return CompressionResult(
        pieces=[taken.body[spans[0][0] : spans[-1][1]]] if spans else [],
        messages=len(spans),
        changed=0,
        tokens_before=tokens,
        tokens_after=tokens,
        transforms=[f"farm:verbatim:{name}" for name in degraded],
        hashes=[],
        model=options.model,
        degraded=list(degraded),
        reason=reason,
        array=taken.envelope.array,
        session=_session(options, 0, len(spans)),
        warnings=options.warnings,
        mode=options.mode if degraded else "",
    )


def result_of(
    turn: RequestContext, sent: Sequence[Sent], pieces: list[bytes], changed: int
) -> CompressionResult:
    """Return the result of a request whose messages are sent as ``sent``."""
    name = turn.counter.id
    before = [message.tokens[name] for message in turn.messages]
    after = [item.tokens or 0 for item in sent]
    degraded = sorted(turn.degraded)
    transforms = [t for item in sent if item.transforms for t in item.transforms]
    transforms += [f"farm:verbatim:{reason}" for reason in degraded]
    engines, by_cache = _saved_by_engine(turn, sent)
    total, left = sum(before) + turn.counter.overhead, sum(after) + turn.counter.overhead
    if turn.revised:
        transforms.append(f"farm:revised:{turn.revised}")
    known = turn.known if _is_cached(turn) else 0
    return CompressionResult(
        pieces=pieces,
        messages=len(sent),
        changed=changed,
        tokens_before=total,
        tokens_after=left,
        transforms=transforms,
        hashes=list(dict.fromkeys(h for item in sent if item.shown for h in item.shown)),
        model=turn.options.model,
        degraded=degraded,
        cache_hits=sum([key not in turn.fresh for item in sent for key in item.keys]),
        cache_misses=turn.misses,
        reason="" if left < total else _reason_for_nothing(turn, transforms),
        engines=engines,
        saved_by_cache=by_cache,
        array=turn.split.envelope.array,
        session=_session(turn.options, turn.replayed, len(sent)),
        warnings=_warnings(turn.options, left),
        mode=turn.options.mode,
        cache=CacheShares(
            read_before=sum(before[:known]),
            new_before=sum(before[known:]),
            read_after=sum(after[:known]),
            new_after=sum(after[known:]),
            marked=any(turn.marks),
            ttl_seconds=int(ttl_seconds(turn.marks)),
        ),
        filed=_filed(turn),
    )


def _session(options: RequestOptions, replayed: int, messages: int) -> SessionState | None:
    if not options.session_id:
        return None
    vouched = min(options.frozen_message_count, messages)
    return SessionState(as_text(options.session_id), max(replayed, vouched), replayed > 0)


def _warnings(options: RequestOptions, tokens: int) -> tuple[str, ...]:
    if options.limit is None or tokens <= options.limit:
        return options.warnings
    return (*options.warnings, f"over the budget: {tokens} tokens of {options.limit}")


def _filed(turn: RequestContext) -> Filed | None:
    """Return the policy's record of the request, completed with what reading it has shown."""
    filed = turn.options.filed
    if filed is None:
        return None
    return replace(filed, chain=turn.chains[-1], repeats=len(repeated_calls(turn.messages)))


def _is_cached(turn: RequestContext) -> bool:
    """Return whether the provider has cached the messages sent before.

    Anthropic caches only up to a mark; others cache without marks.
    """
    unmarked = "claude" in turn.options.model.lower() and not any(turn.marks)
    return not (unmarked or is_cold(turn))


def _saved_by_engine(
    turn: RequestContext, sent: Sequence[Sent]
) -> tuple[dict[str, tuple[int, int]], int]:
    """Return each engine's savings, and the tokens saved by forms known before this request."""
    engines: dict[str, tuple[int, int]] = {}
    by_cache = 0
    name = turn.counter.id
    for index, (message, item) in enumerate(zip(turn.messages, sent, strict=True)):
        if item.data is None:
            continue
        saved = message.tokens[name] - (item.tokens or 0)
        engine = item.engines[0] if len(item.engines) == 1 else "several"
        blocks, total = engines.get(engine, (0, 0))
        engines[engine] = (blocks + 1, total + saved)
        if index < turn.known or not turn.fresh.intersection(item.keys):
            by_cache += saved
    return engines, by_cache


def _reason_for_nothing(turn: RequestContext, transforms: Iterable[str]) -> str:
    """Return why nothing was saved."""
    if turn.degraded:
        return min(turn.degraded)
    if any(plan.candidates for plan in turn.plans):
        return "no_gain"
    if any(":protected" in t or ":excluded" in t for t in transforms):
        return "protected"
    return "nothing_to_compress"
