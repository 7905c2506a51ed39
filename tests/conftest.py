"""Fixtures: a shared farm, and separate farms for tests that damage them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from loadtest.material_cache import FOLDER_VARIABLE

from .farm import Farm

# No test depends on speed, so Hypothesis must not enforce a deadline either.
hypothesis.settings.register_profile("farm", deadline=None)
hypothesis.settings.load_profile("farm")


def pytest_configure(config: pytest.Config) -> None:
    """Have command output collected once for all processes of the suite."""
    if not hasattr(config, "workerinput"):
        folder = os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="material-")
        config.add_cleanup(lambda: shutil.rmtree(folder))


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with a worker of each pool, shared by all tests that only talk to it."""
    with Farm(tmp_path_factory.mktemp("farm")) as shared:
        yield shared.start()


@pytest.fixture
def own_farm(tmp_path: Path) -> Iterator[Callable[..., Farm]]:
    """Create farms for this test alone, with settings by name; nothing is started yet."""
    made: list[Farm] = []

    def make(**settings: Any) -> Farm:
        directory = tmp_path / f"farm-{len(made)}"
        directory.mkdir()
        made.append(Farm(directory, **settings))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Show the logs of the farms that a failed test used."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Farm):
                report.sections.append(("farm", value.logs()))
    return report
