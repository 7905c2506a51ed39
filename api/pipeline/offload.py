"""Processes bodies and messages that are too large for the event loop in one child process.

A front end runs on one thread, and headroom's rules apply regular expressions to any text a
client sends. A text of megabytes, or one crafted to be slow, would block the thread for seconds;
another thread does not help, because an expression holds the interpreter's lock. So bodies over
:data:`HEAVY_BODY_BYTES` are split, and messages over ``HEAVY_MESSAGE_BYTES`` read, counted
and planned, in a child process that ends itself after :data:`LIMIT_SECONDS` of one task or
beyond :data:`MEMORY_BYTES`. What the child cannot process stays verbatim.

Tasks run one at a time, with at most one waiting per user, so that users alternate. The child
starts with the first task, ends when its pipe closes, and is started again at most every
:data:`RESTART_SECONDS`, so that a text that kills it cannot keep the process busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import struct
import time
from array import array
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import structlog

from shared.deadline import Deadline
from shared.errors import Degraded, RequestError
from shared.headroom import Counter
from shared.python_command import python_module

from ..runtime.background_tasks import end
from .message import Message, Plan
from .planning_context import MessageContext
from .split_body import Envelope, Split

_log = structlog.get_logger(__name__)
HEAVY_BODY_BYTES = 4 * 1024 * 1024
"""Larger bodies are split in the child: splitting takes long enough to delay other requests."""
LIMIT_SECONDS = 2.0
"""Wall-clock seconds of one task, after which the child ends itself."""
_ANSWER_SECONDS = 0.25
"""Seconds reserved before the deadline: an answer with a heavy message takes longer to write."""
MEMORY_BYTES = 1 << 30
"""Bytes that one task may add to the child's memory."""
RESTART_SECONDS = 5.0
"""Least time, in seconds, between two starts of the child."""
LENGTH = struct.Struct("<Q")
"""Length of a frame, in bytes, sent before it in both directions."""


class TooHeavy(Degraded):
    """The task terminated the child process, and would do so again."""

    def __init__(self) -> None:
        super().__init__("large")


class OffloadTask(NamedTuple):
    """A split body without its slices; ``body`` is None if it equals the body that was sent."""

    body: bytes | None
    envelope: Envelope
    head: int
    starts: array[int]
    ends: array[int]

    def of(self, sent: bytes) -> Split:
        """Return the split of the body that was ``sent``."""
        body = sent if self.body is None else self.body
        spans = list(zip(self.starts, self.ends, strict=True))
        return Split(body, self.envelope, self.head, spans, [body[a:b] for a, b in spans])


class OffloadedPlan(NamedTuple):
    """A plan, with its candidates' texts by block key."""

    plan: Plan
    texts: dict[str, str]


class Offload:
    """The child process, started when needed, and the tasks that wait for it."""

    def __init__(self, command: list[str] | None = None) -> None:
        """Run ``command`` as the child, by default :mod:`api.pipeline.offload_child`."""
        self._command = command or python_module("api.pipeline.offload_child")
        self._child: asyncio.subprocess.Process | None = None
        self._started = -RESTART_SECONDS
        self._one = asyncio.Lock()
        self._by_user: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def split(self, user: str, body: bytes, deadline: Deadline) -> Split:
        """Split a heavy body, as :func:`api.pipeline.split_body.split` does.

        Raises:
            MalformedBody, InvalidField: as there.
            TooHeavy: the task terminated the child process.
            Degraded: the deadline passed.
        """
        found: OffloadTask = await self._ask(user, deadline, "split", body)
        return found.of(body)

    async def read(self, user: str, raw: bytes, counter: Counter, deadline: Deadline) -> Message:
        """Read a heavy message's facts, tokens included.

        Raises:
            MalformedBody, InvalidField, TooHeavy, Degraded: as :meth:`split`.
        """
        message: Message = await self._ask(user, deadline, "read", raw, counter)
        return message

    async def plan(
        self, user: str, raw: bytes, context: MessageContext, deadline: Deadline
    ) -> OffloadedPlan:
        """Plan a heavy message.

        Raises:
            TooHeavy, Degraded: as :meth:`split`.
        """
        planned: OffloadedPlan = await self._ask(user, deadline, "plan", raw, context)
        return planned

    async def start(self) -> None:
        """Do nothing: the child starts with its first task."""

    async def stop(self) -> None:
        """End the child and all waiting tasks."""
        await end(self._tasks)
        await self._end()

    async def _ask(self, user: str, deadline: Deadline, name: str, *arguments: Any) -> Any:
        given_up = asyncio.Event()
        # The task outlives its caller; otherwise the next task would read the rest of this answer.
        task = asyncio.create_task(self._one_at_a_time(user, given_up, name, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_retrieve)
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining - _ANSWER_SECONDS)):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Degraded("large") from None
        finally:
            given_up.set()

    async def _one_at_a_time(
        self, user: str, given_up: asyncio.Event, name: str, arguments: tuple[Any, ...]
    ) -> Any:
        lock = self._by_user.setdefault(user, asyncio.Lock())
        async with lock, self._one:
            if given_up.is_set():
                raise Degraded("large")
            kind, value = await self._exchange(name, arguments)
        if kind == "error" and isinstance(value, RequestError):
            raise value
        if kind != "done":
            _log.warning("offload_failed", task=name, error=str(value))
            raise TooHeavy
        return value

    async def _exchange(self, name: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        child = await self._running()
        if child.stdin is None or child.stdout is None:
            raise Degraded("large")
        frame = pickle.dumps((name, arguments), pickle.HIGHEST_PROTOCOL)
        try:
            child.stdin.write(LENGTH.pack(len(frame)))
            child.stdin.write(frame)
            await child.stdin.drain()
            (length,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
            answer: tuple[str, Any] = pickle.loads(  # noqa: S301 - our own child's
                await child.stdout.readexactly(length)
            )
        except (OSError, EOFError, asyncio.IncompleteReadError):
            await self._end()
            raise TooHeavy from None
        except BaseException:
            await self._end()
            raise
        if answer[0] == "leaving":  # the child exits because its memory has grown; it is replaced
            await self._end()
            self._started = -RESTART_SECONDS
            return "done", answer[1]
        return answer

    async def _running(self) -> asyncio.subprocess.Process:
        if self._child is None:
            if time.monotonic() - self._started < RESTART_SECONDS:
                raise Degraded("large")
            self._started = time.monotonic()
            self._child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            _log.info("offload_started", pid=self._child.pid)
        return self._child

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of a task without a caller, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()
