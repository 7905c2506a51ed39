"""A farm on a Valkey with TLS and least-privilege users survives every fault of Redis.

All tests share one farm and one Valkey. The wheel's Valkey has no TLS, so it is reached through
proxies that terminate TLS.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from deploy.ports import free_port
from shared.scripts import script

from ..farm import Answer, Farm, request, until, user
from ..texts import conversation, events, ran, rows
from ..turns import took_a_turn
from ..valkeys import Proxy, Valkey, running

ACL = Path(__file__).parents[2] / "deploy" / "valkey"
FRONT_END = (
    "claim_blocks",
    "release_claims",
    "push_job",
    "record_usage",
    "advance_turn",
    "charge_quota",
    "count_retrievals",
)
WORKER = ("finish_block", "start_job", "finish_job", "renew_leases", "requeue_dead_jobs")


class Rig:
    """A Valkey, its two proxies and a farm that reaches it through them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.passwords = {name: f"first-{name}" for name in ("api", "worker", "admin")}
        for name in self.passwords:
            self.rotate(name, self.passwords[name])
        acl = directory / "users.acl"
        acl.write_text(filled("users.acl", self.passwords) + "user root on >root ~* &* +@all\n")
        self.valkey = Valkey(
            directory / "server", appendonly="yes", save='""', aclfile=acl, key_load_delay=0
        )
        authority, stranger = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        stranger.cert_pem.write_to_path(str(directory / "stranger.pem"))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED  # client certificates too
        ours = authority.issue_cert("farm@example.org")
        ours.private_key_pem.write_to_path(str(directory / "key.pem"))
        ours.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
        self.front, self.back = Proxy(self.valkey.port, context), Proxy(self.valkey.port, context)
        self.farm = Farm(
            directory,
            redis_ca_file=directory / "ca.pem",
            redis_cert_file=directory / "cert.pem",
            redis_key_file=directory / "key.pem",
            redis_connect_timeout=5,  # this process's threads shake hands, and may be busy
        )
        self.requests = 0

    def of(self, name: str, proxy: Proxy) -> dict[str, Any]:
        """Return a part's own settings."""
        return {
            "redis_url": f"rediss://headroom-{name}@127.0.0.1:{proxy.port}/0",
            "redis_password_file": self.directory / f"{name}.password",
        }

    def rotate(self, name: str, password: str) -> None:
        """Write a Redis user's password to the file that its process reads."""
        (self.directory / f"{name}.password").write_text(password + "\n")

    @property
    def root(self) -> redis.Redis:
        """A client with all permissions."""
        return self.valkey.client(username="root", password="root")

    def post(self, body: Any, name: str) -> Answer:
        """Post, and check that the answer is 200 even during a fault."""
        answer = self.farm.post(body, name)
        assert answer.status == 200
        self.requests += 1
        return answer

    def runs(self, name: str, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the farm as that Redis user."""
        return self.farm.command(*arguments, **{**self.of(name, self.front), **settings})

    def compresses(self) -> bool:
        """Return whether a fresh block is compressed."""
        found = self.post(conversation(ran(rows(user()))), user()).json
        return bool(found["tokens_saved"] > 0)

    def retrieves(self, digest: str, name: str) -> int:
        """Retrieve an original; return the status."""
        headers = {"x-maas-username": name}
        return request(self.farm.url, "GET", f"/v1/retrieve/{digest}", None, headers).status

    def checks(self) -> dict[str, Any]:
        """Return the state of the farm's parts from ``/readyz``."""
        found: dict[str, Any] = self.farm.get("/readyz").json["checks"]
        return found

    def open_by(self) -> str | None:
        """Return the cause of the open breaker from the metrics; None if it is closed."""
        ((labels, state),) = self.metrics("headroom_redis_breaker_state").items()
        found = re.search(r'cause="(\w+)"', labels)
        return found[1] if found and state > 0 else None

    def metrics(self, name: str) -> dict[str, float]:
        """Return a metric's samples by their labels."""
        text = self.farm.get("/metrics").body.decode()
        return {
            m[1] or "": float(m[2]) for m in re.finditer(rf"^{name}(\{{.*\}})? (\S+)$", text, re.M)
        }


def filled(name: str, passwords: dict[str, str]) -> str:
    """Return the content of an ACL file with the passwords' digests filled in."""
    text = (ACL / name).read_text()
    for who, password in passwords.items():
        text = text.replace(f"{who.upper()}_SHA256", hashlib.sha256(password.encode()).hexdigest())
    return text


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("faults"))
    with running(made.valkey):
        try:
            made.farm.start_worker("cpu", **made.of("worker", made.back))
            made.farm.start_api(**made.of("api", made.front))
            made.farm.until_ready(gpu=0)
            yield made
        finally:
            made.farm.stop()
            made.front.close()
            made.back.close()


