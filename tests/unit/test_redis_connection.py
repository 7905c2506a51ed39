"""Parsing of Redis URLs, the circuit breaker, and the slots of users' keys."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import pytest
import redis.exceptions
from pydantic import ValidationError
from redis.crc import key_slot

from shared import keys
from shared.address import Address
from shared.circuit_breaker import Breaker, cause_of
from shared.redis_connection import connect, connect_async, connect_state_async
from shared.scripts import script, text_of
from shared.settings import Settings

_OF_NO_USER = {"books", "metrics", "load", "jobs", "leases", "reaped", "replies", "workers"}
_OF_NO_USER |= {
    "engine",
    "feedback",
    "pace",
    "worker_names",
    "queue",
    "taken",
    "job",
    "ping",
    "user_tag",
    "person_of",
    "tenant_of",
}


def _of_users() -> list[Any]:
    made = inspect.getmembers(keys, lambda f: getattr(f, "__module__", "") == keys.__name__)
    return [function for name, function in made if name not in _OF_NO_USER]


def test_keys_of_one_user_share_a_slot() -> None:
    functions = _of_users()
    assert len(functions) >= 7
    found = set()
    for number in range(50):
        tag = keys.user_tag(f"user-{number}")
        slots = set()
        for function in functions:
            more = list(inspect.signature(function).parameters.values())[1:]
            more = [b"abc" if one.annotation == "bytes" else "abc" for one in more]
            slots.add(key_slot(function(tag, *more).encode()))
        assert len(slots) == 1
        found |= slots
    assert len(found) > 40


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://h:1/2", Address("server", False, "redis://h:1/2")),
        ("rediss://h:1/2", Address("server", True, "rediss://h:1/2")),
        ("unix:///run/r.sock", Address("server", False, "unix:///run/r.sock")),
        ("redis+cluster://a,b:7", Address("cluster", False, hosts=(("a", 6379), ("b", 7)))),
        (
            "rediss+cluster://u:p%40@a/",
            Address("cluster", True, hosts=(("a", 6379),), username="u", password="p@"),
        ),
        (
            "redis+sentinel://a/m",
            Address("sentinel", False, hosts=(("a", 26379),), service="m"),
        ),
        (
            "rediss+sentinel://:p%2C@[::1]:5,b/m/3",
            Address(
                "sentinel",
                True,
                hosts=(("::1", 5), ("b", 26379)),
                password="p,",
                service="m",
                db=3,
            ),
        ),
    ],
)
def test_parses_address(url: str, found: Address) -> None:
    assert Address.parse(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:1",
        "http://u:hush@h",
        "redis+other://u:hush@h",
        "redis://u:hush@h:nan",
        "redis+cluster://",
        "redis+cluster://u:hush@h:99999",
        "redis+cluster://u:hush@h/1",
        "redis+sentinel://u:hush@h",
        "redis+sentinel://u:hush@h/m/x",
        "redis+sentinel://u:hush@h:1:2/m",
    ],
)
def test_rejects_wrong_address_without_showing_it(url: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(redis_url=url, state_url=url or "nothing")
    assert "hush" not in str(raised.value)


def test_rejects_cluster_address_for_queues() -> None:
    with pytest.raises(ValidationError, match="RQ cannot use a Cluster"):
        Settings(redis_url="redis+cluster://h:1")


@pytest.mark.parametrize(
    "url",
    ["redis://u:hush@h:1", "rediss+sentinel://u:hush@h:1/m", "unix://u:hush@/run/r.sock"],
)
def test_password_appears_in_no_representation(url: str) -> None:
    settings = Settings(redis_url=url, state_url="redis+cluster://u:hush@h:1")
    shown = [settings, settings.redis_address, settings.state_address]
    shown += [connect(settings), connect_async(settings), connect_state_async(settings)]
    for one in shown:
        assert "hush" not in repr(one)
        assert "hush" not in str(one)


def test_finds_script_by_digest() -> None:
    text = script("claim_blocks")
    assert text_of(hashlib.sha1(text.encode()).hexdigest()) == text
    with pytest.raises(LookupError):
        text_of("0" * 40)


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_breaker_sends_one_probe_at_a_time() -> None:
    clock = _Clock()
    breaker = Breaker(1.0, clock)
    assert breaker.admits
    assert breaker.failed("timeout")
    assert (breaker.state, breaker.cause, breaker.admits) == ("open", "timeout", False)
    assert not breaker.failed("unreachable")  # a command sent before it opened
    assert breaker.cause == "timeout"
    assert breaker.probe()  # the first probe is sent at once
    assert breaker.state == "half_open"
    assert not breaker.admits
    assert not breaker.probe()
    assert not breaker.failed("denied")  # the probe failed
    assert (breaker.state, breaker.cause) == ("open", "denied")
    assert not breaker.probe()
    clock.now += 0.99
    assert not breaker.probe()
    clock.now += 0.02
    assert breaker.probe()
    breaker.answered()
    assert (breaker.state, breaker.cause, breaker.admits) == ("closed", None, True)
    assert breaker.trips == {"timeout": 1}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (redis.exceptions.ConnectionError("refused"), "unreachable"),
        (ConnectionResetError(), "unreachable"),
        (redis.exceptions.InvalidResponse("?"), "unreachable"),
        (redis.exceptions.TimeoutError("slow"), "timeout"),
        (TimeoutError(), "timeout"),
        (redis.exceptions.BusyLoadingError("loading"), "loading"),
        (redis.exceptions.AuthenticationError("no"), "denied"),
        (redis.exceptions.NoPermissionError("no"), "denied"),
        (redis.exceptions.OutOfMemoryError("full"), "out_of_memory"),
        (redis.exceptions.ReadOnlyError("replica"), "read_only"),
        (redis.exceptions.ClusterDownError("CLUSTERDOWN"), "cluster_down"),
        (redis.exceptions.SlotNotCoveredError("12"), "cluster_down"),
        (redis.exceptions.ResponseError("MISCONF Errors writing to the AOF"), "cannot_persist"),
        (redis.exceptions.ResponseError("ACL failure in script: ..., script: 1"), "denied"),
        # As a script raises them, or an older server words them.
        (redis.exceptions.ResponseError("OOM command not allowed"), "out_of_memory"),
        (redis.exceptions.ResponseError("READONLY You can't write"), "read_only"),
        (redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas"), "no_replicas"),
        (redis.exceptions.ResponseError("BUSY Redis is busy running a script"), "busy"),
        (redis.exceptions.ResponseError("NOAUTH Authentication required."), "denied"),
        (redis.exceptions.ResponseError("WRONGPASS invalid password"), "denied"),
        (redis.exceptions.ResponseError("NOPERM this user has no permissions"), "denied"),
        (redis.exceptions.ResponseError("WRONGTYPE Operation against a key"), None),
        (redis.exceptions.NoScriptError("no"), None),
        (redis.exceptions.MaxConnectionsError("ours"), None),
        (KeyError("ours"), None),
    ],
)
def test_tells_server_failure_from_command_error(error: Exception, cause: str | None) -> None:
    assert cause_of(error) == cause
