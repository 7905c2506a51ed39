"""The interface of a provider's API shape to the rest of the farm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import msgspec

from shared.errors import UNREADABLE_JSON
from shared.upstream import RETRIEVAL_TOOL

from .body import Body, Unreadable, array_of, array_with

MAX_ROUNDS = 5
"""Follow-up requests of one turn; in the last the model may call no tool."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A call of the farm's retrieval tool. ``hash`` is empty where the call names none."""

    id: str
    hash: str


class ToolResult(msgspec.Struct, frozen=True):
    """What a retrieval call is answered with; ``failed`` where ``text`` says why there is none."""

    id: str
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A provider's decoded answer.

    ``said`` is what the model said in the form that the next request repeats, as raw JSON: a list
    of content blocks (Messages) or of output items (Responses), or the assistant message (Chat).
    ``own_calls`` is how many of its calls the client has to answer. ``ended`` says whether the
    answer is whole: the calls of one cut off by a limit are not served. ``id`` is the answer's.
    """

    said: bytes
    retrievals: tuple[Retrieval, ...]
    own_calls: int
    ended: bool
    usage: dict[str, Any] | None
    id: str = ""

    @property
    def next_step(self) -> Literal["done", "follow_up", "mixed"]:
        """Return what comes of the retrieval calls.

        ``done``: there are none. ``follow_up``: they are all there is to do, so the next request is
        the farm's. ``mixed``: the client has calls to answer too, so the results go into the
        client's next request.
        """
        if not self.retrievals or not self.ended:
            return "done"
        return "mixed" if self.own_calls else "follow_up"


class Round(msgspec.Struct, frozen=True):
    """An answer with retrieval calls and the results of these."""

    said: msgspec.Raw
    results: tuple[ToolResult, ...]


class Exchange(msgspec.Struct, frozen=True):
    """What happened inside one turn of a client, which does not know of it.

    The client keeps the turn as one answer without the retrievals. ``put_back`` makes its later
    requests say what was really said, so that they begin with the bytes of the earlier ones.
    ``at`` is how many items the client's request had, which is where its later requests have the
    answer; one that has moved is found if it has a unique mark. ``mixed`` says that the last round
    also has calls of the client. ``answer`` are the marks of the turn's last answer
    (:meth:`Provider.marks`). ``id`` is the first answer's, which the client knows the turn by, and
    ``last_id`` the last one's, which the provider knows its end by.
    """

    at: int
    rounds: tuple[Round, ...]
    mixed: bool
    answer: tuple[str, ...]
    id: str = ""
    last_id: str = ""

    def places(self, count: int) -> list[int]:
        """Return where to look for the answer among ``count`` items: its own place first."""
        if not any(mark.startswith(UNIQUE) for mark in self.answer):
            return [self.at] if self.at < count else []
        return sorted(range(count), key=lambda index: abs(index - self.at))


UNIQUE = "id:"
"""How a mark begins that no other answer can have."""


def in_place_order(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Return the exchanges from the last to the first: putting one back moves what follows it."""
    return sorted(exchanges, key=lambda exchange: exchange.at, reverse=True)


class Provider(ABC):
    """One API's shapes. Bodies and answers are raw JSON; unchanged parts keep their bytes.

    Every method raises :class:`~api.provider.body.Unreadable` where a body or an answer is not
    what the API's documentation says.
    """

    name: ClassVar[str]
    array: ClassVar[str]
    """The field with the conversation."""
    tool: ClassVar[bytes]
    """The farm's retrieval tool, as a request offers it."""
    no_tools: ClassVar[bytes]
    """The ``tool_choice`` by which the model may call none."""

    # ── requests ────────────────────────────────────────────────────────────────────

    def offers(self, body: bytes | Body) -> bool:
        """Return whether a request offers a tool that retrieves originals.

        It is headroom's, also under an MCP server's name.
        """
        tools = Body.of(body).field("tools")
        if RETRIEVAL_TOOL.encode() not in tools:
            return False
        try:
            named = [self._name_of(t) for t in msgspec.json.decode(tools) if isinstance(t, dict)]
        except (*UNREADABLE_JSON, TypeError):
            raise Unreadable("'tools' is no list") from None
        return any(isinstance(name, str) and name.endswith(RETRIEVAL_TOOL) for name in named)

    def can_offer(self, body: bytes | Body) -> bool:
        """Return whether the farm may offer its tool and answer its calls."""
        Body.of(body).list_of("tools")
        return True

    def offer(self, body: bytes) -> bytes:
        """Return the request with the retrieval tool after its own; the same bytes each time."""
        request = Body(body)
        return request.replaced({"tools": self.with_ours(request.list_of("tools"))})

    def with_ours(self, tools: bytes) -> bytes:
        """Return a raw list of tools with the retrieval tool after them."""
        return array_with(tools, self.tool)

    def follow_up(
        self, body: bytes, turn: Turn, results: Sequence[ToolResult], *, last: bool = False
    ) -> bytes:
        """Return the request that continues ``turn`` with the results of its retrievals.

        ``body`` is the request that was answered. ``last``: the model may call no more tools.
        """
        request = Body(body)
        request.items(self.array)
        fields = {self.array: self._continued(request, turn, results)}
        if last:
            fields["tool_choice"] = self.no_tools
        return request.replaced(fields)

    def put_back(self, body: bytes, exchanges: Sequence[Exchange]) -> bytes:
        """Return a client's later request with the exchanges in their places.

        An exchange whose answer the request does not have, or has changed, is left out.
        """
        request = Body(body)
        items = request.items(self.array)
        changed = False
        for exchange in in_place_order(exchanges):
            put = self._put_back(items, exchange, request)
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
        self, items: list[bytes], exchange: Exchange, request: Body
    ) -> list[bytes] | None:
        """Return the request's items with the exchange in its place, None if it has none."""

    # ── answers ─────────────────────────────────────────────────────────────────────

    @abstractmethod
    def read(self, answer: bytes) -> Turn:
        """Parse an answer."""

    @abstractmethod
    def merge(self, answer: bytes, turns: Sequence[Turn]) -> bytes:
        """Return the last ``answer`` as the client gets it.

        What ``turns``, the earlier answers, said comes before it; retrieval calls are left out,
        usage is summed.
        """

    @abstractmethod
    def marks(self, said: bytes) -> tuple[str, ...]:
        """Return what tells the visible parts of what was said, in order."""


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join([text for text in texts if isinstance(text, str)])


def mark_digest(text: str) -> str:
    """Return the digest by which a mark names a text."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
