"""This front end's side of the claim protocol (:mod:`shared.claim_protocol`).

It claims, joins and gives up blocks for the requests of this process. One task renews the claims
until the result arrives or the job turns out to be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from redis.exceptions import NoScriptError

from shared import keys
from shared.claim_protocol import CLAIMED, GIVEN_UP, KEYS_A_CALL, LEASE_MS, Claiming, tell
from shared.deadline import Deadline
from shared.errors import Degraded
from shared.jobs import Form, unpack_form
from shared.scripts import script
from shared.settings import Settings

from .background_tasks import end, every, supervise
from .redis_guard import RedisGuard
from .result_inbox import ResultInbox

_log = structlog.get_logger(__name__)
_RENEW_SECONDS = LEASE_MS / 1000 / 4
"""Interval of renewals, in seconds: a lease survives two failed renewals in a row, not three."""
_MISSED_ROUNDS = 2
"""A job is lost once this many renewals in a row have not found it; one may be too early, while
the job's result is still on its way."""
_USERS_A_CALL = 64
"""Users whose claims are renewed by one pipeline, with one script call each."""

Answer = Form | int
"""The state of a block: its cached form, or a number as in :mod:`shared.claim_protocol`."""


@dataclass(slots=True)
class _Claim:
    """A claim of this process. ``since`` is ``time.monotonic()``; ``job_id`` is set once the job
    is enqueued, and ``missed`` counts the renewals in a row that did not find it."""

    since: float
    job_id: str = ""
    missed: int = 0


