"""Step 1: split a request body into raw message slices.

A conversation grows turn by turn, and nearly all of a body was received before. So the last
bodies of a user are kept (:class:`Trail`): if a new body starts with the bytes of an old one up to
its last message, only the rest is parsed. In both cases a message is a slice of the body and is
sent as the same bytes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from shared.errors import (
    UNREADABLE_JSON,
    BodyTooComplex,
    Degraded,
    InvalidField,
    MalformedBody,
)

from .message import Seen

_TOKEN = b'"' + secrets.token_hex(16).encode() + b'"'
"""Placeholder for the known messages while the rest is parsed; callers cannot guess it."""

MAX_MESSAGES = 20_000
"""Maximum number of messages that are read: each is kept in memory, and models take far fewer."""
_FIELD_BYTES = 64 * 1024
"""Maximum size of an option or the model's name; real ones are below a hundredth of it."""
_SESSION_BYTES = 4096
"""Maximum size of a field that may name the session; a larger one is ignored."""
_PLACES_TRIED = 4
_RETRIEVAL_TOOL = b'headroom_retrieve"'
"""The end of the name of headroom's tool; MCP clients may prefix it with a server's name."""
_SPACE = b" \t\r\n,"


class _Unopened(msgspec.Struct, forbid_unknown_fields=False):
    """A request body whose values are not decoded yet, because decoding may be expensive."""

    messages: msgspec.Raw = msgspec.Raw(b"")
    input: msgspec.Raw = msgspec.Raw(b"")
    tools: msgspec.Raw = msgspec.Raw(b"")
    prompt_cache_key: msgspec.Raw = msgspec.Raw(b"")
    metadata: msgspec.Raw = msgspec.Raw(b"")
    context_management: msgspec.Raw = msgspec.Raw(b"")
    truncation: msgspec.Raw = msgspec.Raw(b"")
    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    protect_recent: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    min_tokens_to_compress: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    target_ratio: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    compress_user_messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    mode: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    session_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    frozen_message_count: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    token_budget: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    model_limit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    protect_analysis_context: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    compress_system_messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    fold_reads: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def array(self) -> str:
        """The field that holds the conversation: OpenAI's Responses call it ``input``."""
        return "input" if not self.messages and self.input else "messages"

    @property
    def items(self) -> bytes:
        """The conversation's array as received."""
        return bytes(self.input if self.array == "input" else self.messages)


@dataclass(slots=True)
class Envelope:
    """The fields besides the messages. Absent options are ``UNSET``.

    ``array`` is the field with the conversation. ``redeems`` says whether one of the request's
    tools retrieves originals; None if the request has no tools. ``session`` is the session name in
    a provider's request: ``prompt_cache_key`` or ``metadata.user_id``. ``forgets`` says that the
    provider may leave earlier outputs out: then nothing may refer to them.
    """

    model: Any = None
    config: Any = None
    protect_recent: Any = msgspec.UNSET
    min_tokens_to_compress: Any = msgspec.UNSET
    target_ratio: Any = msgspec.UNSET
    compress_user_messages: Any = msgspec.UNSET
    mode: Any = msgspec.UNSET
    session_id: Any = msgspec.UNSET
    frozen_message_count: Any = msgspec.UNSET
    token_budget: Any = msgspec.UNSET
    model_limit: Any = msgspec.UNSET
    protect_analysis_context: Any = msgspec.UNSET
    compress_system_messages: Any = msgspec.UNSET
    fold_reads: Any = msgspec.UNSET
    array: str = "messages"
    redeems: bool | None = None
    session: str = ""
    forgets: bool = False


_DERIVED = ("array", "redeems", "session", "forgets")
_FIELDS = tuple(f.name for f in fields(Envelope) if f.name not in _DERIVED)
OPTION_NAMES = frozenset(_FIELDS) - {"model", "config"}
"""The options that a body may name, at the top level or in its ``config``."""


