"""The policy of this front-end process; its file is read again when it changes.

While the file is not valid, the last valid policy applies. A process that never had a valid
policy changes no conversation, because it cannot know what the operator excluded.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import structlog

from shared.errors import PolicyError
from shared.policy.file import read
from shared.policy.rules import Rule
from shared.policy.ruling import Policy
from shared.settings import Settings

from .background_tasks import end, every, supervise

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 1.0
"""Interval, in seconds, at which the file is checked: a change applies within about this time."""
_NOTHING = Policy([Rule("no valid policy", mode="off")])


class PolicySource:
    """The policy in force; None if no file is configured.

    ``fault`` is ``missing`` or ``invalid``, or empty if the file's current content is in force.
    Details are only in the log, because they may quote the file.
    """

    def __init__(self, settings: Settings) -> None:
        self._path: Path | None = settings.policy_file
        self._seen: tuple[int, ...] | None = None
        self._task: asyncio.Task[None] | None = None
        self.policy: Policy | None = None
        self.fault = ""
        self.since = time.time()
        """When the policy in force was read (epoch seconds)."""
        if self._path is not None:
            self.policy = _NOTHING
            self.look()

    async def start(self) -> None:
        """Start checking the file."""
        if self._path is not None:
            self._task = supervise("policy", lambda: every(_LOOK_SECONDS, self._look_again))

    async def stop(self) -> None:
        """Stop checking the file."""
        await end([self._task])

    def look(self) -> None:
        """Read the file if it changed since the last check."""
        path = self._path
        if path is None:
            return
        try:
            stat = path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return
            policy = read(path)
        except OSError as error:
            self._seen = None
            self._refused("missing", type(error).__name__)
        except PolicyError as error:
            self._seen = seen
            self._refused("invalid", str(error))
        else:
            self._seen, self.fault = seen, ""
            if self.policy is None or policy.version != self.policy.version:
                self.policy, self.since = policy, time.time()
                _log.info("policy_read", version=policy.version, rules=len(policy.rules))

    async def _look_again(self) -> None:
        self.look()

    def _refused(self, fault: str, why: str) -> None:
        if fault != self.fault or fault == "invalid":
            kept = self.policy.version if self.policy is not None else ""
            _log.error("policy_refused", fault=fault, why=why, kept=kept)
        self.fault = fault

    @property
    def state(self) -> dict[str, object] | None:
        """Return the policy's part of ``/readyz``; None if no file is configured."""
        if self.policy is None:
            return None
        return {
            "version": self.policy.version,
            "rules": len(self.policy.rules) if self.policy is not _NOTHING else 0,
            "since": round(self.since, 3),
            "fault": self.fault or None,
            "all_left_as_they_came": self.policy is _NOTHING,
        }
