"""Settings: options take precedence over every variable, and an empty variable is unset."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.server.server import Server
from deploy import check
from deploy.cli import _settings, parse
from deploy.up_command import Farm
from shared.errors import Unhealthy
from shared.settings import Settings, load_settings, variables
from shared.sockets import authority


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings are read again from this test's environment, which has none."""
    for name in [*os.environ]:
        if name.upper().endswith("_TARGET_API_URL") or name.upper().startswith("HEADROOM_"):
            monkeypatch.delenv(name)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def read(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    """Return the settings of a process with this environment."""
    with monkeypatch.context() as patch:
        for name in [*os.environ]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        return Settings()


OPTIONS = [
    ("--anthropic-url", "anthropic_target_api_url", "https://asked.example"),
    ("--openai-url", "openai_target_api_url", "https://asked.example/v1"),
    ("--redis-url", "redis_url", "redis://asked:1/0"),
    ("--host", "host", "127.0.0.1"),
    ("--api-processes", "api_processes", 3),
    ("--cpu-workers", "cpu_workers", 0),
]


@pytest.mark.parametrize(("option", "field", "value"), OPTIONS)
@pytest.mark.parametrize("prefixes", [[""], ["HEADROOM_"], ["", "HEADROOM_"], ["headroom_"]])
def test_option_of_up_overrides_every_variable(
    monkeypatch: pytest.MonkeyPatch, option: str, field: str, value: Any, prefixes: list[str]
) -> None:
    other = {"redis_url": "redis://other:1/0", "host": "0.0.0.0"}
    for prefix in prefixes:
        name = f"{prefix}{field.upper() if prefix != 'headroom_' else field}"
        monkeypatch.setenv(name, other.get(field, "7" if type(value) is int else "http://other"))
    settings = _settings(parse(["up", "--port", "0", option, str(value)]))
    assert getattr(settings, field) == value
    farm = Farm(settings, embedded_redis=False)
    farm._plan()
    for part in farm.parts:
        if part.listener is not None:
            part.listener.close()
    for part in farm.parts:
        assert getattr(read(monkeypatch, part.environment), field) == value


@pytest.mark.parametrize("field", Settings.model_fields)
def test_empty_variable_or_option_is_unset(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    default = getattr(Settings(), field)
    for name in variables(field):
        assert getattr(read(monkeypatch, {name: ""}), field) == default
    assert getattr(Settings.model_validate({field: ""}), field) == default


def test_empty_variable_leaves_the_other_name_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"ANTHROPIC_TARGET_API_URL": "", "HEADROOM_ANTHROPIC_TARGET_API_URL": "http://a"}
    assert read(monkeypatch, names).anthropic_target_api_url == "http://a"


@pytest.mark.parametrize(
    ("value", "embedded"), [(None, True), ("", True), ("redis://other:1/0", False)]
)
def test_up_embeds_redis_unless_one_is_set(
    monkeypatch: pytest.MonkeyPatch, value: str | None, embedded: bool
) -> None:
    if value is not None:
        monkeypatch.setenv("HEADROOM_REDIS_URL", value)
    started: list[bool] = []
    monkeypatch.setattr(Farm, "run", lambda farm: started.append(farm.embedded_redis))
    arguments = parse(["up"])
    arguments.run(arguments)
    assert started == [embedded]


@pytest.mark.parametrize(
    ("host", "bound", "checked"),
    [
        ("::", "[::]:8788", "[::1]"),
        ("[::1]", "[::1]:8788", "[::1]"),
        ("0.0.0.0", "0.0.0.0:8788", "127.0.0.1"),
        ("farm.example", "farm.example:8788", "farm.example"),
    ],
)
def test_binds_and_checks_ipv6_addresses(
    monkeypatch: pytest.MonkeyPatch, host: str, bound: str, checked: str
) -> None:
    settings = Settings(host=host)
    (address,) = Server(settings).cfg.address
    assert address == (settings.host, 8788)
    assert authority(settings.host, 8788) == bound
    monkeypatch.setattr(check, "_get", lambda url: {"alive": url})
    with pytest.raises(Unhealthy, match=re.escape(f"http://{checked}:8788/livez")):
        check.check_api(settings)
