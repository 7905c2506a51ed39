"""Fixtures: a scripted provider, and a farm that is its proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..farm import Farm
from .scripted import ScriptedProvider


@pytest.fixture(scope="session")
def provider() -> Iterator[ScriptedProvider]:
    """A provider shared by all tests of a process; each test sets its script."""
    with ScriptedProvider() as scripted:
        yield scripted


@pytest.fixture(scope="session")
def proxy(provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm that is a proxy for the scripted provider."""
    with Farm(
        tmp_path_factory.mktemp("proxy"),
        anthropic_target_api_url=provider.url,
        openai_target_api_url=provider.url,
    ) as farm:
        yield farm.start()


@pytest.fixture(autouse=True)
def rules_kept(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test whose requests broke a rule of the provider, unless it clears the list."""
    yield
    if "provider" in request.fixturenames:
        broken = request.getfixturevalue("provider").broken
        found, broken[:] = list(broken), []
        assert not found
