"""Farms of real processes for tests, started on free ports and stopped by pid."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis

from deploy.embedded import EmbeddedValkey
from deploy.ports import free_port
from shared import keys
from shared.settings import POOLS

from .forked import Forked, completed

READY_SECONDS = 180.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02
_ANSWER_SECONDS = 90
"""Timeout of a request in seconds, longer than the deadline of the test farms."""


class Answer(NamedTuple):
    """An HTTP answer: status, headers (lower case), raw body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def until(what: str, condition: Callable[[], Any], seconds: float = READY_SECONDS) -> Any:
    """Return the first true value of ``condition``; fail with ``what`` after ``seconds``."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        value = condition()
        if value:
            return value
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def user() -> str:
    """Return a unique user name."""
    return f"user-{secrets.token_hex(8)}"


class Process:
    """One process of a farm; its output goes to ``log``."""

    def __init__(self, process: subprocess.Popen[bytes] | Forked, log: Path) -> None:
        self.log = log
        self._process = process

    @classmethod
    def run(
        cls,
        command: list[str],
        environment: Mapping[str, str],
        log: Path,
        working_directory: Path | None = None,
    ) -> Self:
        """Run a command."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=working_directory,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        return cls(process, log)

    @classmethod
    def forked(
        cls, arguments: list[str], environment: Mapping[str, str], log: Path, first: str = ""
    ) -> Self:
        """Run ``headroom-farm`` with ``arguments`` in a process that has its modules loaded.

        ``first`` is Python code that the process runs before.
        """
        return cls(Forked(arguments, environment, log, first), log)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def children(self) -> list[int]:
        """Return the ids of its child processes."""
        pid = self._process.pid
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self) -> None:
        """Kill it and its children (SIGKILL)."""
        victims = self.children()
        self._process.kill()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it ends and return its exit status."""
        return self._process.wait(seconds)

    def stop(self) -> None:
        """Stop it: SIGTERM, then SIGKILL."""
        self.ask_to_end()
        self.end()

    def ask_to_end(self) -> None:
        """Send SIGTERM, and SIGCONT in case it was stopped."""
        if self.alive:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait until it has ended; kill it if that takes too long."""
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.wait()


