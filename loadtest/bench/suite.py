"""The benchmark's scenarios, their repetitions and their order."""

from __future__ import annotations

import secrets
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.http import HttpError
from loadtest.results import Results
from loadtest.scenarios import LIGHT_KINDS, TURNS, fresh_block, growing, growth, nothing_new
from loadtest.target import Target

_SEEDS = 10_000
"""Seeds reserved for one scenario in one repetition: more than any of them plays."""

UPSTREAM = ("upstream", "upstream session")
_UPSTREAM_REPETITIONS = 3
"""It takes a second a turn, so it plays fewer of them."""

Figures = dict[str, float]
Play = Callable[[Target, str, int], Figures]
"""Plays one scenario once: target, prefix of users' names, first seed -> figures by name."""

BY_TURN = "turn by turn"
GROWING = "8 users, growing"
LIGHT = "8 users, growing, grep diff json"
NOTHING_NEW = "8 users, nothing new"
FRESH = "a fresh block"
WORKERS = "cpu workers on one queue"
CROWDS = {users: f"{users} users, growing" for users in (1, 8, 50, 200)}


@dataclass(frozen=True)
class Size:
    """How much of each scenario is played."""

    repetitions: int
    repeats: int
    first: int
    seconds: float
    samples: int
    crowds: dict[int, int]
    """Turns that each user of a crowd plays, by its users."""
    queued: int
    """Blocks in the queue that one worker, then two, empty."""
    kinds: int
    """Blocks of each content type whose savings are compared."""
    memory_users: int
    proxied_turns: int
    streams: int
    """Open at once on one front end."""


FULL = Size(5, 30, 41, 4.0, 24, {1: 60, 50: 8, 200: 3}, 400, 12, 150, 40, 200)
QUICK = Size(1, 10, 55, 1.0, 8, {50: 2}, 120, 3, 60, 12, 200)


@dataclass(frozen=True)
class Scenario:
    """A scenario and the targets that play it."""

    name: str
    targets: Sequence[Target]
    play: Play
    apart: bool = False
    """Each target gets material of its own: this process has seen it too."""


def scenarios(targets: dict[str, Target], size: Size) -> list[Scenario]:
    """Return what is played against those of the targets that are there."""
    farm, inline = targets["farm"], targets.get("inline")
    pair = [t for t in (inline, farm) if t]
    everybody = [t for t in (inline, *(targets.get(n) for n in UPSTREAM), farm) if t]
    sessions = [t for t in everybody if t.name != "upstream"]
    found = [
        Scenario(BY_TURN, everybody, lambda *a: _by_turn(size, *a)),
        Scenario(GROWING, sessions, lambda *a: _growing(size, None, *a)),
        Scenario(LIGHT, pair, lambda *a: _growing(size, LIGHT_KINDS, *a)),
        Scenario(NOTHING_NEW, pair, lambda *a: _nothing_new(size, *a)),
        Scenario(FRESH, pair, lambda *a: _fresh(size, *a), apart=True),
    ]
    for users, turns in size.crowds.items():
        found.append(
            Scenario(CROWDS[users], sessions, lambda *a, u=users, n=turns: _crowd(u, n, *a))
        )
    return found


def play(found: Sequence[Scenario], size: Size, seed: int, results: Results) -> None:
    """Play all scenarios ``size.repetitions`` times into ``results``.

    The targets take turns within a scenario, and change order from one repetition to the
    next. A target that fails a scenario is out of it for the rest, which is said at once.
    """
    failed: set[tuple[str, str]] = set()
    for repetition in range(size.repetitions):
        for number, scenario in enumerate(found):
            own = seed + (repetition * len(found) + number) * _SEEDS
            numbered = list(enumerate(scenario.targets))
            for at, target in reversed(numbered) if repetition % 2 else numbered:
                rare = target.name in UPSTREAM and repetition >= _UPSTREAM_REPETITIONS
                if rare or (scenario.name, target.name) in failed:
                    continue
                apart = at * (_SEEDS // len(numbered)) if scenario.apart else 0
                started = time.monotonic()
                try:
                    figures = scenario.play(target, f"{secrets.token_hex(4)}-", own + apart)
                except (OSError, HttpError, ValueError) as error:
                    failed.add((scenario.name, target.name))
                    say(results, f"{target.name} failed '{scenario.name}': {error!r}")
                    continue
                results.add(scenario.name, target.name, figures)
                note(f"{repetition + 1}/{size.repetitions}", scenario.name, target.name, started)


def note(where: str, scenario: str, target: str, started: float) -> None:
    """Say on standard error what was just played and how long it took."""
    seconds = time.monotonic() - started
    print(f"  {where}  {scenario:<34} {target:<18} {seconds:5.1f} s", file=sys.stderr, flush=True)


def say(results: Results, failure: str) -> None:
    """Write a failure down, loudly."""
    results.failures.append(failure)
    print(f"\n!!! NOT MEASURED: {failure}\n", file=sys.stderr, flush=True)


def _by_turn(size: Size, target: Target, prefix: str, seed: int) -> Figures:
    """One user from turn 1 to 60; upstream's stateless endpoint plays five of the turns."""
    stateless = target.name == "upstream"
    turns = (1, 15, 30, 45, TURNS) if stateless else range(1, TURNS + 1)
    if size.repetitions == 1:
        turns = (*range(5, TURNS, 5), TURNS)
    repeats = 2 if stateless else size.repeats
    steps, latencies = growth(target, f"{prefix}solo", turns, repeats=repeats, seed=seed)
    figures = {
        "turn 60 p50 ms": statistics.median(latencies) * 1e3,
        "turn 60 max ms": max(latencies) * 1e3,
    }
    for step in steps:
        figures[f"turn {step.turn} new ms"] = step.first * 1e3
        figures[f"turn {step.turn} again ms"] = step.again * 1e3
        figures[f"turn {step.turn} KB"] = step.size / 1e3
    return figures


def _growing(
    size: Size, kinds: Sequence[str] | None, target: Target, prefix: str, seed: int
) -> Figures:
    return growing(target, seed=seed, prefix=prefix, kinds=kinds, first=size.first).figures()


def _nothing_new(size: Size, target: Target, prefix: str, seed: int) -> Figures:
    return nothing_new(target, seconds=size.seconds, seed=seed, prefix=prefix).figures()


def _crowd(users: int, turns: int, target: Target, prefix: str, seed: int) -> Figures:
    return growing(target, users, seed=seed, prefix=prefix, first=1, last=turns).figures()


def _fresh(size: Size, target: Target, prefix: str, seed: int) -> Figures:
    blocks = fresh_block(target, size.samples, seed=seed, prefix=prefix)
    return {
        "p50 ms": statistics.median(block.target for block in blocks) * 1e3,
        "inline p50 ms": statistics.median(block.inline for block in blocks) * 1e3,
        "added p50 ms": statistics.median(b.target - b.inline for b in blocks) * 1e3,
        "blocks": len(blocks),
    }
