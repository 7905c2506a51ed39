"""The most important scenarios of `make chaos`, shortened."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from loadtest.chaos.load import material
from loadtest.chaos.proxied import PROXIED
from loadtest.chaos.run import Runner
from loadtest.chaos.scenarios import SCENARIOS

_SEED = 7
_SECONDS = 2.5
_MARGIN_MS = 30_000.0
"""Here answers only have to arrive; `make chaos` also requires that they are in time."""
_HEALTH_SECONDS = 60.0
"""Here recovery only has to happen; `make chaos` also measures how soon."""


def test_farm_killed_whole_keeps_promises() -> None:
    """Deaths and restarts of single processes are tests of ``tests/integration``."""
    scenario = next(s for s in SCENARIOS if s.name == "everything killed -9")
    scenario = replace(scenario, cpu=1)  # each process is started twice, and loads for seconds
    runner = Runner(material(3, _SEED), _SECONDS, _SEED, _MARGIN_MS, least_health=_HEALTH_SECONDS)
    outcome = asyncio.run(runner.play(scenario))
    assert outcome.broken == []
    assert outcome.answered == outcome.requests > 0


def test_flood_is_rejected_in_time() -> None:
    """Without the front end's limits, answers are sent 5 to 9 s after their deadlines."""
    scenario = next(s for s in SCENARIOS if s.name == "4 times the load")
    flooded = Runner(material(3, _SEED), _SECONDS, _SEED, 4000.0, least_health=_HEALTH_SECONDS)
    outcome = asyncio.run(flooded.play(scenario))
    assert outcome.broken == []
    assert outcome.answered == outcome.requests > 0
    assert outcome.degraded["overload"] > 0


def test_streams_that_break_off_break_off_for_the_client_too() -> None:
    scenario = next(s for s in PROXIED if s.name == "streams cut, or half an event")
    # How late heads come is for `make chaos` to judge, on a machine that does nothing else.
    patient = Runner(
        material(2, _SEED), 2.0, _SEED, 20_000.0, least_health=_HEALTH_SECONDS, deadline=30.0
    )
    outcome = asyncio.run(patient.play(scenario))
    assert outcome.broken == []
    assert outcome.streams is not None
    assert outcome.streams.well == outcome.streams.asked > 10
    assert outcome.streams.changed > 0