def post(
    url: str,
    body: bytes | Any,
    headers: Mapping[str, str] | None = None,
    path: str = "/v1/compress",
) -> Answer:
    """Post ``body`` (bytes unchanged, anything else as JSON) and return the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", **(headers or {})}
    return request(url, "POST", path, data, given)


def request(
    url: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on a new connection."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_ANSWER_SECONDS)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        found = {k.lower(): v for k, v in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def _variables(settings: Mapping[str, Any]) -> dict[str, str]:
    return {f"HEADROOM_{k.upper()}": str(v) for k, v in settings.items()}


class Farm:
    """A farm whose parts a test can start, break and stop; leaving the context stops the rest."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self._valkey = EmbeddedValkey(directory / "valkey", free_port())
        self._valkey.prepare()
        self.port = free_port()
        self._settings = settings
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis_url = self._valkey.url
        self.redis = redis.Redis.from_url(self.redis_url)
        self.parts: list[Process] = []

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return {
            **os.environ,
            "HOME": str(home),
            "HEADROOM_REDIS_URL": self.redis_url,
            "HEADROOM_HOST": "127.0.0.1",
            "HEADROOM_PORT": str(self.port),
            "HEADROOM_DATA_DIR": str(self.directory / "data"),
            "HEADROOM_WORKER_HEARTBEAT_SECONDS": "0.2",
            "HEADROOM_REDIS_RETRY_SECONDS": "0.2",
            # Enough for a slow or busy machine. Tests that wait for a deadline set a short one.
            "HEADROOM_DEADLINE_MS": "60000",
            # Tests retrieve originals far more often than models do: no engine must be paused.
            "HEADROOM_FEEDBACK_RATE": "0",
            **_variables(self._settings),
        }

    def start(self, *, cpu: int = 1, gpu: int = 1) -> Farm:
        """Start Redis, a front end and workers, and wait until all are ready."""
        self.start_redis()
        for _ in range(cpu):
            self.start_worker("cpu")
        for _ in range(gpu):
            self.start_worker("gpu")
        if self._api_processes > 1:
            # Each process has its own view, and a request cannot choose a process. One that starts
            # after the workers sees them before it serves.
            until("the workers are there", lambda: self._alive() == [cpu, gpu])
        self.start_api()
        self.until_ready(cpu=cpu, gpu=gpu)
        return self

    def start_redis(self) -> Process:
        """Start the Valkey, or start it again, on the same port and data."""
        process = Process.run(self._valkey.command, self.environment, self._log("valkey"))
        self.parts.append(process)
        until("valkey answers", self._ping)
        return process

    def start_api(self, first: str = "", **settings: Any) -> Process:
        """Start a front end, with further settings, and wait until it answers.

        ``first`` is as for :meth:`start_worker`.
        """
        process = self._run(["api"], first, "api", **settings)
        until("the front end answers", lambda: self.answer("/health"))
        return process

    def start_worker(self, pool: str, first: str = "", **settings: Any) -> Process:
        """Start a worker, with further settings; :meth:`until_ready` waits for it.

        ``first`` is Python code that its process runs first, to inject a fault.
        """
        return self._run(["worker", "--pool", pool], first, f"worker-{pool}", **settings)

    def command(
        self, *arguments: str, stdin: str = "", **settings: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of ``headroom-farm`` to its end, with further settings."""
        environment = {**self.environment, **_variables(settings)}
        return completed(list(arguments), environment, stdin)

    def _run(self, arguments: list[str], first: str, name: str, **settings: Any) -> Process:
        environment = {**self.environment, **_variables(settings)}
        log = self._log(name)
        process = Process.forked(arguments, environment, log, first)
        self.parts.append(process)
        return process

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}-{len(self.parts)}.log"

    def until_ready(self, *, cpu: int = 1, gpu: int = 1) -> None:
        """Wait until the front end sees that many workers."""
        wanted = {"redis": "ok", "cpu_workers": cpu, "gpu_workers": gpu}

        def ready() -> bool:
            answer = self.answer("/readyz")
            return answer is not None and wanted.items() <= answer.json["checks"].items()

        # Each front-end process has its own view: repeat until all have probably been asked.
        tries = 1 if self._api_processes == 1 else 20
        until("ready", lambda: all(ready() for _ in range(tries)))

    @property
    def _api_processes(self) -> int:
        return int(self._settings.get("api_processes", 1))

    def _alive(self) -> list[int]:
        return [int(self.redis.zcard(keys.workers(pool))) for pool in POOLS]

    def stop(self) -> None:
        """Stop all running processes: Redis last, the others in parallel."""
        servers = [part for part in self.parts if part.log.name.startswith("valkey")]
        for group in ([part for part in self.parts if part not in servers], servers):
            for part in group:
                part.ask_to_end()
            for part in group:
                part.end()
        self.redis.close()

    def post(self, body: bytes | Any, name: str, **headers: str) -> Answer:
        """Post a body as user ``name``; ``x_request_id="a"`` sends ``x-request-id: a``."""
        given = {k.replace("_", "-"): v for k, v in headers.items()}
        named = name.encode().decode("latin-1")  # http.client writes headers as latin-1
        return post(self.url, body, {"x-maas-username": named, **given})

    def get(self, path: str) -> Answer:
        """Send a GET request."""
        return request(self.url, "GET", path)

    def logs(self) -> str:
        """Return the output of its processes."""
        texts = [p.read_text("utf-8", "replace")[-4000:] for p in self.directory.glob("*.log")]
        return "\n".join(texts)

    def _ping(self) -> bool:
        try:
            return bool(self.redis.ping())
        except redis.RedisError:
            return False

    def answer(self, path: str) -> Answer | None:
        """Send a GET request; return None if there is no answer."""
        try:
            return request(self.url, "GET", path)
        except OSError:
            return None
