"""The shapes of the model calls, each with the stream of its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..provider.chat import Chat
from ..provider.messages import Messages
from ..provider.protocol import Provider
from ..provider.responses import Responses
from ..provider.stream import AnswerStream
from ..provider.stream_chat import ChatStream
from ..provider.stream_messages import MessagesStream
from ..provider.stream_responses import ResponsesStream


@dataclass(frozen=True, slots=True)
class Shape:
    """How one API's requests and answers are read."""

    requests: Provider
    stream: Callable[[], AnswerStream]


MESSAGES = Shape(Messages(), MessagesStream)
CHAT = Shape(Chat(), ChatStream)
RESPONSES = Shape(Responses(), ResponsesStream)