# ── least privilege ─────────────────────────────────────────────────────────────────


def test_least_privilege_users_suffice_for_everything(rig: Rig) -> None:
    rig.root.acl_log_reset()
    name, body = user(), conversation(ran(events(user())))
    first = rig.post(body, name).json
    assert first["degraded"] == []
    assert first["tokens_saved"] > 0
    assert rig.post(body, name).json["tokens_saved"] == first["tokens_saved"]
    (digest, *_) = first["ccr_hashes"]
    assert rig.retrieves(digest, name) == 200
    assert rig.retrieves("0" * 24, name) == 404
    assert took_a_turn(rig.farm, name)
    rig.requests += 1
    for path in ("/stats", "/stats?range=month", "/stats/insights", "/stats-history", "/sessions"):
        assert rig.farm.get(path).status == 200
    assert rig.metrics("headroom_requests_total")[""] >= 2
    assert json.loads(rig.runs("admin", "export").stdout)
    for action in ("on", "status", "off"):
        assert rig.runs("admin", "bypass", action).returncode == 0
    assert rig.runs("worker", "check", "worker").returncode == 0
    until("the switch is seen to be off", rig.compresses)
    assert rig.root.acl_log() == []


@pytest.mark.parametrize("name", ["api", "worker", "admin"])
def test_redis_user_has_only_needed_rights(rig: Rig, name: str) -> None:
    client = rig.valkey.client(username=f"headroom-{name}", password=rig.passwords[name])
    denied: list[tuple[str, ...]] = [
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("KEYS", "*"),
        ("ACL", "LIST"),
        ("CLIENT", "LIST"),
        ("SHUTDOWN",),
        ("REPLICAOF", "NO", "ONE"),
        ("MONITOR",),
        ("GET", "somebody:elses"),
        ("HGETALL", "somebody:elses"),
        ("EXISTS", "farm:elsewhere"),
        ("PUBLISH", "a", "b"),
    ]
    if name != "api":
        denied += [("BLMPOP", "0.1", "1", "farm:replies:x", "LEFT"), ("WAITAOF", "1", "0", "1")]
    if name != "worker":
        denied += [("ZADD", "farm:workers:cpu", "1", "forged"), ("HSET", "rq:worker:x", "a", "b")]
    if name != "admin":
        denied += [("SCAN", "0")]
    if name == "worker":
        denied += [("HSET", "farm:{books}:life", "a", "b"), ("ZADD", "farm:sessions", "1", "x")]
    if name == "admin":
        denied += [("HGET", "farm:{u:x}:cache", "a"), ("EVAL", "return 1", "0")]
    for command in denied:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)
    if name != "admin":
        evil = client.register_script("return redis.call('GET', 'somebody:elses')")
        with pytest.raises(redis.ResponseError, match="ACL failure"):
            evil()


@pytest.mark.parametrize(("name", "scripts"), [("api", FRONT_END), ("worker", WORKER)])
def test_acl_grants_every_command_of_scripts(name: str, scripts: tuple[str, ...]) -> None:
    line = re.search(rf"^user headroom-{name} .*$", (ACL / "users.acl").read_text(), re.M)
    assert line
    granted = set(re.findall(r"\+(\w+)", line[0]))
    for one in scripts:
        assert {c.lower() for c in re.findall(r"call\('([A-Z]+)'", script(one))} <= granted


def test_rejects_server_with_untrusted_certificate(rig: Rig) -> None:
    ended = rig.runs("admin", "export", redis_ca_file=rig.directory / "stranger.pem")
    assert ended.returncode == 2
    assert rig.passwords["admin"] not in ended.stdout + ended.stderr


# ── faults ──────────────────────────────────────────────────────────────────────────


def _stopped(rig: Rig) -> None:
    rig.valkey.stop()


def _started(rig: Rig) -> None:
    rig.valkey.start()


def _paused(rig: Rig) -> None:
    assert rig.valkey.process
    rig.valkey.process.signal(signal.SIGSTOP)


def _resumed(rig: Rig) -> None:
    assert rig.valkey.process
    rig.valkey.process.signal(signal.SIGCONT)


def _full(rig: Rig) -> None:
    rig.root.config_set("maxmemory", 1)


def _roomy(rig: Rig) -> None:
    rig.root.config_set("maxmemory", 0)


def _demoted(rig: Rig) -> None:
    rig.root.replicaof("127.0.0.1", free_port())


