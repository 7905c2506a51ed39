"""The child process of :mod:`api.pipeline.offload`: runs tasks one by one, within its limits.

An alarm with its default action ends the process even inside a regular expression, where no
signal handler written in Python would run.
Run as ``python -m api.pipeline.offload_child``.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from shared.errors import RequestError
from shared.headroom import Counter

from ..provider.cache_marks import without_marks
from .message import Message, count, digest, read
from .offload import LENGTH, LIMIT_SECONDS, MEMORY_BYTES, OffloadedPlan, OffloadTask
from .plan_message import ConversationPlanner
from .planning_context import MessageContext
from .split_body import split

_GROWN_BYTES = 256 * 1024 * 1024
"""A child that has grown by this many bytes is replaced: the interpreter frees little memory."""
_planner = ConversationPlanner()


def _split(body: bytes) -> OffloadTask:
    found = split(body, ())
    starts = array("q", (start for start, _ in found.spans))
    ends = array("q", (end for _, end in found.spans))
    own = None if found.body is body else found.body
    return OffloadTask(own, found.envelope, found.head, starts, ends)


def _read(raw: bytes, counter: Counter) -> Message:
    facts, message = read(raw, digest(without_marks(raw)[0]))
    count(facts, message, counter)
    return facts


def _plan(raw: bytes, context: MessageContext) -> OffloadedPlan:
    facts, message = read(raw, digest(without_marks(raw)[0]))
    return OffloadedPlan(*_planner.plan(context, facts, message))


_TASKS: dict[str, Callable[..., Any]] = {"split": _split, "read": _read, "plan": _plan}


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Run tasks until ``source`` ends."""
    _limit_memory()
    start = _resident()
    while head := source.read(LENGTH.size):
        (length,) = LENGTH.unpack(head)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
        answer = _do(source.read(length))
        leaves = answer[0] == "done" and _resident() > start + _GROWN_BYTES
        if leaves:
            answer = ("leaving", answer[1])
        frame = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sink.write(LENGTH.pack(len(frame)) + frame)
        sink.flush()
        if leaves:
            return


def _do(frame: bytes) -> tuple[str, Any]:
    try:
        name, arguments = pickle.loads(frame)  # noqa: S301
        return "done", _TASKS[name](*arguments)
    except RequestError as error:
        return "error", error
    except Exception as error:  # the parent treats it as too heavy
        return "failed", type(error).__name__


def _limit_memory() -> None:
    """Limit the private memory; on systems without this figure only the alarm limits a task."""
    used = _status("VmData")
    if used:
        limit = used + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _resident() -> int:
    return _status("VmRSS")


def _status(field: str) -> int:
    """Return a size from Linux's ``/proc/self/status`` in bytes, 0 elsewhere."""
    path = Path("/proc/self/status")
    if not path.exists():
        return 0
    for line in path.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Serve the parent on standard input and output; other output goes to standard error."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with its parent
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
