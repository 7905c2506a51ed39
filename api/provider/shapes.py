"""The three APIs' shapes, each with the stream of its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .chat import Chat
from .messages import Messages
from .protocol import Provider
from .responses import Responses
from .stream import AnswerStream
from .stream_chat import ChatStream
from .stream_messages import MessagesStream
from .stream_responses import ResponsesStream


@dataclass(frozen=True, slots=True)
class Shape:
    """How one API's requests and answers are read."""

    requests: Provider
    stream: Callable[[], AnswerStream]


MESSAGES = Shape(Messages(), MessagesStream)
CHAT = Shape(Chat(), ChatStream)
RESPONSES = Shape(Responses(), ResponsesStream)