def _promoted(rig: Rig) -> None:
    rig.root.replicaof("NO", "ONE")


def _passwords_changed(rig: Rig) -> None:
    for name in ("api", "worker"):
        rig.passwords[name] = f"second-{name}"
        rig.root.acl_setuser(
            f"headroom-{name}", reset_passwords=True, passwords=[f"+second-{name}"], enabled=True
        )
        rig.root.execute_command("CLIENT", "KILL", "USER", f"headroom-{name}")
    rig.root.acl_save()


def _passwords_told(rig: Rig) -> None:
    for name in ("api", "worker"):
        rig.rotate(name, rig.passwords[name])


def _loading(rig: Rig) -> None:
    pipe = rig.root.pipeline(transaction=False)
    for number in range(60_000):
        pipe.set(f"ballast:{number}", "x", ex=60)
    pipe.execute()
    rig.valkey.stop()
    rig.valkey.options["key_load_delay"] = 300  # microseconds a command, answers every 1024
    rig.valkey.write()
    rig.valkey.start()


def _loaded(rig: Rig) -> None:
    rig.root.config_set("key-load-delay", 0)


@pytest.mark.parametrize(
    ("harm", "heal", "causes", "books"),
    [
        (_stopped, _started, {"unreachable"}, 503),
        (_paused, _resumed, {"timeout"}, 503),
        (_full, _roomy, {"out_of_memory"}, 200),
        (_demoted, _promoted, {"read_only"}, 200),
        (_passwords_changed, _passwords_told, {"denied"}, 503),
        (_loading, _loaded, {"loading", "unreachable"}, 503),
    ],
    ids=["restarted", "paused", "out-of-memory", "read-only", "password-rotated", "loading"],
)
def test_redis_fault_is_reported_and_recovers(
    rig: Rig,
    harm: Callable[[Rig], None],
    heal: Callable[[Rig], None],
    causes: set[str],
    books: int,
) -> None:
    name, known = user(), conversation(ran(events(user())))
    before = rig.post(known, name).json
    assert before["tokens_saved"] > 0
    trips = rig.metrics("headroom_redis_breaker_trips_total")
    workers = [part for part in rig.farm.parts if "worker" in part.log.name]

    rig.root.acl_log_reset()
    harm(rig)
    for _ in range(3):
        body = conversation(ran(rows(user())))
        found = rig.post(body, user()).json
        assert found["degraded"] == ["redis"]
        assert found["messages"] == body["messages"]
    ready = rig.farm.get("/readyz")
    assert ready.status == 503
    assert ready.json["reason"] == "redis"
    assert rig.farm.get("/livez").status == 200
    until("readiness tells the cause", lambda: rig.checks()["redis"] in causes)
    until("the metrics tell it", lambda: rig.open_by() in causes)
    assert rig.metrics("headroom_redis_breaker_trips_total") != trips
    assert rig.farm.get("/stats").status == books
    # Forms in this process's memory are used even without Redis.
    assert rig.post(known, name).json["tokens_saved"] == before["tokens_saved"]

    heal(rig)
    until("it compresses again", rig.compresses)
    until("ready", lambda: rig.farm.get("/readyz").status == 200)
    assert set(rig.metrics("headroom_redis_breaker_state").values()) == {0}
    assert all(worker.alive for worker in workers)
    (digest, *_) = before["ccr_hashes"]
    assert rig.retrieves(digest, name) == 200

    def counted() -> bool:
        if rig.metrics("headroom_ledger_backlog_entries")[""] != 0:
            return False
        stats = rig.farm.get("/stats")
        return stats.status == 200 and (stats.json["summary"]["api_requests"] == rig.requests)

    until("every answer is recorded", counted)
    # Neither the fault nor the recovery used a command without permission.
    assert [entry for entry in rig.root.acl_log() if entry["reason"] != "auth"] == []


def test_finds_truncated_reply_in_cache(rig: Rig) -> None:
    cuts = rig.front.cuts
    rig.front.cut_after = 2000  # only forms are replies of that length
    found = rig.post(conversation(ran(rows(user()))), user()).json
    assert rig.front.cuts == cuts + 1
    assert found["tokens_saved"] > 0
    assert found["degraded"] == []


def test_cut_connection_affects_only_current_request(rig: Rig) -> None:
    for proxy in (rig.front, rig.back):
        for bytes_through in (0, 1, 5, 40):
            proxy.cut_after = bytes_through
            rig.post(conversation(ran(rows(user()))), user())
            until("the connection was cut", lambda proxy=proxy: proxy.cut_after is None)
            until("it compresses again", rig.compresses)