@dataclass(slots=True)
class Trail:
    """One conversation's last body: its bytes up to the end of the last message, and its facts.

    ``head`` is the length up to and including the array's ``[``.
    """

    prefix: bytes
    head: int
    seen: list[Seen]
    spans: list[tuple[int, int]]

    def shared_with(self, body: bytes) -> Trail | None:
        """Return the part of this trail that ``body`` starts with, in whole messages."""
        count = self.messages_in(body)
        if count == len(self.spans):
            return self
        if not count:
            return None
        end = self.spans[count - 1][1]
        return Trail(self.prefix[:end], self.head, self.seen[:count], self.spans[:count])

    def messages_in(self, body: bytes) -> int:
        """Return the number of this trail's messages that ``body`` starts with.

        A client that marks its newest message for the provider's cache removes that mark in the
        next turn, so a body rarely starts with all of the previous one.
        """
        if body.startswith(self.prefix):
            return len(self.spans)
        if not body.startswith(self.prefix[: self.head]):
            return 0
        low, high = 0, len(self.spans) - 1
        view = memoryview(self.prefix)  # whose parts are no copies; compared itself, it is slow
        while low < high:
            middle = (low + high + 1) // 2
            start, end = self.spans[low][0], self.spans[middle - 1][1]
            if body.startswith(view[start:end], start):
                low = middle
            else:
                high = middle - 1
        return low


@dataclass(slots=True)
class Split:
    """A split body. ``spans[i]`` are message i's offsets into ``body``.

    ``known`` are the facts of the first messages, from the matching trail. ``rest`` are the raw
    bytes of the others. ``head`` is 0 if the body cannot start a trail.
    """

    body: bytes
    envelope: Envelope
    head: int
    spans: list[tuple[int, int]]
    rest: list[bytes]
    known: list[Seen] = field(default_factory=list)


_unopened = msgspec.json.Decoder(_Unopened)
_array = msgspec.json.Decoder(list[msgspec.Raw])


def split(body: bytes, trails: Sequence[Trail]) -> Split:
    """Split ``body``; ``trails`` are tried longest first.

    Raises:
        MalformedBody: the body is not JSON, or not a JSON object.
        InvalidField: ``messages`` is missing or not a list, or an option is too large.
        Degraded: there are more than :data:`MAX_MESSAGES`.
    """
    found = follow(body, trails)
    if found is not None:
        return found
    try:
        unopened = _unopened.decode(body)
        envelope = _open(unopened)
    except UNREADABLE_JSON:
        return _lenient(body)
    return _whole(body, unopened.items, envelope)


def follow(body: bytes, trails: Sequence[Trail], news: int | None = None) -> Split | None:
    """Split a body that continues a trail; None if it does not continue one.

    With ``news``, only if at most that many bytes follow the trail.
    """
    shared = [found for trail in trails if (found := trail.shared_with(body)) is not None]
    for trail in sorted(shared, key=lambda t: len(t.prefix), reverse=True):
        if news is not None and len(body) - len(trail.prefix) > news:
            return None
        went_on = _continue(body, trail)
        if went_on is not None:
            return went_on
    return None


def leave(body: bytes) -> Split:
    """Split ``body`` into one slice with all its messages, for an answer that changes nothing.

    Each byte is read once, whatever the body contains.

    Raises:
        BodyTooComplex: the body is too complex even for this.
        InvalidField: ``messages`` is missing or not a list.
    """
    try:
        unopened = _unopened.decode(body)
        envelope = _open(unopened)
    except UNREADABLE_JSON:
        raise BodyTooComplex("the body is too complex to be parsed") from None
    raw = _list(unopened.items)
    start = body.find(raw)
    inside = raw[1:-1]
    blank = len(inside) - len(inside.lstrip())
    spans = [(start + 1 + blank, start + 1 + len(inside.rstrip()))] if inside.strip() else []
    return Split(body, envelope, 0, spans, [])


def _open(unopened: _Unopened) -> Envelope:
    """Decode the fields besides the messages."""
    found = Envelope(array=unopened.array)
    if unopened.tools:
        found.redeems = _RETRIEVAL_TOOL in bytes(unopened.tools)
    for name in _FIELDS:
        raw = getattr(unopened, name)
        if raw is msgspec.UNSET:
            continue
        if len(bytes(raw)) > _FIELD_BYTES:
            raise InvalidField(f"'{name}' is over {_FIELD_BYTES} bytes")
        setattr(found, name, msgspec.json.decode(raw))
    found.session = _session(bytes(unopened.prompt_cache_key), bytes(unopened.metadata))
    edits, truncation = bytes(unopened.context_management), bytes(unopened.truncation)
    found.forgets = truncation == b'"auto"' or _forgets(edits)
    return found


