"""Locust users that play growing sessions of real tool output against a farm.

Closed loop: `CodingAgent`, `DevOpsAgent` and `TextUser` play one session after another and wait
for each answer. Open arrivals: `Arrivals` starts turns at `--rate`, whether or not earlier ones
have been answered. Exceeding a limit (`--max-p95-ms` and the like) fails the run (exit code 1).

See loadtest/README.md for the commands.
"""

from __future__ import annotations

import itertools
import json
import random
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.env import Environment

from loadtest.scenarios import MODEL
from loadtest.sessions import MESSAGES_PER_TURN, session

_TURNS = 60
_RESERVE = 50
"""Sessions prepared for open arrivals."""


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Add the options of these users and limits to Locust's command line."""
    parser.add_argument("--seed", type=int, default=1, help="seed of the material and its order")
    parser.add_argument("--turns", type=int, default=_TURNS, help="turns of a session")
    parser.add_argument("--rate", type=float, default=20.0, help="Arrivals: turns per second")
    parser.add_argument("--think", type=float, default=0.0, help="seconds between a user's turns")
    parser.add_argument("--max-p95-ms", type=float, help="fail above this 95th percentile")
    parser.add_argument("--max-fail-percent", type=float, default=0.0, help="fail above")
    parser.add_argument("--max-degraded-percent", type=float, help="fail above")
    parser.add_argument("--min-rps", type=float, help="fail below this many answers per second")


class Play:
    """The progress of one session: its user and its next turn."""

    _numbers = itertools.count()

    def __init__(self, options: Namespace, kinds: Sequence[str] | None) -> None:
        self.number = next(self._numbers)
        self.user = f"locust-{options.seed}-{self.number}"
        self._messages = session(options.seed * 100_000 + self.number, options.turns, kinds=kinds)
        self._turn = 0

    def next(self) -> list[dict[str, Any]] | None:
        """Return the next turn's messages; None after the last turn."""
        self._turn += 1
        end = self._turn * MESSAGES_PER_TURN
        return self._messages[:end] if end <= len(self._messages) else None


class Agent(FastHttpUser):
    """Plays sessions turn by turn; `kinds` are the kinds of its fresh blocks."""

    abstract = True
    kinds: Sequence[str] | None = None
    _play: Play | None = None

    def wait_time(self) -> float:
        """Return the pause between two turns, in seconds."""
        think: float = self.environment.parsed_options.think
        return random.expovariate(1 / think) if think else 0.0

    @task
    def turn(self) -> None:
        """Post the next turn; after the last one, start another session."""
        options = self.environment.parsed_options
        messages = self._play.next() if self._play else None
        if messages is None:
            self._play = Play(options, self.kinds)
            messages = self._play.next()
        assert self._play is not None
        assert messages is not None
        self.post(self._play.user, messages)

    def post(self, user: str, messages: list[dict[str, Any]]) -> None:
        """Post a conversation; a wrong answer is a failure, a degraded one is counted."""
        body = {"model": MODEL, "messages": messages}
        headers = {"x-maas-username": user}
        name = f"{type(self).__name__} /v1/compress"
        with self.client.post(
            "/v1/compress", json=body, headers=headers, name=name, catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
                return
            found = json.loads(answer.content or b"{}")
            if [m["role"] for m in found["messages"]] != [m["role"] for m in messages]:
                answer.failure("not the messages that were sent")
            DEGRADED.count(bool(found["degraded"]))


class CodingAgent(Agent):
    """Listings, logs, grep, diffs, pages and prose, as a coding agent's tools print them."""

    weight = 6


class DevOpsAgent(Agent):
    """Mostly logs, also JSON from APIs and grep."""

    weight = 3
    kinds = ("log", "json", "log", "grep", "log", "json")


class TextUser(Agent):
    """Free text and pages, for the text engine."""

    weight = 1
    kinds = ("prose", "html", "prose")


class Arrivals(Agent):
    """Open arrivals: turns start at `--rate` (Poisson) without waiting for earlier ones."""

    fixed_count = 1
    weight = 0

    def on_start(self) -> None:
        """Prepare the sessions for arrivals."""
        options = self.environment.parsed_options
        groups = (CodingAgent.kinds, DevOpsAgent.kinds, TextUser.kinds)
        self._rng = random.Random(options.seed)
        self._plays = [Play(options, groups[n % 3]) for n in range(_RESERVE)]

    def wait_time(self) -> float:
        """Return the time to the next arrival."""
        return self._rng.expovariate(self.environment.parsed_options.rate)

    @task
    def turn(self) -> None:
        """Post one turn."""
        at = self._rng.randrange(len(self._plays))
        messages = self._plays[at].next()
        if messages is None:
            play = self._plays[at] = Play(self.environment.parsed_options, None)
            messages = play.next()
        assert messages is not None
        gevent.spawn(self.post, self._plays[at].user, messages)


class Degraded:
    """Counts answers with text left verbatim because something was late or unavailable."""

    def __init__(self) -> None:
        self.answers = 0
        self.degraded = 0

    def count(self, degraded: bool) -> None:
        """Count one answer."""
        self.answers += 1
        self.degraded += degraded

    @property
    def percent(self) -> float:
        """Percentage of the answers so far."""
        return 100 * self.degraded / self.answers if self.answers else 0.0


DEGRADED = Degraded()


@events.init.add_listener
def gather(environment: Environment, **_: Any) -> None:
    """Collect the material before any user starts, because it takes seconds."""
    if environment.parsed_options is not None:
        session(0, 1)
        gevent.get_hub().loop.update_now()  # else the run's time would count from before it


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Fail the run if a limit is exceeded."""
    options = environment.parsed_options
    if options is None:
        return
    total = environment.stats.total
    missing = (options.min_rps or 0) - total.total_rps
    limits = (
        ("no answer at all", 1.0 if total.num_requests == 0 else 0.0, 0.0),
        ("failed %", total.fail_ratio * 100, options.max_fail_percent),
        ("p95 ms", total.get_response_time_percentile(0.95) or 0.0, options.max_p95_ms),
        ("degraded %", DEGRADED.percent, options.max_degraded_percent),
        ("missing answers/s", missing, 0.0 if options.min_rps else None),
    )
    broken = [f"{n}: {v:.1f} > {most:g}" for n, v, most in limits if most is not None and v > most]
    print(f"degraded answers: {DEGRADED.degraded} of {DEGRADED.answers}")
    for line in broken:
        print(f"LIMIT EXCEEDED: {line}")
    environment.process_exit_code = 1 if broken else 0
