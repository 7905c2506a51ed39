"""The policy of this front-end process: its file, read again when it changes.

While the file does not hold a valid policy, the last good one applies. A process that never had
one leaves every conversation as it came: nobody's prompts change against a policy that nobody
could read.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import structlog

from shared.errors import PolicyError
from shared.policy import Policy, Rule
from shared.policy_file import read
from shared.settings import Settings

from .tasks import end, every, supervise

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 1.0
"""How often the file is looked at: a change applies everywhere within about this time."""
_NOTHING = Policy([Rule("no valid policy", mode="off")])


class PolicySource:
    """The policy in force; None where no file is set. ``fault`` says why it is not the file's.

    ``fault`` is ``missing`` or ``invalid``, empty where all is well; what exactly is wrong is in
    the log, for it may quote the file.
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
        """Begin to look for changes."""
        if self._path is not None:
            self._task = supervise("policy", lambda: every(_LOOK_SECONDS, self._look_again))

    async def stop(self) -> None:
        """Stop looking."""
        await end([self._task])

    def look(self) -> None:
        """Read the file if it changed since it was last looked at."""
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
        """What ``/readyz`` says of it; None where no file is set."""
        if self.policy is None:
            return None
        return {
            "version": self.policy.version,
            "rules": len(self.policy.rules) if self.policy is not _NOTHING else 0,
            "since": round(self.since, 3),
            "fault": self.fault or None,
            "all_left_as_they_came": self.policy is _NOTHING,
        }
