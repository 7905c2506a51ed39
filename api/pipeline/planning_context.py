"""What the plan of each message depends on: options, earlier calls, the question of the moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from shared.headroom import Counter
from shared.jobs import ToolCall

from .message import Message
from .plan_options import PlanOptions
from .token_budget import under_pressure


@dataclass(frozen=True, slots=True)
class MessageContext:
    """The parts of the earlier conversation on which a message's plan depends.

    ``query`` is the user's question at that time, ``analysis`` says that it asks about code.
    """

    options: PlanOptions
    counter: Counter
    calls: dict[str, ToolCall]
    analysis: bool
    query: str


class ConversationContext:
    """The context of all messages' plans: options, and for each message the calls before it.

    ``earlier`` are the options under which its first messages were decided, each with the number
    of messages up to its end, in order.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        options: PlanOptions,
        counter: Counter,
        earlier: Sequence[tuple[int, PlanOptions]] = (),
    ) -> None:
        self.counter = counter
        self._options = _options_of(messages, options, counter, earlier)
        self._calls: dict[int, dict[str, ToolCall]] = {}
        self._asked: list[tuple[bool, str]] = []
        calls: dict[str, ToolCall] = {}
        asked = (False, "")
        for index, message in enumerate(messages):
            if message.analysis is not None:
                asked = (message.analysis, message.query or asked[1])
            known = {i: calls[i] for i in message.answers if i in calls}
            if message.answers:
                self._calls[index] = known
            # Some gateways omit a result's call together with the question before it, so the plan
            # of a result without its call must not depend on a question.
            self._asked.append(asked if known or not message.answers else (False, ""))
            if message.calls:
                calls.update(message.calls)  # a repeated id refers to the later call from here on

    def key(self, index: int) -> object:
        """Return everything the plan of message ``index`` depends on: equal keys, equal plans."""
        calls = self._calls.get(index)
        base = _intern((self._options[index], self.counter.id))
        return (base, tuple(calls.items()) if calls else None, self._asked[index])

    def of(self, index: int) -> MessageContext:
        """Return the context of message ``index``."""
        analysis, query = self._asked[index]
        calls = self._calls.get(index, {})
        return MessageContext(self._options[index], self.counter, calls, analysis, query)

    def pressure(self, index: int) -> tuple[float | None, int]:
        """Return the share of a text to keep in message ``index``, and the divisor of the minimum
        size of texts to compress."""
        return self._options[index].target_ratio, self._options[index].press


def _options_of(
    messages: Sequence[Message],
    options: PlanOptions,
    counter: Counter,
    earlier: Sequence[tuple[int, PlanOptions]],
) -> list[PlanOptions]:
    """Return each message's options, which may depend on the conversation's length up to it."""
    found: list[PlanOptions] = []
    for end, under in [*earlier, (len(messages), options)]:
        found += [under] * (end - len(found))
    if all(under.limit is None for under in {id(one): one for one in found}.values()):
        return found
    tokens = 0
    for index, message in enumerate(messages):
        tokens += message.tokens[counter.id]
        found[index] = under_pressure(found[index], tokens)
    return found


@lru_cache(maxsize=1024)
def _intern(base: tuple[PlanOptions, str]) -> tuple[PlanOptions, str]:
    """Return one object for equal values, so that comparing keys compares identities."""
    return base
