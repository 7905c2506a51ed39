"""``headroom-farm check``: the answers for probes, the deploy script and operators."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from deploy.check import check_api, check_farm, check_worker
from deploy.ports import free_port
from shared import keys
from shared.errors import Unhealthy
from shared.settings import Settings

from ..farm import Farm, Process, until

HOST = socket.gethostname()


@pytest.fixture
def settings(farm: Farm) -> Settings:
    """The settings that a process in one of the farm's containers would read."""
    return Settings(host="0.0.0.0", port=farm.port, redis_url=farm.redis_url)


def test_working_process_is_healthy(farm: Farm, settings: Settings) -> None:
    assert "lives" in check_api(settings)
    said = check_worker(settings, strict=True)
    assert f"cpu-{HOST}-" in said
    assert f"gpu-{HOST}-" in said


def test_silent_front_end_is_unhealthy(settings: Settings) -> None:
    dead = settings.model_copy(update={"port": free_port()})
    with pytest.raises(Unhealthy, match="no answer"):
        check_api(dead)


def test_ignores_other_hosts_and_old_heartbeats(
    farm: Farm, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: f"{HOST}-other")
    late = time.time() - keys.WORKER_TTL_SECONDS - 1
    farm.redis.zadd(keys.workers("cpu"), {f"cpu-{HOST}-other-1-abc": late})
    with pytest.raises(Unhealthy, match="no worker on"):
        check_worker(settings, strict=False)


def test_ignores_worker_of_longer_host_name(
    farm: Farm, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    farm.redis.zadd(keys.workers("cpu"), {"cpu-web-1-4711-abcdef": now})
    monkeypatch.setattr(socket, "gethostname", lambda: "web")
    with pytest.raises(Unhealthy, match="no worker on web"):
        check_worker(settings, strict=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "web-1")
    assert "cpu-web-1-4711-abcdef lives" in check_worker(settings, strict=False)
    farm.redis.zrem(keys.workers("cpu"), "cpu-web-1-4711-abcdef")


_HANGS = """
import threading, time
from shared.settings import load_settings
from workers.block_form import Engines
from workers.worker import FarmWorker
class Hangs(FarmWorker):
    def _take(self, job_id):
        if job_id == "slow":
            self._limit(lambda: time.sleep(6))  # a slow engine
        else:
            threading.Event().wait()  # not an engine, so no time limit applies
Hangs(load_settings(), Engines("cpu", None)).run()
"""


def test_worker_with_hung_loop_becomes_unhealthy_and_ends(
    farm: Farm, settings: Settings, tmp_path: Path
) -> None:
    apart = settings.model_copy(update={"redis_url": farm.redis_url.replace("/0", "/7")})
    environment = {
        **farm.environment,
        "HEADROOM_REDIS_URL": apart.redis_url,
        "HEADROOM_REDIS_TIMEOUT": "0.2",
        "HEADROOM_REDIS_CONNECT_TIMEOUT": "0.2",
        "HEADROOM_WORKER_HEARTBEAT_SECONDS": "0.5",  # detected before it exits
    }
    worker = Process.run([sys.executable, "-c", _HANGS], environment, tmp_path / "hangs.log")
    client = redis.Redis.from_url(apart.redis_url)

    def healthy() -> bool:
        try:
            return "lives" in check_worker(apart, strict=True)
        except Unhealthy:
            return False

    try:
        until("it is healthy while it waits for jobs", healthy)
        (name,) = client.zrange(keys.workers("cpu"), 0, -1)
        first = client.zscore(keys.workers("cpu"), name)
        waited = 6  # longer than the loop may be silent
        until("it waits", lambda: client.zscore(keys.workers("cpu"), name) > first + waited)
        client.rpush(keys.queue("cpu"), "slow", "hangs")
        until("it is found out", lambda: not healthy())
        assert worker.alive
        assert worker.log.read_text().count("loop_hangs") == 1  # neither waiting nor slow
        assert worker.wait() == 70
    finally:
        if worker.alive:
            worker.kill()
        client.close()


def test_unreachable_redis_does_not_restart_worker(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    assert "Redis does not answer" in check_worker(away, strict=False)
    with pytest.raises(Unhealthy, match="Redis does not answer"):
        check_worker(away, strict=True)


def test_check_farm_accepts_complete_farm(farm: Farm) -> None:
    assert '"text_engines"' in check_farm(f"{farm.url}/", provider=None, seconds=30)


def test_check_farm_rejects_missing_provider_or_pool(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unhealthy, match="no text engine on cuda: text_crusher on native"):
        check_farm(farm.url, provider="cuda", seconds=0)
    with pytest.raises(Unhealthy, match="no answer"):
        check_farm(f"http://127.0.0.1:{free_port()}", provider=None, seconds=1)
    for found, said in [
        ({"status": "not_ready", "reason": "redis"}, "not ready: redis"),
        ({"status": "ready", "checks": {"cpu_workers": 1, "gpu_workers": 0}}, "gpu has no worker"),
    ]:
        monkeypatch.setattr("deploy.check._get", lambda url, found=found: found)
        with pytest.raises(Unhealthy, match=said):
            check_farm(farm.url, provider=None, seconds=0)


def test_failed_check_prints_one_line() -> None:
    command = [sys.executable, "-P", "-m", "deploy.cli", "check", "api", "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("headroom-farm: no answer from")
    assert "Traceback" not in done.stderr
