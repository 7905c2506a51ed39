"""The three supported APIs, each with its requests and its answer streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .answer_stream import AnswerStream
from .chat import Chat
from .messages import Messages
from .provider_interface import Provider
from .responses import Responses
from .stream_chat import ChatStream
from .stream_messages import MessagesStream
from .stream_responses import ResponsesStream


@dataclass(frozen=True, slots=True)
class Shape:
    """The classes that read one API's requests and answer streams."""

    requests: Provider
    stream: Callable[[], AnswerStream]


MESSAGES = Shape(Messages(), MessagesStream)
CHAT = Shape(Chat(), ChatStream)
RESPONSES = Shape(Responses(), ResponsesStream)