class Claims:
    """The claims of this process, by user tag and block key. A claim ends when its job does."""

    def __init__(
        self, settings: Settings, state: RedisGuard, queues: RedisGuard, inbox: ResultInbox
    ) -> None:
        self._settings = settings
        self._state = state
        self._queues = queues
        self._inbox = inbox
        self._claiming = Claiming(state.client)
        self._held: dict[tuple[str, str], _Claim] = {}
        self._giving_up: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        inbox.arrived = self._arrived

    async def start(self) -> None:
        """Start renewing claims."""
        self._task = supervise("claims", lambda: every(_RENEW_SECONDS, self._renew))

    async def stop(self) -> None:
        """Stop renewing claims; those without a job expire."""
        await end([self._task, *self._giving_up])

    async def claim(
        self, user: str, wanted: Sequence[str], deadline: Deadline
    ) -> list[tuple[str, Answer]]:
        """Look up blocks and claim those in no job, at most as many as a pool can admit.

        A block that this process has claimed already is joined without asking Redis.

        Raises:
            Degraded: Redis did not answer in time. Nothing is claimed.
        """
        answers: list[tuple[str, Answer]] = [
            (key, -LEASE_MS) for key in wanted if (user, key) in self._held
        ]
        asked = [key for key in wanted if (user, key) not in self._held]
        left = self._settings.queue_max_blocks
        claimed: list[str] = []
        try:
            for start in range(0, len(asked), KEYS_A_CALL):
                part = asked[start : start + KEYS_A_CALL]
                for key, answer in await self._ask(user, part, deadline, look_only=left <= 0):
                    answers.append((key, answer))
                    if answer == CLAIMED:
                        self._held[user, key] = _Claim(time.monotonic())
                        claimed.append(key)
                        left -= 1
        except BaseException:
            self.give_up(user, claimed)
            raise
        return answers

    def enqueued(self, user: str, names: Iterable[str], job_id: str) -> None:
        """Record which job serves these claims."""
        for key in names:
            if (user, key) in self._held:
                self._held[user, key].job_id = job_id

    def give_up(self, user: str, names: Iterable[str]) -> None:
        """Give up claims that no job will serve, and notify the requests that joined them.

        This runs in the background, because the usual reason is that the deadline has come.
        """
        claimed = [key for key in names if self._held.pop((user, key), None) is not None]
        if not claimed:
            return
        task = asyncio.create_task(self._release(user, claimed), name="give-up")
        self._giving_up.add(task)
        task.add_done_callback(self._giving_up.discard)

    # ── asking ──────────────────────────────────────────────────────────────────────

    async def _ask(
        self, user: str, names: Sequence[str], deadline: Deadline, *, look_only: bool
    ) -> list[tuple[str, Answer]]:
        """Return the blocks' states; forms of another version are deleted and looked up again."""
        answers, foreign = await self._look(user, names, deadline, look_only)
        if foreign:
            _log.info("forms_forgotten", blocks=len(foreign))
            await self._state.ask(self._claiming.forget(user, foreign), deadline, user)
            more, again = await self._look(user, list(foreign), deadline, look_only)
            failed = Form(None, outcome="failed")  # another version has written it again
            answers += [*more, *((key, failed) for key in again)]
        return answers

    async def _look(
        self, user: str, names: Sequence[str], deadline: Deadline, look_only: bool
    ) -> tuple[list[tuple[str, Answer]], dict[str, bytes]]:
        """Return the blocks' states, and the cached forms that another version wrote."""
        if look_only:
            asked = self._claiming.look_up(user, names)
        else:
            asked = self._claiming.claim(user, self._inbox.key, names)
        answers: list[tuple[str, Answer]] = []
        foreign: dict[str, bytes] = {}
        said = await self._state.ask(asked, deadline, user)
        for key, answer in zip(names, said, strict=True):
            if isinstance(answer, int):
                answers.append((key, answer))
                continue
            try:
                answers.append((key, unpack_form(answer)))
            except (msgspec.DecodeError, ValueError):
                foreign[key] = answer
        return answers, foreign

    # ── ending ──────────────────────────────────────────────────────────────────────

    def _arrived(self, user: str, key: str) -> None:
        self._held.pop((user, key), None)

    async def _release(self, user: str, claimed: list[str]) -> None:
        deadline = Deadline.after(self._settings.redis_timeout)
        mine = self._inbox.key.encode()
        try:
            found = await self._state.ask(
                self._claiming.release(user, self._inbox.key, claimed), deadline, user
            )
            pipe = self._queues.client.pipeline(transaction=False)
            for key, lists in zip(claimed, found, strict=True):
                tell(pipe, [each for each in lists if each != mine], user, key, GIVEN_UP)
            if len(pipe):
                await self._queues.ask(pipe.execute(), deadline)
        except Degraded:  # the claims expire
            return
        finally:
            for key in claimed:
                self._inbox.hand_over(user, key, GIVEN_UP)

    # ── renewing ────────────────────────────────────────────────────────────────────

    async def _renew(self) -> None:
        """Renew all but the newest claims; give up those whose job is lost."""
        now = time.monotonic()
        for at, claim in [(at, c) for at, c in self._held.items() if _is_over(c, now)]:
            if self._held.get(at) is claim:
                del self._held[at]
        due = {at: c for at, c in self._held.items() if now - c.since >= _RENEW_SECONDS / 2}
        if not due:
            return
        await self._look_for_jobs(due)
        lost: dict[str, list[str]] = {}
        kept: dict[str, list[str]] = {}
        for (user, key), claim in due.items():
            if self._held.get((user, key)) is claim:
                (lost if claim.missed >= _MISSED_ROUNDS else kept).setdefault(user, []).append(key)
        for user, names in lost.items():
            _log.warning("jobs_lost", blocks=len(names))
            self.give_up(user, names)
        for users in self._state.by_node(kept):
            for start in range(0, len(users), _USERS_A_CALL):
                await self._prolong({u: kept[u] for u in users[start : start + _USERS_A_CALL]})

    async def _look_for_jobs(self, due: Mapping[tuple[str, str], _Claim]) -> None:
        """Count for each claim how many renewals in a row did not find its job."""
        jobs = list({claim.job_id for claim in due.values() if claim.job_id})
        there: dict[str, bool] = {}
        deadline = Deadline.after(self._settings.redis_timeout)
        for start in range(0, len(jobs), KEYS_A_CALL):
            part = jobs[start : start + KEYS_A_CALL]
            pipe = self._queues.client.pipeline(transaction=False)
            for job_id in part:
                pipe.exists(keys.job(job_id))
            try:
                found = await self._queues.ask(pipe.execute(), deadline)
            except Degraded:  # the jobs' state is unknown
                return
            there.update(zip(part, map(bool, found), strict=True))
        for claim in due.values():
            claim.missed = 0 if there.get(claim.job_id, True) else claim.missed + 1

    async def _prolong(self, claims: Mapping[str, Sequence[str]]) -> None:
        """Renew claims of users whose keys are on one node."""
        pipe = self._state.client.pipeline(transaction=False)
        for user, names in claims.items():
            for start in range(0, len(names), KEYS_A_CALL):
                part = names[start : start + KEYS_A_CALL]
                self._claiming.prolong(pipe, user, self._inbox.key, part)
        deadline = Deadline.after(self._settings.redis_timeout)
        with contextlib.suppress(Degraded):
            await self._state.ask(self._send(pipe), deadline, next(iter(claims)))

    async def _send(self, pipe: Any) -> None:
        for answer in await pipe.execute(raise_on_error=False):
            if isinstance(answer, NoScriptError):  # the next renewal is early enough
                await self._state.client.script_load(script("renew_claims"))
                return
            if isinstance(answer, Exception):
                raise answer


def _is_over(claim: _Claim, now: float) -> bool:
    return now - claim.since > keys.JOB_TTL_SECONDS
