"""The interface through which the farm uses a provider's API."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import msgspec

from shared.errors import UNREADABLE_JSON
from shared.headroom import RETRIEVAL_TOOL

from .body import Body, Unreadable, array_of, array_with

MAX_ROUNDS = 5
"""Maximum number of follow-up requests of one turn; the last one allows no tool calls."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A call of the farm's retrieval tool. ``hash`` is empty if the call has none."""

    id: str
    hash: str


class ToolResult(msgspec.Struct, frozen=True):
    """The result of a retrieval call. If it ``failed``, ``text`` gives the reason."""

    id: str
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A provider's decoded answer.

    ``said`` is what the model said in the form that the next request repeats, as raw JSON: a list
    of content blocks (Messages) or of output items (Responses), or the assistant message (Chat).
    ``own_calls`` is the number of calls that the client has to answer. ``ended`` says whether the
    answer is complete: calls of an answer cut off by a limit are not served. ``id`` is the
    answer's id.
    """

    said: bytes
    retrievals: tuple[Retrieval, ...]
    own_calls: int
    ended: bool
    usage: dict[str, Any] | None
    id: str = ""

    @property
    def next_step(self) -> Literal["done", "follow_up", "mixed"]:
        """Return how the retrieval calls are served.

        ``done``: there are none to serve. ``follow_up``: there are no other calls, so the farm
        sends the next request. ``mixed``: the client has calls to answer too, so the results are
        added to the client's next request.
        """
        if not self.retrievals or not self.ended:
            return "done"
        return "mixed" if self.own_calls else "follow_up"


class Round(msgspec.Struct, frozen=True):
    """An answer with retrieval calls, and their results."""

    said: msgspec.Raw
    results: tuple[ToolResult, ...]


class Exchange(msgspec.Struct, frozen=True):
    """The retrievals within one turn of a client, which the client does not see.

    The client stores the turn as one answer without the retrievals. ``put_back`` inserts them into
    its later requests, which then begin with the same bytes as the earlier requests.
    ``at`` is the number of items in the client's request, and so the index of the answer in its
    later requests; an answer that has moved is found if it has a unique mark. ``mixed`` says that
    the last round also has calls of the client. ``answer`` are the marks of the turn's last answer
    (:meth:`Provider.marks`). ``id`` is the first answer's id, by which the client refers to the
    turn; ``last_id`` is the last answer's, by which the provider refers to it. ``beginning``
    identifies the conversation in its session; version 0.1.0 did not write it.
    """

    at: int
    rounds: tuple[Round, ...]
    mixed: bool
    answer: tuple[str, ...]
    id: str = ""
    last_id: str = ""
    beginning: str = ""

    def places(self, count: int, marks: Iterable[str]) -> list[int]:
        """Return the indexes at which the turn may be among ``count`` items, nearest first.

        ``marks`` are those of its visible parts.
        """
        if not is_unique(marks):
            return [self.at] if self.at < count else []
        return sorted(range(count), key=lambda index: abs(index - self.at))

    def is_at(self, index: int, matched: Iterable[str], beginning: str) -> bool:
        """Return whether a match of these marks at ``index`` shows that the turn is there.

        Texts alone do so only at the same index of a conversation with this ``beginning``; it is
        empty for a conversation whose client does not name its session.
        """
        if is_unique(matched):
            return True
        return index == self.at and bool(beginning) and self.beginning in ("", beginning)


UNIQUE = "id:"
"""Prefix of a mark that no other answer can have."""


def is_unique(marks: Iterable[str]) -> bool:
    """Return whether one of an answer's marks is one that no other answer can have."""
    return any(mark.startswith(UNIQUE) for mark in marks)


