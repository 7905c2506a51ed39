"""The rolling restart of a farm on one machine: its parts are replaced one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import structlog

from .process import SupervisedProcess

_log = structlog.get_logger(__name__)
READY_SECONDS = 60.0
"""Time, in seconds, in which a part must be ready after its start."""


def replaced_one_by_one(
    parts: list[SupervisedProcess], passing: list[SupervisedProcess], grace: float
) -> Iterator[None]:
    """Replace all ``parts`` except Redis one by one, once the successor is ready.

    Each iteration is one step. ``passing`` holds the processes that are starting or stopping
    meanwhile; an old one may take ``grace`` seconds to stop. If a successor does not become ready,
    the restart ends and the remaining old parts stay.
    """
    for at, old in enumerate(parts):
        if not old.says_ready:
            continue
        new = old.successor()
        passing.append(new)
        new.start()
        give_up = time.monotonic() + READY_SECONDS
        while not new.ready:
            if not new.alive or time.monotonic() > give_up:
                _log.error("restart_given_up", part=old.name)
                new.end(time.monotonic())
                passing.remove(new)
                return
            yield
        parts[at] = new
        passing[:] = [old]
        old.ask_to_end()
        give_up = time.monotonic() + grace
        while old.alive and time.monotonic() < give_up:
            yield
        old.end(give_up)
        passing.clear()
        _log.info("part_replaced", part=old.name)
    _log.info("restarted")