def _forgets(context_management: bytes) -> bool:
    """Return whether the provider is asked to clear earlier outputs, or to sum them up.

    Anthropic takes an object with ``edits``, of which those of thinking clear no outputs; OpenAI's
    Responses take a list.
    """
    if not context_management or len(context_management) > _FIELD_BYTES:
        return bool(context_management)
    try:
        asked = msgspec.json.decode(context_management)
    except UNREADABLE_JSON:
        return True
    edits = asked.get("edits") if isinstance(asked, dict) else asked
    if not isinstance(edits, list):
        return False
    kinds = [edit.get("type") if isinstance(edit, dict) else None for edit in edits]
    return not all(isinstance(kind, str) and kind.startswith("clear_thinking") for kind in kinds)


def _session(key: bytes, metadata: bytes) -> str:
    """Return the session name in a provider's request, empty if there is none."""
    try:
        named = msgspec.json.decode(key) if 0 < len(key) <= _SESSION_BYTES else None
        if not named and 0 < len(metadata) <= _SESSION_BYTES:
            found = msgspec.json.decode(metadata)
            named = found.get("user_id") if isinstance(found, dict) else None
    except UNREADABLE_JSON:
        return ""
    return named if isinstance(named, str) else ""


def _list(raw: bytes) -> bytes:
    if raw[:1] != b"[":
        raise InvalidField("'messages' must be a list")
    return raw


def _bounded(count: int) -> None:
    if count > MAX_MESSAGES:
        raise Degraded("large")


def _continue(body: bytes, trail: Trail) -> Split | None:
    """Parse only the bytes after the trail; None if they do not continue it."""
    end = len(trail.prefix)
    short = body[: trail.head] + _TOKEN + body[end:]
    try:
        unopened = _unopened.decode(short)
        envelope = _open(unopened)
        raws = _array.decode(unopened.items)
    except UNREADABLE_JSON:
        return None
    if not raws or bytes(raws[0]) != _TOKEN:
        return None
    rest = [bytes(raw) for raw in raws[1:]]
    _bounded(len(trail.spans) + len(rest))
    spans = trail.spans + _walk(body, end, rest)
    return Split(body, envelope, trail.head, spans, rest, trail.seen)


def _whole(body: bytes, messages: bytes, envelope: Envelope) -> Split:
    raw = _list(messages)
    items = _array.decode(raw)
    _bounded(len(items))
    rest = [bytes(item) for item in items]
    start = _place(body, raw)
    return Split(body, envelope, start + 1, _walk(body, start + 1, rest), rest)


def _place(body: bytes, raw: bytes) -> int:
    """Return the offset of the messages' array; another field may contain the same bytes.

    Bytes at a wrong offset are the same and only prevent a trail for the next turn, so few offsets
    are tried.
    """
    start = body.find(raw)
    for _ in range(_PLACES_TRIED):
        other = body.find(raw, start + 1)
        if other == -1:
            break
        trial = body[:start] + _TOKEN + body[start + len(raw) :]
        try:
            if _unopened.decode(trial).items == _TOKEN:
                return start
        except UNREADABLE_JSON:
            pass
        start = other
    return start


def _walk(body: bytes, position: int, items: list[bytes]) -> list[tuple[int, int]]:
    """Return the offsets of consecutive array items, the first at or after ``position``."""
    spans = []
    for item in items:
        while body[position] in _SPACE:
            position += 1
        spans.append((position, position + len(item)))
        position += len(item)
    return spans


def _lenient(body: bytes) -> Split:
    """Split a body that only the standard library reads: lone surrogates, NaN, 1e400.

    Such bodies are rare, so their messages are encoded again, value by value.
    """
    try:
        parsed = json.loads(body)
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    except ValueError:  # JSONDecodeError and UnicodeDecodeError, whose messages quote the body
        raise MalformedBody("the body is not valid JSON") from None
    if not isinstance(parsed, dict):
        raise MalformedBody("the body must be a JSON object")
    array = "messages" if "messages" in parsed or "input" not in parsed else "input"
    messages = parsed.pop(array, None)
    if not isinstance(messages, list):
        raise InvalidField("'messages' must be a list")
    _bounded(len(messages))
    known = {k: v for k, v in parsed.items() if k in _FIELDS}
    rest = [json.dumps(m, separators=(",", ":")).encode("ascii") for m in messages]
    rewritten = b"[" + b",".join(rest) + b"]"
    edits = json.dumps(parsed.get("context_management")).encode()
    forgets = parsed.get("truncation") == "auto" or _forgets(edits)
    envelope = Envelope(**known, array=array, forgets=forgets)
    return Split(rewritten, envelope, 0, _walk(rewritten, 1, rest), rest)