def in_place_order(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Return the exchanges from last to first: inserting one shifts the items after it."""
    return sorted(exchanges, key=lambda exchange: exchange.at, reverse=True)


class Provider(ABC):
    """One API's requests and answers, as raw JSON; unchanged parts keep their bytes.

    Every method raises :class:`~api.provider.body.Unreadable` if a body or an answer does not
    match the API's documentation.
    """

    name: ClassVar[str]
    array: ClassVar[str]
    """The field with the conversation."""
    tool: ClassVar[bytes]
    """The definition of the farm's retrieval tool in a request's ``tools``."""
    no_tools: ClassVar[bytes]
    """The ``tool_choice`` that forbids tool calls."""

    # ── requests ────────────────────────────────────────────────────────────────────

    def offers(self, body: bytes | Body) -> bool:
        """Return whether a request has a tool that retrieves originals.

        This is headroom's tool, whose name may have an MCP server's name as a prefix.
        """
        tools = Body.of(body).field("tools")
        if RETRIEVAL_TOOL.encode() not in tools:
            return False
        try:
            named = [self._name_of(t) for t in msgspec.json.decode(tools) if isinstance(t, dict)]
        except (*UNREADABLE_JSON, TypeError):
            raise Unreadable("'tools' is not a list of tools") from None
        return any(isinstance(name, str) and name.endswith(RETRIEVAL_TOOL) for name in named)

    def can_offer(self, body: bytes | Body) -> bool:
        """Return whether the farm may offer its tool and answer its calls."""
        Body.of(body).list_of("tools")
        return True

    def leaves_choice(self, body: Body) -> bool:
        """Return whether the model may choose any tool or none: ``tool_choice`` is auto."""
        choice = body.get("tool_choice")
        kind = choice.get("type") if isinstance(choice, dict) else choice
        return kind in (None, "auto")

    def stores(self, body: Body) -> bool:
        """Return whether the provider stores the answer, so that its id may continue it."""
        return False

    def continued_id(self, body: Body) -> str:
        """Return the id of the stored answer that the request continues, empty if it does not."""
        return ""

    def offer(self, body: bytes) -> bytes:
        """Return the request with the retrieval tool appended to its tools, byte for byte the same
        each time."""
        request = Body(body)
        return request.replaced({"tools": self.with_ours(request.list_of("tools"))})

    def with_ours(self, tools: bytes) -> bytes:
        """Return a raw list of tools with the retrieval tool appended."""
        return array_with(tools, self.tool)

    def follow_up(
        self, body: bytes, turn: Turn, results: Sequence[ToolResult], *, last: bool = False
    ) -> bytes:
        """Return the request that continues ``turn`` with the results of its retrievals.

        ``body`` is the request that was answered. ``last``: the model may retrieve no more.
        """
        request = Body(body)
        request.items(self.array)
        fields = {self.array: self._continued(request, turn, results)}
        if last:
            fields |= self._no_more(request)
        return request.replaced(fields)

    def _no_more(self, request: Body) -> dict[str, bytes]:
        """Return the fields with which the model cannot retrieve.

        A client that demands a call must get one of its own tools.
        """
        tools = [] if self.leaves_choice(request) else request.items("tools")
        others = [tool for tool in tools if self._name_of(_object(tool)) != RETRIEVAL_TOOL]
        return {"tools": array_of(others)} if others else {"tool_choice": self.no_tools}

    def put_back(self, body: bytes, exchanges: Sequence[Exchange], beginning: str = "") -> bytes:
        """Insert the exchanges into a client's later request at their places.

        An exchange is skipped if its answer is missing from the request or was changed.
        ``beginning`` is as in :meth:`Exchange.is_at`.
        """
        request = Body(body)
        items = request.items(self.array)
        changed = False
        for exchange in in_place_order(exchanges):
            put = self._put_back(items, exchange, request, beginning)
            if put is not None:
                items, changed = put, True
        return request.replaced({self.array: array_of(items)}) if changed else body

    def _name_of(self, tool: dict[str, Any]) -> Any:
        """Return the name of one of a request's tools."""
        return tool.get("name")

    @abstractmethod
    def _continued(self, request: Body, turn: Turn, results: Sequence[ToolResult]) -> bytes:
        """Return the raw conversation that continues ``turn`` with the results."""

    @abstractmethod
    def _put_back(
        self, items: list[bytes], exchange: Exchange, request: Body, beginning: str
    ) -> list[bytes] | None:
        """Insert the exchange into the request's items; None if its answer is not found."""

    # ── answers ─────────────────────────────────────────────────────────────────────

    @abstractmethod
    def read(self, answer: bytes) -> Turn:
        """Parse an answer."""

    @abstractmethod
    def merge(self, answer: bytes, turns: Sequence[Turn]) -> bytes:
        """Return the last ``answer`` as sent to the client.

        It begins with the content of the earlier answers, ``turns``. Retrieval calls are removed,
        and usage is summed.
        """

    @abstractmethod
    def marks(self, said: bytes) -> tuple[str, ...]:
        """Return what identifies each visible part of an answer's content, in order."""


def _object(raw: bytes) -> dict[str, Any]:
    found = msgspec.json.decode(raw)
    return found if isinstance(found, dict) else {}


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join([text for text in texts if isinstance(text, str)])


def mark_digest(text: str) -> str:
    """Return the digest of a text, for use in a mark."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
